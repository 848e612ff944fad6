"""All four lesions in one network with ImageNet encoders, small enough for two processor cores.

Run:     foveate train idrid-lite0 --data DIR --out RUN
Data:    IDRiD's 54 segmentation training photographs; fold 1 of splits/idrid.json is held back
Cost:    4 h of one core in bf16, beside other work (51 + 58 + 17 + 115 min; the first two in parallel)
Expect:  average precision on the 11 held back: EX .77, MA .45, HE .78, SE .74 (docs/cards/idrid-lite0.md)
Source:  Yan et al., ISBI 2019 (two streams, fusion, four stages); EfficientNet-Lite0 instead of U-Nets
"""

from pathlib import Path

from foveate.nets import NetworkPlan, StreamPlan
from foveate.training.augmentation import AugmentationLimits
from foveate.training.losses import Loss
from foveate.training.recipe import Recipe, Stage
from foveate.types import ModelContract

CONTRACT = ModelContract(
    lesions=("EX", "MA", "HE", "SE"),
    mean=(127.0, 127.0, 127.0),  # as the ImageNet weights were trained
    std=(128.0, 128.0, 128.0),
    view_side=640,  # the paper, section 2.2
    window_side=256,  # the paper, section 2.2
    overlap=64,  # a quarter: no visible seams, for 1.8 times the paper's number of windows
    step=16,  # LocalNet halves four times: windows may be larger than in training
    field_diameter=3480.0,  # median of the 54, as field_of_view.find measures it
    scale_tolerance=0.15,  # so that no IDRiD photograph is resampled (the largest is 11 % wider)
    tta_views=8,  # SE .70 -> .74, MA .45 -> .45, and rotated photographs give equal maps: docs/decisions/0010
)

NETWORK = NetworkPlan(  # decoder widths: our choice, narrow enough to train on two processor cores
    global_net=StreamPlan(  # haemorrhages and soft exudates need the context of five poolings
        backbone="efficientnet-lite0", poolings=5, decoder=(128, 64, 48, 32, 16), imagenet=True
    ),
    local_net=StreamPlan(  # 256 px hold no more context, and the encoder's last stage has most of the weights
        backbone="efficientnet-lite0", poolings=4, decoder=(64, 48, 32, 16), imagenet=True
    ),
    fusion_width=32,
)

PRETRAINING = AugmentationLimits(turn=45.0, zoom=0.25, colour=0.06, noise=4.0)  # any angle, as in the paper
QUARTERS = AugmentationLimits(colour=0.06)  # no free rotation, no zoom, as in the paper


def idrid_lite0() -> Recipe:
    """Return the recipe of the first shipped model."""
    return Recipe(
        name="idrid-lite0",
        contract=CONTRACT,
        network=NETWORK,
        stages={  # as many steps as time allowed; the paper trains 60 epochs at the end
            "global": Stage(steps=1142, photographs=2, windows=1, rate=2e-3, limits=PRETRAINING),
            "local": Stage(steps=2586, photographs=8, windows=1, rate=2e-3, limits=PRETRAINING),
            "fusion": Stage(steps=289, photographs=4, windows=6, rate=2e-3, limits=QUARTERS),
            "joint": Stage(steps=1368, photographs=2, windows=8, rate=4e-4, limits=QUARTERS),
        },
        split=Path(__file__).parent / "splits" / "idrid.json",
        held_back=1,  # fold 0 holds IDRiD_17, where one haemorrhage would dominate the pooled figure
        loss=Loss(),
        lesion_share=0.6,
        power=0.9,
        averaging=0.995,  # averages about the last 200 steps
    )
