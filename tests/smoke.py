"""Print the losses of six steps of each stage on the drawn data set, as `tests/golden/losses.json` has them.

    PYTHONPATH=src:tests python tests/smoke.py > tests/golden/losses.json

Do so only if the losses are meant to change, and give the reason in the changelog.
"""

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import tiny_set

from foveate.training import trainer
from foveate.training.recipe import STAGES
from foveate.training.run_folder import RunFolder


def losses(root):
    """Return each stage's losses in float32, six steps each.

    The learning rate is low, because Adam's first steps are as long in a direction whose gradient is mere
    rounding as in any other.
    """
    cached_cases = tiny_set.cached_cases(root)
    slow = {name: replace(stage, rate=1e-3) for name, stage in tiny_set.recipe().stages.items()}
    recipe = tiny_set.recipe(stages=slow, precision="float32")
    return {
        stage: [
            round(progress.loss, 6)
            for progress in trainer.train_stage(recipe, cached_cases, RunFolder(root / "run"), stage)
        ]
        for stage in STAGES
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        json.dump(losses(Path(folder)), sys.stdout, indent=1)
        sys.stdout.write("\n")
