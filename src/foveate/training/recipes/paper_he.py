"""The paper's network for haemorrhages, at full width.

Run:     foveate train paper-he --data DIR --out RUN
Data:    IDRiD's training photographs with haemorrhages; fold 1 of splits/idrid.json is held back
Cost:    not measured yet (the paper: 1 h, 4 h and 4 to 8 h for the stages on two GTX 1080)
Expect:  not measured yet (the paper, on the 27 test photographs: GlobalNet .711, LocalNet .696, fused .703)
Source:  Yan et al., ISBI 2019, sections 2 and 3.1; the numbers are in _paper.py, each with its section
"""

from foveate.training.recipe import Recipe
from foveate.training.recipes import _paper


def paper_he() -> Recipe:
    """Return the recipe; the poolings are those of section 2.1: GlobalNet 6, LocalNet 6."""
    return _paper.single("HE", global_poolings=6, local_poolings=6)
