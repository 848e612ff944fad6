"""The paper's method for all four lesions in one network, narrow enough for two processor cores.

Run:     foveate train paper-narrow --data DIR --out RUN
Data:    IDRiD's segmentation training photographs; fold 1 of splits/idrid.json is held back
Cost:    not measured as a whole; 4 h of one core, estimated from the time of single steps (1.2, .7, 1.5 and
         3.7 s)
Expect:  not measured yet
Source:  Yan et al., ISBI 2019; the width, the epochs and the rates are ours
"""

from foveate.nets import NetworkPlan, StreamPlan
from foveate.training.recipe import Recipe, Stage
from foveate.training.recipes import _paper

STREAM = StreamPlan(
    backbone="unet",
    poolings=6,  # the largest number of the four lesions (section 2.1); skips contain shallower networks
    width=8,  # an eighth of 64: a 64th of the operations
    cap=128,  # the same eighth of 1024
)


def paper_narrow() -> Recipe:
    """Return the recipe. Learning rates are higher than the paper's, since few epochs are affordable."""
    free, quarters = _paper.FREE, _paper.QUARTERS
    return Recipe(
        name="paper-narrow",
        contract=_paper.contract(("EX", "MA", "HE", "SE")),
        network=NetworkPlan(global_net=STREAM, local_net=STREAM, fusion_width=8),
        stages={
            "global": Stage(epochs=150.0, photographs=2, windows=1, rate=1e-3, limits=free),
            "local": Stage(epochs=8.0, photographs=8, windows=1, rate=1e-3, limits=free),
            "fusion": Stage(epochs=1.0, photographs=2, windows=11, rate=1e-3, limits=quarters),
            "joint": Stage(epochs=6.0, photographs=2, windows=11, rate=5e-4, limits=quarters),
        },
        loss=_paper.LOSS,
        lesion_share=0.0,
        sampling="dealt",
        patches=143,
        cases="all",  # with four lesions, almost every photograph has one
        optimiser="adam",
        power=0.9,
        warm_up=0.0,
        averaging=0.0,
        precision="bf16",  # 1.4 times as fast at this width on a processor that supports it
        split=_paper.SPLIT,
        held_back=1,
    )
