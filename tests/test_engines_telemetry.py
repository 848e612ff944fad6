"""Nothing leaves the machine: while a photograph is predicted, only loopback sockets and --out are used.

An audit hook sees what Python does. What the engines' native code does shows in an empty home folder, and in
a system-call trace where strace is installed.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import tiny_package

ENGINES = (
    "onnx",
    pytest.param(
        "openvino",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("openvino") is None, reason="the extra openvino is not installed"
        ),
    ),
)

AUDITED_PREDICT = """
import json, os, sys

WATCHED = ("socket.", "subprocess.", "os.fork", "os.posix_spawn", "os.exec", "os.system", "os.mkdir")
events = []

def record(event, arguments):
    if event == "open":
        path, _, flags = arguments
        if isinstance(path, (str, bytes)) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            events.append((event, os.fsdecode(path)))
    elif event.startswith(WATCHED):
        events.append((event, str(arguments[0]) if arguments else ""))

sys.addaudithook(record)
from foveate import cli

assert cli.run(sys.argv[1:]) == 0
with open(os.environ["EVENTS"], "w") as file:
    json.dump(events, file)
"""


def predict(tmp_path, engine, model, prefix=()):
    """Predict a photograph in a child process whose home folder is empty.

    Returns:
        The audit events of the child, without those that concern its output folder, and without `uname`,
        which Python's `platform` runs.
    """
    (tmp_path / "home").mkdir()
    eye = tiny_package.photograph(tmp_path / "eyes" / "eye.png", diameter=300)
    options = ["--model", str(model), "--out", str(tmp_path / "out"), "--engine", engine, "--threads", "1"]
    environment = {key: value for key, value in os.environ.items() if not re.match("CI$|XDG_|ORT_", key)}
    environment |= {
        "HOME": str(tmp_path / "home"),
        "EVENTS": str(tmp_path / "events.json"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    line = [*prefix, sys.executable, "-c", AUDITED_PREDICT, "predict", str(eye), *options]
    subprocess.run(line, check=True, timeout=300, env=environment, capture_output=True)
    events = json.loads((tmp_path / "events.json").read_text())
    allowed = (str(tmp_path / "out"), str(tmp_path / "events.json"), os.devnull, "uname")
    return [(event, about) for event, about in events if not about.startswith(allowed)]


def require_silent(tmp_path, engine, model):
    """Predict a photograph and fail if anything but its output folder was used."""
    assert predict(tmp_path, engine, model) == []
    assert list((tmp_path / "home").iterdir()) == []


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_package.build(tmp_path_factory.mktemp("models") / "tiny")


@pytest.mark.parametrize("engine", ENGINES)
def test_predict_opens_no_socket_starts_no_process_and_writes_only_into_out(tmp_path, engine, model):
    require_silent(tmp_path, engine, model)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("engine", ENGINES)
def test_a_system_call_trace_of_predict_shows_no_internet_socket(tmp_path, engine, model):
    trace = tmp_path / "trace"
    try:
        predict(tmp_path, engine, model, ("strace", "-f", "-e", "trace=network", "-o", str(trace)))
    except subprocess.CalledProcessError as error:
        if b"PTRACE" in error.stderr or b"ptrace" in error.stderr:
            pytest.skip("this machine does not allow tracing")
        raise

    calls = trace.read_text()
    assert "exited with 0" in calls
    assert not re.findall(r".*AF_INET.*", calls)


def test_openvino_imported_by_foveate_leaves_its_reporter_importable_for_others(model):
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    code = (
        "import sys\nfrom foveate.engines import openvino\nopenvino.version()\n"
        "assert 'openvino_telemetry' not in sys.modules\n"
        "import openvino.tools.ovc.utils as utils\nassert 'stub' in utils.tm.__name__\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
