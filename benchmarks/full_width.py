"""Take one optimiser step of each stage of a recipe on the processor, with a batch of one.

Run:    python benchmarks/full_width.py [RECIPE ...]
Data:   none; noise, since neither time nor memory depends on the pixels
Expect: docs/recipes.md has the figures; the exit code is 1 where a stage does not end in a finite loss
Cost:   about 80 seconds of one core and 4.5 GB for paper-ex; paper-he takes 95 and 6
"""

import argparse
import math
import multiprocessing
import resource
import sys
import time
from dataclasses import replace

import numpy as np
import torch

from foveate import nets
from foveate.geometry import feature_sampling
from foveate.training import stages
from foveate.training.recipe import STAGES
from foveate.training.recipes import RECIPES
from foveate.training.sampler import TrainingItem
from foveate.training.samples import Sample
from foveate.training.trainer import StageTrainer

CANVAS = (2816, 3328)
"""The paper's crop, px."""


def noise(side, lesions, generator):
    """Return a sample of nothing in particular, with a lesion in its middle."""
    truth = np.zeros((lesions, side, side), np.float32)
    truth[:, side // 3 : side // 2, side // 3 : side // 2] = 1
    return Sample(pixels=generator.integers(0, 256, (side, side, 3), dtype=np.uint8), truth=truth)


def make_item(recipe, stage):
    """Return one photograph's part in a step: its view, one window, or both."""
    contract, generator = recipe.contract, np.random.default_rng(0)
    view, window = (
        noise(side, len(contract.lesions), generator) for side in (contract.view_side, contract.window_side)
    )
    sampling = feature_sampling.window_sampling((0, 0), contract.window_side, CANVAS, contract.view_side)
    return TrainingItem(
        view=None if stage == "local" else view,
        windows=() if stage == "global" else (window,),
        samplings=(sampling,) if stage in ("fusion", "joint") else (),
    )


def step(name, stage, answers):
    """Take a step in a process of its own, so that its peak of memory is its own."""
    torch.set_num_threads(1)
    recipe = RECIPES[name]()
    single = {key: replace(numbers, photographs=1, windows=1) for key, numbers in recipe.stages.items()}
    recipe = replace(recipe, stages=single)
    network = nets.build(recipe.network, len(recipe.contract.lesions), read_weights=None)
    network = network.to(memory_format=torch.channels_last)
    stages.set_modes(network, stage)
    learner = StageTrainer(network, recipe, stage)
    item = make_item(recipe, stage)
    start = time.process_time()  # of one thread: what else runs beside it does not count
    loss = learner.train_step([item], recipe.stages[stage].rate)
    seconds = time.process_time() - start
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answers.put((loss, seconds, kilobytes * 1024, sum(p.numel() for p in learner.part.parameters())))


def main(names):
    """Print a line for each recipe and stage; return whether all losses are finite."""
    context, finite = multiprocessing.get_context("spawn"), True
    print(f"{'recipe':12} {'stage':7} {'trained weights':>18} {'seconds':>8} {'peak GB':>8} {'loss':>8}")
    for name in names:
        for stage in STAGES:
            answers = context.Queue()
            process = context.Process(target=step, args=(name, stage, answers))
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit(f"{name}, {stage}: the process ended with {process.exitcode}")
            loss, seconds, peak, weights = answers.get()
            finite &= math.isfinite(loss)
            print(
                f"{name:12} {stage:7} {weights:18,} {seconds:8.1f} {peak / 1e9:8.2f} {loss:8.3f}", flush=True
            )
    return finite


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", default=["paper-ex"])
    sys.exit(not main(parser.parse_args().recipes))
