"""Any task, retinal or not, in a minute: it shows that all steps work, not how good the result can be.

Run:     foveate train tiny-task --data DIR --layout TASK.toml --out RUN
Data:    any set of pictures (256 px or more) and masks with a layout, which names the lesions
Cost:    27 s of one core in float32, for 54 pictures of 256 x 256 px
Expect:  not measured yet; scores differ from task to task
Source:  Yan et al., ISBI 2019, section 4 ('extended to other segmentation tasks'); the numbers are ours
"""

from foveate.nets import NetworkPlan, StreamPlan
from foveate.training.augmentation import AugmentationLimits
from foveate.training.losses import Loss
from foveate.training.recipe import Recipe, Stage
from foveate.types import ModelContract

CONTRACT = ModelContract(
    lesions=("EX", "MA", "HE", "SE"),  # replaced by the layout's
    mean=(127.0, 127.0, 127.0),
    std=(128.0, 128.0, 128.0),
    view_side=64,
    window_side=64,
    overlap=16,  # a quarter, as in idrid
    field_diameter=362.0,  # the diagonal of 256 x 256 px
    scale_tolerance=9.0,  # a factor of ten, so that pictures are not resampled
    field="whole",
    part="whole",
)

STREAM = StreamPlan(backbone="unet", poolings=3, width=8, cap=64)


def tiny_task() -> Recipe:
    """Return the recipe; change it with --set, or copy it for another task."""
    free, quarters = AugmentationLimits(turn=180.0, zoom=0.2), AugmentationLimits()
    return Recipe(
        name="tiny-task",
        contract=CONTRACT,
        any_lesions=True,
        network=NetworkPlan(global_net=STREAM, local_net=STREAM, fusion_width=8),
        stages={
            "global": Stage(steps=100, photographs=4, windows=1, rate=3e-3, limits=free),
            "local": Stage(steps=200, photographs=8, windows=1, rate=3e-3, limits=free),
            "fusion": Stage(steps=50, photographs=2, windows=4, rate=3e-3, limits=quarters),
            "joint": Stage(steps=100, photographs=2, windows=4, rate=1e-3, limits=quarters),
        },
        loss=Loss(),
        lesion_share=0.5,  # the few steps must not be spent on empty windows
        power=0.9,
        averaging=0.9,  # averages about the last ten steps
        precision="float32",  # the same scores on every processor
    )
