"""The commands and the Python of README and documentation, run as they stand there.

Every `console` line that begins with '$ ' and every `python` block is run once, page by page in reading
order: all pages with a tiny model and a drawn eye, README again with the real model and a real photograph.
Commands that set up environments are checked as far as that goes without doing it; CI calls them itself.
"""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import tiny_package

from foveate import models

ROOT = Path(__file__).parent.parent

PAGES = ("README.md", "docs/start.md", "docs/outputs.md", "docs/api.md", "CONTRIBUTING.md")
"""In the order in which a newcomer reads them: later ones may use what earlier ones have made."""

if importlib.util.find_spec("pyarrow") is not None:  # what `--on` needs of foveate[cluster]
    PAGES += ("docs/cluster.md",)

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

EXAMPLE = re.compile(r"examples/[\w.-]+\.(?:jpe?g|png|tiff?)")


def blocks(language, pages=PAGES):
    """Return (page, text) of every block in a language."""
    return [
        (page, text)
        for page in pages
        for kind, text in BLOCK.findall((ROOT / page).read_text())
        if kind == language
    ]


def commands(program, pages=PAGES):
    """Return the commands that call a program, each once."""
    texts = [text for _, text in blocks("console", pages)]
    lines = [line[2:] for text in texts for line in text.splitlines() if line.startswith("$ ")]
    words = [shlex.split(line, comments=True) for line in lines]
    return [line for line in dict.fromkeys(map(shlex.join, words)) if line.split()[0] == program]


def photographs(pages):
    """Return the example photographs that some pages name; each of them is there."""
    named = sorted({name for page in pages for name in EXAMPLE.findall((ROOT / page).read_text())})
    assert named
    assert all((ROOT / name).is_file() for name in named)
    return named


def run(command, folder, source=ROOT / "src"):
    """Run a command with Foveate from a source folder and return what it printed."""
    environment = os.environ | {"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def run_pages(pages, folder, source=ROOT / "src"):
    """Run the `foveate` lines of some pages, then their Python as one program: pages build on each other."""
    for command in commands("foveate", pages):
        run([sys.executable, "-m", *shlex.split(command)], folder, source)
    program = "\n".join(dict.fromkeys(text for _, text in blocks("python", pages)))
    (folder / "pages.py").write_text(program)
    run([sys.executable, "pages.py"], folder, source)
    assert (folder / "out" / "index.html").is_file()
    assert (folder / "out-python" / "summary.csv").is_file()


def test_the_first_page_has_the_two_commands_and_three_lines_of_python():
    first = (ROOT / "README.md").read_text()

    assert {"make demo", "make test"} <= set(commands("make"))
    assert "foveate predict examples --out out" in commands("foveate")
    _, lines = next(block for block in blocks("python") if block[0] == "README.md")
    assert len([line for line in lines.splitlines() if line and not line.startswith("import")]) == 3
    assert "not a medical device" in first


def test_every_console_line_is_a_command_that_this_file_knows_how_to_check():
    known = {"make", "pip", "foveate"}
    environment = ["$ python3 -m venv .venv-foveate", "$ . .venv-foveate/bin/activate"]

    for page, text in blocks("console"):
        lines = text.splitlines()
        for line in lines[2:] if lines[:2] == environment else lines:
            assert line.startswith("$ "), f"{page}: {line}"
            assert line.split()[1] in known, f"{page}: {line}"


@pytest.mark.parametrize("command", commands("make"))
def test_make_knows_what_the_pages_ask_of_it(command):
    planned = run([*shlex.split(command), "--dry-run", f"PYTHON={sys.executable}"], ROOT)

    if command == "make demo":
        assert "foveate predict examples --out demo-out" in planned
    if command == "make test":
        assert "pytest" in planned


@pytest.mark.parametrize("command", commands("pip"))
def test_pip_is_asked_for_extras_that_exist(command):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = re.fullmatch(r"pip install '?\.(?:\[([\w,]+)\])?'?", command)

    assert wanted, f"{command}: is no installation from the clone"
    assert set((wanted[1] or "").split(",")) - {""} <= set(extras)


def test_all_pages_run_from_top_to_bottom_with_a_tiny_model(tmp_path):
    source, place = tmp_path / "src", tmp_path / "place"
    shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("shipped", "*cache*"))
    tiny_package.build(source / "foveate" / "models" / "shipped" / models.DEFAULT, name=models.DEFAULT)
    for name in photographs(PAGES):
        tiny_package.photograph(place / name)

    run_pages(PAGES, place, source)


@pytest.mark.skipif(not models.shipped(), reason="no model comes with this copy of Foveate")
def test_the_first_page_runs_with_the_model_that_comes_with_foveate(tmp_path):
    (tmp_path / "examples").mkdir()
    for name in photographs(["README.md"]):
        shutil.copy(ROOT / name, tmp_path / name)

    run_pages(["README.md"], tmp_path)
