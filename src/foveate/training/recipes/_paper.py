"""Numbers that the paper's recipes share, each with its section of the paper; the others are our choice.

Source:  Yan et al., ISBI 2019
"""

from pathlib import Path

from foveate.nets import NetworkPlan, StreamPlan
from foveate.training.augmentation import AugmentationLimits
from foveate.training.losses import Loss
from foveate.training.recipe import Recipe, Stage
from foveate.types import ModelContract

SPLIT = Path(__file__).parent / "splits" / "idrid.json"
"""The folds of the recipe idrid, so that recipes can be compared."""

# Section 2.2: 'random rotation (with 359 degrees), zooming, flipping and adding random noise'.
FREE = AugmentationLimits(
    turn=180.0,  # in both directions: any angle
    zoom=0.25,  # 0.78 to 1.28 times; the paper gives no range
    free_share=1.0,  # every sample is rotated, as the paper says
    noise=4.0,  # levels; the paper gives no strength
)
"""Augmentation while GlobalNet and LocalNet are trained separately."""

QUARTERS = AugmentationLimits(mirrors=False)
"""Augmentation of the fused net: 'only rotation with 90, 180, 270 degrees' (section 2.2)."""

LOSS = Loss(
    cross_entropy=1.0,  # equation 2 alone
    dice=0.0,
    gamma=0.05,  # positives weigh at most 20: a window with one lesion pixel must not dominate; our choice
    lambda_global=1.0,  # the paper gives no weights; equal ones add no assumption
    lambda_local=1.0,
    lambda_weights=1e-4,  # 'e.g. L2 norm'; a usual strength, our choice
)
"""Equations 1 and 2. Of our choices, only gamma has been compared with alternatives (docs/recipes.md)."""


def contract(lesions: tuple[str, ...]) -> ModelContract:
    """Return the contract of the paper's networks: section 2.2."""
    return ModelContract(
        lesions=lesions,
        mean=(127.0, 127.0, 127.0),  # the paper gives none; levels become about -1 to 1
        std=(128.0, 128.0, 128.0),
        view_side=640,
        window_side=256,
        overlap=0,  # 13 x 11 windows cover the crop exactly
        field_diameter=3480.0,  # IDRiD's median, as field_of_view.find measures it
        scale_tolerance=0.15,  # so that no IDRiD photograph is resampled
        part="paper",  # the central 2816 x 3328 px
    )


def unet(poolings: int) -> StreamPlan:
    """Return a full-width U-Net: 64 channels first (Ronneberger et al. 2015; the paper gives no number)."""
    return StreamPlan(backbone="unet", poolings=poolings, width=64, cap=1024)


def single(lesion: str, global_poolings: int, local_poolings: int) -> Recipe:
    """Return the paper's recipe for one lesion: each lesion has its own network (section 2.1).

    Args:
        lesion: the lesion's code.
        global_poolings: number of poolings of GlobalNet.
        local_poolings: number of poolings of LocalNet.
    """
    return Recipe(
        name=f"paper-{lesion.lower()}",
        contract=contract((lesion,)),
        network=NetworkPlan(
            global_net=unet(global_poolings),
            local_net=unet(local_poolings),
            fusion_width=64,  # as many channels as each stream's features
        ),
        # Section 3.1: Adam, 2e-4 for each stream and for the fusion's 10 epochs, 1e-4 for the 60 joint ones.
        # It states no batch sizes. For the first two stages it states hours instead of epochs: 1 and 4, on
        # two GTX 1080. A view of GlobalNet with 6 poolings costs 2.2 TFLOP forward and backward, a window of
        # LocalNet with 3 poolings 0.22. At 40 % of those cards' 17.8 TFLOP/s, 200 and 60 epochs of 54
        # photographs take 1 and 4 hours.
        stages={
            "global": Stage(epochs=200.0, photographs=2, windows=1, rate=2e-4, limits=FREE),
            "local": Stage(epochs=60.0, photographs=16, windows=1, rate=2e-4, limits=FREE),
            # Each view has a row or column of the grid: 60 epochs then fit into the paper's 4 to 8 hours.
            "fusion": Stage(epochs=10.0, photographs=2, windows=11, rate=2e-4, limits=QUARTERS),
            "joint": Stage(epochs=60.0, photographs=2, windows=11, rate=1e-4, limits=QUARTERS),
        },
        loss=LOSS,
        lesion_share=0.0,  # 'cropped uniformly' (section 2.2)
        sampling="dealt",
        patches=143,  # 13 x 11
        cases="with-lesion",  # '81 images of MA, 81 of hard EX, 80 of HE, 40 of SE' (section 2.2)
        optimiser="adam",  # section 3.1
        power=0.9,  # from the paper's reference 13, DenseASPP
        warm_up=0.0,  # the paper has none
        averaging=0.0,  # the paper keeps the last weights
        precision="float32",  # the precision of 2019, on GTX 1080
        split=SPLIT,
        held_back=1,  # fold 0 holds IDRiD_17, where one haemorrhage would dominate the pooled figure
    )
