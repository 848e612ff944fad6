"""All four lesions in one network, from ImageNet's weights to the package in one command.

Run:     foveate train idrid --data DIR --healthy GRADED --out RUN for one run; for the whole model
         foveate programme idrid --data DIR --healthy GRADED --out DIR --fold 1 --fold 2 --all-from 1
Data:    IDRiD's 54 segmentation training photographs, fold 1 of splits/idrid.json held back; in addition 40
         healthy eyes of its grading part (splits/idrid-graded.json)
Cost:    6.5 h of one quiet core in bf16 for a run, by the time of a step: local 16,000 of .42 s, global 3,000
         of 2.2 s, joint 2,000 of 3.8 s, refine 400 of 4 s; two runs and a last stage on all photographs
Expect:  EX .833, MA .503, HE .802, SE .783 on the 11 held back (docs/results/idrid.md)
Source:  Yan et al., ISBI 2019 (two streams, fusion, four stages); EfficientNet-Lite0 instead of U-Nets;
         decisions 0010 to 0013 state differences
"""

from pathlib import Path

from foveate.nets import NetworkPlan, StreamPlan
from foveate.training.augmentation import AugmentationLimits
from foveate.training.losses import Loss
from foveate.training.recipe import Recipe, Stage
from foveate.types import ModelContract

SPLITS = Path(__file__).parent / "splits"

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
    tta_views=4,  # the rotations; one view loses about .02 of SE, eight gain nothing (docs/results/idrid.md)
)

NETWORK = NetworkPlan(  # decoder widths: our choice, narrow enough to train on two processor cores
    global_net=StreamPlan(  # haemorrhages and soft exudates need the context of five poolings
        backbone="efficientnet-lite0", poolings=5, decoder=(128, 64, 48, 32, 16), imagenet=True
    ),
    local_net=StreamPlan(  # half resolution is half the work, and the scores are equal: docs/decisions/0013
        backbone="efficientnet-lite0", poolings=4, decoder=(64, 48, 32), output_stride=2, imagenet=True
    ),
    fusion_width=32,  # as wide as LocalNet's last block
    residual_fusion=True,  # starts from LocalNet's maps, not from random ones: docs/decisions/0011
)

FREE = AugmentationLimits(turn=45.0, zoom=0.25, colour=0.06, noise=4.0)  # any angle, as in the paper
QUARTERS = AugmentationLimits(colour=0.06)  # no free rotation, no zoom, as in the paper


def idrid() -> Recipe:
    """Return the recipe of the model `idrid`."""
    return Recipe(
        name="idrid",
        contract=CONTRACT,
        network=NETWORK,
        stages={
            # GlobalNet alone, fold 1: no better than idrid-half's (docs/results/idrid-half.md), so no more
            "global": Stage(steps=3000, photographs=2, windows=1, rate=1.5e-3, limits=FREE),
            # LocalNet alone, fold 1: MA .457, .463, .490 after 5,961, 9,485, 16,000 steps, rising to the end
            "local": Stage(steps=16000, photographs=8, windows=1, rate=1e-3, limits=FREE),
            # a small head on trained features: its loss is flat from step 50 on
            "fusion": Stage(steps=150, photographs=4, windows=6, rate=2e-3, limits=QUARTERS),
            # steps: 3,000 are no better (docs/results/idrid-trials.md); the paper: 60 epochs
            # snapshots: the middle is better at soft exudates, the end at the rest (docs/decisions/0022)
            "joint": Stage(steps=2000, photographs=2, windows=8, rate=6e-4, limits=QUARTERS, snapshots=2),
            # healthy eyes show 1 region at the median in place of 3, lesions as before (docs/decisions/0023)
            # fold_batch_norm: SE .783 in place of .730, the others within .002 (docs/decisions/0031)
            "refine": Stage(
                steps=400,
                photographs=2,
                windows=8,
                rate=2e-4,
                limits=QUARTERS,
                healthy_share=0.4,
                fold_batch_norm=True,
            ),
        },
        split=SPLITS / "idrid.json",
        held_back=1,  # fold 0 holds IDRiD_17, where one haemorrhage would dominate the pooled figure
        healthy_split=SPLITS / "idrid-graded.json",
        healthy_share=0.15,  # about one photograph in seven, so that most photographs still have lesions
        loss=Loss(gamma=0.05),  # LocalNet after 300 steps: EX .55, MA .23; with 1/3: .38 and .00
        global_shares=(0.0, 0.0, 0.0, 0.5),  # SE .73 in place of .70 on two folds (docs/decisions/0030)
        lesion_share=0.6,  # most windows sampled uniformly show no lesion; the paper: 0
        power=0.9,  # the paper, section 3.1, from its reference 13
        averaging=0.995,  # averages about the last 200 steps
    )
