"""Six steps of each stage on the drawn data set: what `tests/golden/losses.json` holds.

    PYTHONPATH=src:tests python tests/smoke.py > tests/golden/losses.json

Do so only where the losses are meant to change, and say why where you write down what changed.
"""

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import tiny_set

from foveate.training import trainer
from foveate.training.recipe import STAGES


def losses(root):
    """Return each stage's losses in float32, six steps each.

    At a low rate: Adam's first steps are as long in a direction of no gradient but rounding as in any other.
    """
    sheets = tiny_set.sheets(root)
    slow = {name: replace(stage, rate=1e-3) for name, stage in tiny_set.recipe().stages.items()}
    recipe = tiny_set.recipe(stages=slow, precision="float32")
    return {
        stage: [
            round(progress.loss, 6) for progress in trainer.train_stage(recipe, sheets, root / "run", stage)
        ]
        for stage in STAGES
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        json.dump(losses(Path(folder)), sys.stdout, indent=1)
        sys.stdout.write("\n")
