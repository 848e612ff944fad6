"""All four lesions in one network whose LocalNet ends at half resolution: half the work of idrid-lite0.

Run:     foveate train idrid-half --data DIR --healthy GRADED --out RUN --start idrid-lite0 --stage local \
             --stage fusion --stage joint
Data:    IDRiD's 54 segmentation training photographs, fold 1 of splits/idrid.json held back; beside them 40
         healthy eyes of its grading part (splits/idrid-graded.json)
Cost:    1 h of one core in bf16 (15 + 7 + 37 min), after the 4 h of idrid-lite0; 18 min more on all 54
Expect:  average precision on the 11 held back: EX .78, MA .45, HE .78, SE .74 (docs/results/idrid-half.md)
Source:  Yan et al., ISBI 2019 (two streams, fusion, three stages); decisions 0011 to 0013 say what differs
"""

from pathlib import Path

from foveate.kinds import Contract
from foveate.nets import NetworkPlan, StreamPlan
from foveate.training.augment import Limits
from foveate.training.loss import Loss
from foveate.training.recipe import Recipe, Stage

SPLITS = Path(__file__).parent / "splits"

CONTRACT = Contract(
    lesions=("EX", "MA", "HE", "SE"),
    mean=(127.0, 127.0, 127.0),  # as the ImageNet weights were trained
    std=(128.0, 128.0, 128.0),
    view_side=640,  # the paper, section 2.2
    window_side=256,  # the paper, section 2.2
    overlap=64,  # a quarter: seams vanish for 1.8 times the paper's number of windows
    step=16,  # LocalNet's four halvings: windows may be larger than in training
    field_diameter=3480.0,  # median over the 54, as field.find measures
    scale_tolerance=0.15,  # so that no IDRiD photograph is resampled (the largest is 11 % wider)
    glances=8,  # SE .70 -> .74, MA .45 -> .45, and turned photographs agree: docs/decisions/0010
)


NETWORK = NetworkPlan(  # decoder widths: our choice, narrow, so that two processor cores can train them
    global_net=StreamPlan(  # five halvings: haemorrhages and soft exudates need the context
        backbone="efficientnet-lite0", poolings=5, decoder=(128, 64, 48, 32, 16), imagenet=True
    ),
    local_net=StreamPlan(  # four: 256 px have no more context to give, and the last stage holds most weights
        backbone="efficientnet-lite0", poolings=4, decoder=(64, 48, 32), ends=2, imagenet=True
    ),
    fusion_width=32,
    corrects=True,
)


def idrid_half() -> Recipe:
    """Return the recipe of the shipped model: it goes on from idrid-lite0."""
    pretraining = Limits(turn=45.0, zoom=0.25, colour=0.06, noise=4.0)  # any angle, as in the paper
    quarters = Limits(colour=0.06)  # register is kept: no turn, no zoom
    return Recipe(
        name="idrid-half",
        contract=CONTRACT,
        network=NETWORK,
        stages={  # as many steps as the hours allowed, from idrid-lite0's weights on; the paper: 60 epochs
            "global": Stage(steps=700, photographs=2, windows=1, rate=2e-3, limits=pretraining),  # left out
            "local": Stage(steps=1200, photographs=8, windows=1, rate=1e-3, limits=pretraining),
            "fusion": Stage(steps=150, photographs=4, windows=6, rate=2e-3, limits=quarters),
            "joint": Stage(steps=600, photographs=2, windows=8, rate=6e-4, limits=quarters),
        },
        split=SPLITS / "idrid.json",
        healthy_split=SPLITS / "idrid-graded.json",
        healthy_share=0.15,
        held_back=1,  # fold 0 holds IDRiD_17, one haemorrhage of which would rule the pooled figure
        loss=Loss(gamma=0.05),  # LocalNet after 300 steps: EX .55, MA .23; with 1/3 .38 and .00
        lesion_share=0.6,
        power=0.9,
        averaging=0.995,  # about the last 200 steps
    )
