"""A data set, a network and a recipe small enough to train in a test.

Three drawn photographs in IDRiD's folders: a lit disc with lesions at known places, masks as palette TIFFs
(index 1 is dark red), some of them absent. The third is so large that its canvas is resampled.
"""

import functools
import hashlib
import io
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from foveate import models, nets
from foveate.datasets import dr_grades, layouts
from foveate.models import Package
from foveate.nets import LocalGlobalUNet, NetworkPlan, StreamPlan
from foveate.training import cache
from foveate.training.augmentation import AugmentationLimits
from foveate.training.cache import CachedCase
from foveate.training.losses import Loss
from foveate.training.plan import TrainingPlan
from foveate.training.recipe import STORED_NAMES, Recipe, Stage
from foveate.types import ModelContract

CONTRACT = ModelContract(
    lesions=("EX", "MA", "HE", "SE"),
    mean=(127.0, 127.0, 127.0),
    std=(128.0, 128.0, 128.0),
    view_side=32,
    window_side=32,
    overlap=8,
    field_diameter=170.0,
    scale_tolerance=0.1,
)

COLOURS = {"EX": (250, 240, 120), "MA": (90, 20, 10), "HE": (70, 25, 15), "SE": (230, 220, 190)}
RADII = {"EX": 6, "MA": 3, "HE": 11, "SE": 14}
FOLDERS = {
    "MA": "1. Microaneurysms",
    "HE": "2. Haemorrhages",
    "EX": "3. Hard Exudates",
    "SE": "4. Soft Exudates",
}


@dataclass(frozen=True)
class Eye:
    """One drawn photograph."""

    diameter: int
    absent: tuple[str, ...] = ()


EYES = {
    "IDRiD_01": Eye(164),
    "IDRiD_02": Eye(172, absent=("SE",)),
    "IDRiD_03": Eye(240, absent=("SE", "HE")),
}


def draw(eye, seed):
    """Return a photograph and one mask a lesion: lit disc, lesions as discs on a circle around its centre."""
    height, width = max(256, eye.diameter + 24), max(256, eye.diameter + 54)  # 256: no less is read
    rows, columns = np.mgrid[:height, :width] + 0.5
    middle = np.array([height / 2, width / 2])
    grain = np.random.default_rng(seed).normal(0, 4, (*rows.shape, 3))
    pixels = np.array([150, 90, 40]) + grain
    scale = eye.diameter / 170
    masks = {}
    for number, (code, radius) in enumerate(RADII.items()):
        angle = seed + number * np.pi / 2
        row, column = middle + 0.25 * eye.diameter * np.array([np.sin(angle), np.cos(angle)])
        disc = np.hypot(rows - row, columns - column) <= radius * scale
        if code not in eye.absent:
            pixels[disc] = COLOURS[code]
            masks[code] = disc
    pixels[np.hypot(rows - middle[0], columns - middle[1]) > eye.diameter / 2] = 0
    return pixels.clip(0, 255).astype(np.uint8), masks


def palette_mask(mask):
    """Return a mask as the official files have it: index 1 is dark red."""
    image = Image.fromarray(mask.astype(np.uint8)).convert("P")
    image.putpalette([0, 0, 0, 128, 0, 0])
    return image


def write(root: Path) -> tuple:
    """Write the data set into a folder and list it."""
    for name, content in _files().items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return cases(root)


def cases(root: Path) -> tuple:
    """List the data set in a folder."""
    return layouts.cases(root, layouts.IDRID, "train")


@functools.cache
def _files() -> dict[str, bytes]:
    """Return the files of the data set, which are drawn once."""
    files = {}
    for seed, (name, eye) in enumerate(EYES.items()):
        pixels, masks = draw(eye, seed)
        photograph = f"A. Segmentation/1. Original Images/a. Training Set/{name}.jpg"
        files[photograph] = _encoded(Image.fromarray(pixels), "JPEG", quality=95)
        for code, mask in masks.items():
            folder = f"A. Segmentation/2. All Segmentation Groundtruths/a. Training Set/{FOLDERS[code]}"
            files[f"{folder}/{name}_{code}.tif"] = _encoded(palette_mask(mask), "TIFF")
    return files


def _encoded(image: Image.Image, kind: str, **options) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def cached_cases(root: Path):
    """Write the data set and lay its cached_cases out."""
    return [cache.cache_case(case, CONTRACT, root / "sheets") for case in write(root / "set")]


def plan(root: Path) -> TrainingPlan:
    """Write the data set and its folds; return the plan of a run that holds IDRiD_03 back."""
    split = root / "folds.json"
    split.write_text(json.dumps({"folds": {"IDRiD_01": 1, "IDRiD_02": 2, "IDRiD_03": 0}}))
    return TrainingPlan(recipe=recipe(split=split), cases=write(root / "set"), folder=root / "run")


def write_healthy_eyes(folder: Path) -> Path:
    """Write two healthy eyes to a new folder and return it."""
    folder.mkdir()
    for number in (8, 9):
        pixels, _ = draw(Eye(164, absent=tuple(RADII)), number)
        Image.fromarray(pixels).save(folder / f"eye-{number}.png")
    return folder


def with_healthy_eyes(plan: TrainingPlan, root: Path) -> TrainingPlan:
    """Return the plan with two healthy eyes beside the set."""
    healthy = dr_grades.healthy_cases(write_healthy_eyes(root / "eyes"), None)
    return replace(plan, recipe=replace(plan.recipe, healthy_share=0.5), healthy=healthy)


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseInMemory(CachedCase):
    """A case whose arrays have no files; their axes are those of `CachedCase`."""

    folder: Path = Path("nowhere")
    stamp: int = 0
    pixels: np.ndarray
    bits: np.ndarray
    fine_view: np.ndarray
    fine_truth: np.ndarray


STREAM = StreamPlan(backbone="unet", poolings=2, width=4)
NETWORK = NetworkPlan(global_net=STREAM, local_net=STREAM, fusion_width=6)


def network() -> LocalGlobalUNet:
    """Build both streams as the paper's U-Nets, four channels wide."""
    return nets.build(NETWORK, len(CONTRACT.lesions))


def correcting() -> LocalGlobalUNet:
    """Build the same with a fusion that is added to LocalNet's logits."""
    return nets.build(replace(NETWORK, residual_fusion=True), len(CONTRACT.lesions))


def seeded(build=network, seed=0) -> LocalGlobalUNet:
    """Build a network with the first weights of a seed, its normalisations as if they had been trained."""
    torch.manual_seed(seed)
    built = build()
    for module in built.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.2)
    return built.eval()


def recipe(**changes) -> Recipe:
    """Return a recipe of six steps a stage."""
    free = AugmentationLimits(turn=45.0, zoom=0.2, colour=0.05, noise=3.0)
    quarters = AugmentationLimits(colour=0.05)
    whole = Recipe(
        name="tiny",
        contract=CONTRACT,
        network=NETWORK,
        stages={
            "global": Stage(steps=6, photographs=2, windows=1, rate=1e-2, limits=free),
            "local": Stage(steps=6, photographs=3, windows=1, rate=1e-2, limits=free),
            "fusion": Stage(steps=6, photographs=2, windows=2, rate=1e-2, limits=quarters),
            "joint": Stage(steps=6, photographs=2, windows=2, rate=1e-2, limits=quarters),
        },
        split=Path("folds.json"),
        held_back=0,
        loss=Loss(),
        lesion_share=0.6,
        power=0.9,
        averaging=0.9,
    )
    return replace(whole, **changes)


def settings(recipe: Recipe) -> dict[str, str]:
    """Return every dotted name of a recipe's numbers, with its value as text."""

    def leaves(node, prefix):
        for key, value in node.items():
            name = f"{prefix}{STORED_NAMES.get(key, key)}"
            yield from leaves(value, f"{name}.") if isinstance(value, dict) else [(name, str(value))]

    return {name: text for name, text in leaves(asdict(recipe), "") if name != "name"}


def package(contract=CONTRACT) -> Package:
    """Return a package that lies nowhere: what a fake engine needs to be used by `segment`."""
    package = models.unsaved_package("tiny", contract)
    manifest = replace(package.manifest, version="0")
    return Package(folder=Path("nowhere"), manifest=manifest, digest="0" * 64)


def digests(module: torch.nn.Module) -> dict[str, str]:
    """Return SHA-256 of each tensor of a network, statistics included."""
    return {
        name: hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()
        for name, tensor in module.state_dict().items()
    }
