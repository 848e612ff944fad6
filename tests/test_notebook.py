"""The example notebook runs as it stands, and shows what it says."""

import json
import re
from pathlib import Path

import notebooks
import pytest

ROOT = Path(__file__).parent.parent

NOTEBOOK = ROOT / "examples" / "segment.ipynb"

LARGEST = 500_000
"""Bytes: a notebook that is larger is slow to open on the web."""


@pytest.fixture(scope="module")
def stored():
    return json.loads(NOTEBOOK.read_text())


@pytest.fixture(scope="module")
def rerun(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return notebooks.run(NOTEBOOK)


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


NUMBER = re.compile(r"\d+(?:\.\d+)?")


def numbers(text):
    return [float(number) for number in NUMBER.findall(text)]


def kinds(cell):
    """Return a cell's outputs by kind, without the pixels."""
    return [sorted(output.get("data", {"stdout": ""})) for output in cell["outputs"]]


def test_the_stored_outputs_are_those_of_its_cells(stored, rerun):
    assert len(code_cells(stored)) == len(code_cells(rerun)) > 3
    for cell, again in zip(code_cells(stored), code_cells(rerun), strict=True):
        assert cell["execution_count"] == again["execution_count"]
        assert kinds(cell) == kinds(again)
        for output, repeated in zip(cell["outputs"], again["outputs"], strict=True):
            if "text" in output:
                text, repeated_text = "".join(output["text"]), "".join(repeated["text"])
                assert NUMBER.sub("#", text) == NUMBER.sub("#", repeated_text)
                # Processors compute in int8, bf16 or float32: a region on the edge of its threshold or of
                # the evidence cut comes and goes, and the largest microaneurysm may be another one.
                assert numbers(text) == pytest.approx(numbers(repeated_text), rel=0.25, abs=2)


def test_it_shows_a_table_a_figure_and_a_map(stored):
    media = [medium for cell in code_cells(stored) for kind in kinds(cell) for medium in kind]

    assert media.count("text/html") == 1
    assert media.count("image/jpeg") == 2


def test_it_is_small_and_of_the_format_that_it_names(stored):
    assert NOTEBOOK.stat().st_size < LARGEST
    assert (stored["nbformat"], stored["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in stored["cells"]}) == len(stored["cells"])
    for cell in stored["cells"]:
        assert {"cell_type", "metadata", "source", "id"} <= set(cell)


def test_the_runner_stops_at_an_error(tmp_path):
    cell = {"cell_type": "code", "metadata": {}, "source": ["1 / 0"], "outputs": [], "execution_count": None}
    path = tmp_path / "broken.ipynb"
    path.write_text(json.dumps({"cells": [cell]}))

    with pytest.raises(ZeroDivisionError):
        notebooks.run(path)
