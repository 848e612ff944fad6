"""How good a map is: arrays in, numbers out.

Knows:   counts of stored levels, precision and recall, Dice, intervals by resampling photographs.
Ignores: files, networks, which photographs were looked at, and what a good score is.

Every figure is worked out from `Counts`: how many lesion and other pixels a map shows at each stored level.
They are exact, take some megabyte whatever the number of pixels, and add up: that pools photographs.
"""

from foveate.scores.counts import Counts as Counts
from foveate.scores.counts import histogram as histogram
from foveate.scores.counts import pool as pool
from foveate.scores.curves import Curve as Curve
from foveate.scores.curves import average_precision as average_precision
from foveate.scores.curves import best_dice_level as best_dice_level
from foveate.scores.curves import dice as dice
from foveate.scores.curves import precision_recall as precision_recall
from foveate.scores.resampling import interval as interval
