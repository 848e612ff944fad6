"""The paper's network for soft exudates, at full width.

Run:     foveate train paper-se --data DIR --out RUN
Data:    IDRiD's training photographs with soft exudates; fold 1 of splits/idrid.json is held back
Cost:    not measured yet (the paper: 1 h, 4 h and 4 to 8 h for the stages on two GTX 1080)
Expect:  not measured yet (the paper, on the 27 test photographs: GlobalNet .720, LocalNet .653, fused .679)
Source:  Yan et al., ISBI 2019, sections 2 and 3.1; the numbers are in _paper.py, each with its section
"""

from foveate.training.recipe import Recipe
from foveate.training.recipes import _paper


def paper_se() -> Recipe:
    """Return the recipe; the poolings are those of section 2.1: GlobalNet 4, LocalNet 6."""
    return _paper.single("SE", global_poolings=4, local_poolings=6)
