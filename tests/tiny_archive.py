"""A real Orthanc on loopback for tests and benchmarks: DICOMweb, a password, and no lasting files.

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

TIMEOUT = 30.0
"""Seconds within which it must respond, or end."""


def installed() -> bool:
    return shutil.which("Orthanc") is not None and any(PLUGINS.glob("libOrthancDicomWeb*"))


class Orthanc:
    """An archive in its own folder; it can be killed and started again on the same port."""

    def __init__(self, folder: Path, *, max_file_bytes: int | None = None):
        """Write the configuration; `start` starts the archive.

        Args:
            folder: for all its files.
            max_file_bytes: largest size of its files; writing more fails as on a full disk.
        """
        self.folder = folder
        self.max_file_bytes = max_file_bytes
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
        """Start the archive, and wait until it responds."""
        log = (self.folder / "log.txt").open("ab")
        limit = (
            "" if self.max_file_bytes is None else f"trap '' XFSZ; ulimit -f {self.max_file_bytes // 512}; "
        )
        command = f'{limit}exec Orthanc "$0"'
        self.process = subprocess.Popen(
            ["sh", "-c", command, str(self.folder / "orthanc.json")], stdout=log, stderr=log
        )
        log.close()
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            with contextlib.suppress(requests.ConnectionError):
                if requests.get(f"{self.url}/studies", auth=(USER, PASSWORD), timeout=5).ok:
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError((self.folder / "log.txt").read_text()[-2000:])

    def kill(self) -> None:
        """Kill the archive, as a power cut does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(TIMEOUT)
            self.process = None

    def put(self, content: bytes) -> None:
        """Put an object into the archive, as a camera does."""
        response = requests.post(
            f"http://127.0.0.1:{self.port}/instances", data=content, auth=(USER, PASSWORD), timeout=60
        )
        response.raise_for_status()

    def count(self) -> int:
        """Return the number of objects in the archive."""
        return self._statistics()["CountInstances"]

    def _statistics(self) -> dict:
        address = f"http://127.0.0.1:{self.port}/statistics"
        return requests.get(address, auth=(USER, PASSWORD), timeout=30).json()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
