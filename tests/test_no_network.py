"""Nothing leaves the machine: serving, evaluating and training use loopback alone.

They write where they should, and nowhere else.

An audit hook that `sitecustomize` installs sees every Python process of a command, the server's workers too.
What native code does shows in an empty home folder and, where strace is allowed, in a system-call trace.
`test_engines_telemetry` does the same for `foveate predict`, engine by engine.
"""

import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import tiny_layouts
import tiny_package

import foveate
from foveate.client import Client

SOURCE = str(Path(foveate.__file__).parent.parent)

LIMIT = 300
"""Seconds after which a command that hangs is killed."""

LOOPBACK = ("127.0.0.1", "::1", "localhost", "0.0.0.0")
"""Hosts that may be named; 0.0.0.0 is allowed in look-ups alone, since no test binds it."""

TRACE = ("strace", "-D", "-f", "-e", "trace=network", "-o")
"""Writes network calls to a file; the traced process keeps its number, so that it can be stopped."""

WATCH = """
import json, os, sys

SOCKET = ("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname")

def record(event, arguments):
    if event in SOCKET:
        about = arguments[1] if event in SOCKET[:3] else arguments[0]
    elif event == "open":
        about, flags = arguments[0], arguments[2]
        if not isinstance(about, (str, bytes)) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
    elif event == "os.mkdir":
        about = arguments[0]
    else:
        return
    about = os.path.abspath(os.fsdecode(about)) if event in ("open", "os.mkdir") else str(about)
    os.write(descriptor, (json.dumps([event, about]) + "\\n").encode())

if "EVENTS" in os.environ:
    descriptor = os.open(os.environ["EVENTS"], os.O_WRONLY | os.O_APPEND)
    sys.addaudithook(record)
"""

TRAIN = """
import sys
import tiny_set
from foveate import cli
from foveate.training import recipes

recipes.RECIPES = {"tiny": lambda: tiny_set.recipe(split=None, any_lesions=True)}
sys.exit(cli.run(sys.argv[1:]))
"""


class Watched:
    """A place to run commands in, with what their processes did."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events_file = folder / "events.jsonl"
        self.trace = folder / "trace"
        for name in ("home", "temporary", "watch"):
            (folder / name).mkdir()
        (folder / "watch" / "sitecustomize.py").write_text(WATCH)
        self.events_file.touch()

    def start(self, arguments) -> subprocess.Popen:
        """Start Python with arguments, in a home that is empty and with a hook in every process."""
        environment = {
            key: value
            for key, value in os.environ.items()
            if not re.match("CI$|XDG_|ORT_|TORCHINDUCTOR_", key)
        }
        environment |= {
            "EVENTS": str(self.events_file),
            "HOME": str(self.folder / "home"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": f"{self.folder / 'watch'}:{SOURCE}:{Path(__file__).parent}",
            "TMPDIR": str(self.folder / "temporary"),
        }
        trace = (*TRACE, str(self.trace)) if tracing_is_allowed() else ()
        process = subprocess.Popen(
            [*trace, sys.executable, *map(str, arguments)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        timer = threading.Timer(LIMIT, process.kill)
        timer.daemon = True
        timer.start()
        return process

    def events(self) -> list[tuple[str, str]]:
        """Return what all processes did: audit event, and the address or path that it was about."""
        return [tuple(json.loads(line)) for line in self.events_file.read_text().splitlines()]

    def require_silence(self, *allowed: Path) -> None:
        """Fail where an address but loopback was used, or anything was written outside some folders."""
        events = self.events()
        assert any(event == "open" for event, _ in events), "the hook saw nothing"
        written = (*map(str, allowed), str(self.folder / "temporary"), os.devnull, "/proc/self", "/dev/shm")
        for event, about in events:
            if event in ("open", "os.mkdir"):
                assert about.startswith(written), (event, about)
            else:
                assert is_local(about), (event, about)
        assert list((self.folder / "home").iterdir()) == []
        left = [path for path in (self.folder / "temporary").rglob("*") if not path.is_dir()]
        assert left == []  # PyTorch leaves an empty folder of its compiler there
        if tracing_is_allowed():
            assert "+++ exited with" in self.trace.read_text()
            assert self.traced_addresses() <= {"127.0.0.1", "::1"}

    def traced_addresses(self) -> set[str]:
        """Return the internet addresses in the system-call trace."""
        pattern = r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"'
        return {four or six for four, six in re.findall(pattern, self.trace.read_text())}


@functools.cache
def tracing_is_allowed() -> bool:
    """Return whether strace is installed, and allowed on this machine."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run([*TRACE, os.devnull, "true"], capture_output=True, check=False).returncode == 0


def is_local(about: str) -> bool:
    """Return whether an address or host name stays on this machine; a path is a socket file."""
    host = about.lstrip("(b").split(",")[0].strip("'\"")
    return host in LOOPBACK or host.startswith(("/", "\\x00")) or host == "None"


@pytest.fixture
def watched(tmp_path):
    return Watched(tmp_path)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_package.build(tmp_path_factory.mktemp("models") / "tiny")


def finished(process) -> str:
    """Wait for a command, require that it succeeded, and return what it said."""
    output, error = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, error
    return output


def use_server(watched, model):
    """Serve, have a photograph predicted, its threshold changed and its files downloaded, and stop."""
    arguments = ["-m", "foveate", "serve", "--data", watched.folder / "data", "--model", model]
    process = watched.start([*arguments, "--engine", "onnx", "--threads", 1, "--port", 0])
    try:
        line = process.stdout.readline()
        assert line.startswith("Foveate serves at http://127.0.0.1:"), process.stderr.read()
        address = line.split()[-1]
        client = Client(address)
        photograph = client.submit(tiny_package.photograph(watched.folder / "eye.png", diameter=300))
        assert client.wait(photograph.id, seconds=240.0).state == "done"
        client.choose(photograph.id, {"EX": 0.3})
        client.download(photograph.id, watched.folder / "files.zip")
    finally:
        process.send_signal(signal.SIGTERM)
    process.communicate(timeout=LIMIT)


def test_serving_uses_loopback_alone_and_writes_into_its_data_folder(watched, model):
    pytest.importorskip("fastapi")

    use_server(watched, model)

    events = watched.events()
    assert ("socket.bind", "('127.0.0.1', 0)") in events
    watched.require_silence(watched.folder / "data")


def evaluate_line(watched, model):
    tiny_layouts.idrid(watched.folder / "set")
    line = ["-m", "foveate", "evaluate", "--data", watched.folder / "set", "--layout", "idrid"]
    line += ["--split", "train", "--field", "full", "--threads", 1, "--engine", "onnx"]
    return [*line, "--model", model, "--out", watched.folder / "out"]


def test_evaluating_uses_no_network_and_writes_into_out(watched, model):
    finished(watched.start(evaluate_line(watched, model)))

    assert {event for event, _ in watched.events()} <= {"open", "os.mkdir"}
    watched.require_silence(watched.folder / "out")


def train_line(watched):
    import tiny_set

    from foveate.training.recipe import STAGES

    tiny_set.write(watched.folder / "set")
    folds = '{"folds": {"IDRiD_01": 0, "IDRiD_02": 1, "IDRiD_03": 2}}'
    (watched.folder / "folds.json").write_text(folds)
    line = ["-c", TRAIN, "train", "tiny", "--data", watched.folder / "set", "--out", watched.folder / "run"]
    line += ["--fold", 1, "--split", watched.folder / "folds.json", "--threads", 1]
    return [*line, *(f"--set=stages.{stage}.steps=2" for stage in STAGES)]


def test_training_uses_no_network_and_writes_into_out(watched):
    pytest.importorskip("torch")

    finished(watched.start(train_line(watched)))

    watched.require_silence(watched.folder / "run")
