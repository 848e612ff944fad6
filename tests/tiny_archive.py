"""A real Orthanc on loopback for tests and benchmarks: DICOMweb, a password, and nothing that outlives it.

Needs Debian's packages orthanc and orthanc-dicomweb; Orthanc (GPL) runs as a process of its own.
"""

import contextlib
import json
import shutil
import socket
import subprocess
import time
from pathlib import Path

import requests

USER, PASSWORD = "clinic", "lake"

PLUGINS = Path("/usr/share/orthanc/plugins")

PATIENCE = 30.0
"""Seconds in which it must answer, or end."""


def installed() -> bool:
    return shutil.which("Orthanc") is not None and any(PLUGINS.glob("libOrthancDicomWeb*"))


class Orthanc:
    """One archive, in a folder of its own; can be killed and started again on the same port."""

    def __init__(self, folder: Path, *, largest: int | None = None):
        """Write its configuration; `start` starts it.

        Args:
            folder: for all that it keeps.
            largest: bytes that a file of it may have: what is larger meets a disk that takes no more.
        """
        self.folder = folder
        self.largest = largest
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}/dicom-web"
        self.process = None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "orthanc.json").write_text(
            json.dumps(
                {
                    "Name": "test",
                    "StorageDirectory": str(folder / "storage"),
                    "IndexDirectory": str(folder / "index"),
                    "Plugins": [str(*PLUGINS.glob("libOrthancDicomWeb.so"))],
                    "HttpPort": self.port,
                    "DicomServerEnabled": False,
                    "RemoteAccessAllowed": False,
                    "AuthenticationEnabled": True,
                    "RegisteredUsers": {USER: PASSWORD},
                    "StableAge": 1,
                    "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
                }
            )
        )

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        log = (self.folder / "log.txt").open("ab")
        limit = "" if self.largest is None else f"trap '' XFSZ; ulimit -f {self.largest // 512}; "
        command = f'{limit}exec Orthanc "$0"'
        self.process = subprocess.Popen(
            ["sh", "-c", command, str(self.folder / "orthanc.json")], stdout=log, stderr=log
        )
        log.close()
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(requests.ConnectionError):
                if requests.get(f"{self.url}/studies", auth=(USER, PASSWORD), timeout=5).ok:
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError((self.folder / "log.txt").read_text()[-2000:])

    def kill(self) -> None:
        """Kill it, as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(PATIENCE)
            self.process = None

    def put(self, content: bytes) -> None:
        """Put an object into it, as a camera would."""
        answer = requests.post(
            f"http://127.0.0.1:{self.port}/instances", data=content, auth=(USER, PASSWORD), timeout=60
        )
        answer.raise_for_status()

    def count(self) -> int:
        """How many objects it holds."""
        return self._statistics()["CountInstances"]

    def _statistics(self) -> dict:
        address = f"http://127.0.0.1:{self.port}/statistics"
        return requests.get(address, auth=(USER, PASSWORD), timeout=30).json()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
