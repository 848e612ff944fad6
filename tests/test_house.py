"""The house is as docs/the-flow.md draws it: every module has its level, row, docstring and tests."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent

PACKAGE = ROOT / "src" / "foveate"

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

CONTRACTS = {
    contract["type"]: contract for contract in reversed(PROJECT["tool"]["importlinter"]["contracts"])
}
"""The first of each type."""

MODULES = sorted(
    path.stem if path.suffix == ".py" else path.name
    for path in PACKAGE.iterdir()
    if (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").is_file()
)

NEED_TORCH = {"nets", "training", "evaluation"}

ENGINES_WITHOUT_TORCH = {
    f"engines.{name}"
    for name in ("choice", "decoder_rewriting", "graphs", "onnx", "openvino", "threads", "telemetry")
}

UNSAID = re.compile(
    r"/(work|farm)/[a-z.]|/tm[p]/|/[.]library|py[p]i[.]org|python[h]osted|npm[j]s[.]|deb[.]debia[n]"
    r"|developers.? session|len[t] machine|\bTO[D]O\b|FIX[M]E"
)
"""Machines that others do not have, and work left over. Brackets keep this line from finding itself."""


def texts():
    """Yield every file of the project that people write, and its text."""
    tops = ("src", "tests", "docs", "examples", "benchmarks", "deploy", ".ci")
    folders = [path for top in tops for path in (ROOT / top).rglob("*")]
    beside = (path for path in ROOT.iterdir() if path.name != ".git")  # a file, in a second working tree
    for path in [*beside, *folders]:
        if path.is_file() and "__pycache__" not in path.parts and path.stat().st_size < 2_000_000:
            content = path.read_bytes()
            if b"\0" not in content:
                yield path, content.decode()


def docstring(path):
    return ast.get_docstring(ast.parse(path.read_text())) or ""


def imported(module, name):
    """Return what `from module import name` binds."""
    owner = importlib.import_module(module)
    return getattr(owner, name) if hasattr(owner, name) else importlib.import_module(f"{module}.{name}")


@pytest.mark.parametrize(
    "path", sorted((ROOT / "benchmarks").rglob("*.py")), ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_all_that_a_benchmark_uses_of_the_package_exists(path):
    nodes = list(ast.walk(ast.parse(path.read_text())))
    bound = {}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and re.match(r"foveate\b", node.module or ""):
            try:
                bound |= {name.asname or name.name: imported(node.module, name.name) for name in node.names}
            except ModuleNotFoundError as error:
                if str(error.name).startswith("foveate"):
                    raise
                pytest.skip(f"needs {error.name}")
    missing = {
        f"{node.value.id}.{node.attr}"
        for node in nodes
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and isinstance(module := bound.get(node.value.id), ModuleType)
        and not hasattr(module, node.attr)
    }

    assert not missing


def test_every_module_has_a_level():
    layers = CONTRACTS["layers"]
    placed = [name.strip("() ") for layer in layers["layers"] for name in re.split(r"[|:]", layer)]

    assert sorted(placed) == MODULES
    assert layers["exhaustive"]


def test_all_but_training_is_kept_from_torch():
    contract = CONTRACTS["forbidden"]

    assert {"torch", "onnx", "safetensors"} <= set(contract["forbidden_modules"])
    kept = {name.removeprefix("foveate.") for name in contract["source_modules"]}
    assert kept - set(MODULES) == ENGINES_WITHOUT_TORCH
    assert set(MODULES) - kept == NEED_TORCH | {"engines", "__main__"}


def test_the_picture_of_the_house_shows_every_module_once():
    page = (ROOT / "docs" / "the-flow.md").read_text()
    rows = re.findall(r"^\| \d \| `(\w+)` \|", page, re.MULTILINE)
    drawing = page.split("```")[1]

    assert sorted([*rows, "__main__"]) == MODULES
    for name in rows:
        assert len(re.findall(rf"\b{name}\b", drawing)) >= 1, name


@pytest.mark.parametrize(
    "path",
    [path for path in PACKAGE.rglob("*.py") if path.parent.name != "recipes" and path.stem != "__main__"],
    ids=lambda path: path.relative_to(PACKAGE).as_posix(),
)
def test_a_module_says_what_it_knows_and_what_it_ignores(path):
    if path == PACKAGE / "__init__.py":
        assert "Research software, not a medical device." in docstring(path)
        return
    assert re.search(r"^Knows: ", docstring(path), re.MULTILINE)
    assert re.search(r"^Ignores: ", docstring(path), re.MULTILINE)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_has_a_test_file_of_its_name_or_of_each_of_its_parts(name):
    tested = {"__main__": "cli", "version": "surface"}.get(name, name)
    files = {path.stem for path in (ROOT / "tests").glob("test_*.py")}
    parts = {f"test_{path.stem}" for path in (PACKAGE / name).glob("[!_]*.py")}

    assert any(f"{file}_".startswith(f"test_{tested}_") for file in files) or parts & files == parts != set()


def test_no_file_names_a_machine_that_others_do_not_have():
    found = [
        f"{path.relative_to(ROOT)}: {match[0]!r}"
        for path, text in texts()
        for match in [UNSAID.search(text)]
        if match
    ]

    assert not found


def test_the_version_is_the_same_wherever_it_stands():
    version = PROJECT["project"]["version"]

    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert version in (ROOT / "CHANGELOG.md").read_text()


def test_the_licences_are_named_and_whole():
    assert PROJECT["project"]["license"] == "Apache-2.0"
    assert "END OF TERMS AND CONDITIONS" in (ROOT / "LICENSE").read_text()
    for owed in ("Porwal", "CC BY 4.0", "10.3390/data3030025", "ML Illustrated", "Google"):
        assert owed in (ROOT / "NOTICE").read_text()


def test_the_wheel_holds_all_of_the_package_and_nothing_else(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}

    written = {path.relative_to(PACKAGE.parent).as_posix() for path in PACKAGE.rglob("*") if path.is_file()}
    assert packed == {name for name in written if "__pycache__" not in name}


def test_routes_build_no_bodies():
    """The presenters do (docs/the-flow.md)."""
    built = {
        path.name: re.findall(r"schemas\.[A-Z]\w+\(", path.read_text())
        for path in (PACKAGE / "server" / "http" / "routes").glob("*.py")
    }

    assert "gradings.py" in built
    assert not any(built.values()), built
