"""A task that has nothing to do with eyes goes all the way by the same commands: leaves with rust, spots."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")

import tiny_layouts
from PIL import Image

from foveate import cli

LAYOUT = f"""
title = "Drawn leaves"
licence = "CC0-1.0"
attribution = "nobody"
{tiny_layouts.LEAVES}
"""

SIDE = 256
"""Of a picture, px: no less is read."""

STEPS = {"global": 30, "local": 60, "fusion": 15, "joint": 30}
"""Enough to tell brown from green, in a few seconds."""


def draw(seed):
    """Return a green picture with brown blotches and pale spots, and where they are."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    pixels = np.array([60, 130, 50]) + generator.normal(0, 8, (SIDE, SIDE, 3))
    masks = {}
    for code, colour, radius in (("RUST", (140, 80, 30), 20), ("SPOT", (225, 225, 190), 8)):
        mask = np.zeros((SIDE, SIDE), bool)
        for row, column in generator.integers(30, SIDE - 30, (3, 2)):
            mask |= np.hypot(rows - row, columns - column) < radius
        for other in masks.values():
            mask &= ~other
        pixels[mask] = colour + generator.normal(0, 8, (int(mask.sum()), 3))
        masks[code] = mask
    return pixels.clip(0, 255).astype(np.uint8), masks


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The set, and the package that training and release made of it."""
    root = tmp_path_factory.mktemp("leaves")
    (root / "leaves.toml").write_text(LAYOUT)
    for folder in ("images", "masks"):
        (root / "set" / folder).mkdir(parents=True)
    for number in range(6):
        pixels, masks = draw(number)
        Image.fromarray(pixels).save(root / "set" / "images" / f"leaf{number}.png")
        for code, mask in masks.items():
            Image.fromarray(mask).save(root / "set" / "masks" / f"leaf{number}_{code}.png")
    common = ("--data", f"{root / 'set'}", "--layout", f"{root / 'leaves.toml'}")
    fewer = [f"--set=stages.{stage}.steps={count}" for stage, count in STEPS.items()]
    run = str(root / "run")
    assert cli.run(["train", "tiny-task", *common, "--out", run, "--threads", "1", *fewer]) == 0
    assert cli.run(["release", "tiny-task", *common, "--run", run, "--to", f"{root / 'model'}"]) == 0
    return root, common


def test_what_was_held_back_is_evaluated_by_the_set_s_own_lesions(made):
    root, common = made
    model = ("--model", f"{root / 'model'}", "--out", f"{root / 'scores'}")

    assert cli.run(["evaluate", *common, *model, "--split", f"{root / 'run' / 'split.json'}:0"]) == 0

    found = json.loads((root / "scores" / "metrics.json").read_text())
    assert found["layout"] == "leaves"
    assert found["photographs"] in (1, 2)
    assert list(found["lesions"]) == ["RUST", "SPOT"]
    for lesion in found["lesions"].values():
        assert lesion["aupr"]["exact"]["value"] > 0.5  # either covers less than 6 % of a picture
    assert "leaves" in (root / "scores" / "report.html").read_text()


def test_the_package_says_what_it_learned_from_and_predicts_without_being_told_of_fields(made):
    root, _ = made
    manifest = json.loads((root / "model" / "manifest.json").read_text())
    assert manifest["data"] == {"name": "Drawn leaves", "licence": "CC0-1.0", "attribution": "nobody"}
    assert manifest["intended_use"].startswith("Research on rust, leaf spots in photographs")

    pixels, masks = draw(99)
    Image.fromarray(pixels).save(root / "new.png")
    out = root / "out"
    code = cli.run(["predict", f"{root / 'new.png'}", "--out", str(out), "--model", f"{root / 'model'}"])

    assert code == 0
    mask = np.asarray(Image.open(out / "masks" / "new_RUST.png")) > 0
    assert 2 * (mask & masks["RUST"]).sum() / (mask.sum() + masks["RUST"].sum()) > 0.5
