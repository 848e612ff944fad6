"""The public names, and prediction without torch, onnx, safetensors and other optional libraries."""

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import tiny_package

import foveate

PUBLIC = [
    "FoveateError",
    "Model",
    "Result",
    "Settings",
    "__version__",
    "from_array",
    "load",
    "read",
]

BLOCKED = (
    *("torch", "onnx", "onnxscript", "safetensors", "sklearn", "scipy"),
    *("pydicom", "highdicom", "dicomweb_client"),
)


def python(code, *arguments):
    """Run code in a new Python process; return the JSON of the last line that it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_public_names_are_listed_and_sorted():
    assert foveate.__all__ == PUBLIC == sorted(PUBLIC)
    assert dir(foveate) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_exists_and_is_documented(name):
    value = getattr(foveate, name)

    assert name == "__version__" or value.__module__.startswith("foveate.")
    assert name == "__version__" or value.__doc__


def test_any_other_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'foveate' has no attribute 'segmentation'"):
        foveate.segmentation  # noqa: B018


def test_the_version_is_that_of_the_installation():
    try:
        expected = metadata.version("foveate")
    except metadata.PackageNotFoundError:  # run from the source
        expected = "0+source"

    assert foveate.__version__ == expected


def test_the_package_ships_its_types():
    assert (Path(foveate.__file__).parent / "py.typed").is_file()


def test_importing_foveate_imports_no_heavy_library():
    loaded = python(
        "import json, sys, foveate, foveate.cli\n"
        "print(json.dumps([name for name in ('numpy', 'cv2', 'onnxruntime', 'PIL') if name in sys.modules]))"
    )

    assert loaded == []


def test_prediction_needs_no_training_library(tmp_path):
    model = tiny_package.build(tmp_path / "tiny")
    photograph = tiny_package.photograph(tmp_path / "eye.png")
    code = (
        "import json, sys\n"
        f"for name in {BLOCKED}: sys.modules[name] = None\n"
        "import foveate, foveate.cli\n"
        "result = foveate.load(sys.argv[1]).segment(foveate.read(sys.argv[2]))\n"
        "code = foveate.cli.run(['predict', sys.argv[2], '--out', sys.argv[3], '--model', sys.argv[1]])\n"
        "print(json.dumps([code, len(result.regions), foveate.cli.run(['models', 'show', sys.argv[1]])]))"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            code + "; print(json.dumps(code))",
            str(model),
            str(photograph),
            str(tmp_path / "out"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "0"
    assert (tmp_path / "out" / "index.html").is_file()


def test_python_m_foveate_is_the_command_line():
    done = subprocess.run(
        [sys.executable, "-m", "foveate", "--version"], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (0, f"foveate {foveate.__version__}\n")
