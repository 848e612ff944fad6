"""Agreement of two raters beyond chance.

Knows:   Cohen's kappa for answers of yes or no.
Ignores: who the raters are, and what they rate.

Source: Cohen, A coefficient of agreement for nominal scales, 1960, doi:10.1177/001316446002000104.
"""

from foveate.errors import SettingError


def cohen_kappa(both: int, first: int, second: int, neither: int) -> float | None:
    """Return Cohen's kappa, -1 to 1, of two raters who answer yes or no for the same items.

    Args:
        both: number of items for which both raters answer yes.
        first: number for which only the first answers yes.
        second: number for which only the second answers yes.
        neither: number for which neither answers yes.

    Returns:
        Kappa; None where it is undefined: there are no items, or both raters give one and the same answer
        to all of them.

    Raises:
        SettingError: a number is negative.
    """
    if min(both, first, second, neither) < 0:
        raise SettingError(
            f"the numbers of items are {both}, {first}, {second} and {neither}; give none below 0"
        )
    total = both + first + second + neither
    if not total:
        return None
    yes = (both + first) * (both + second)
    no = (second + neither) * (first + neither)
    if yes + no == total**2:
        return None
    chance = (yes + no) / total**2
    return ((both + neither) / total - chance) / (1 - chance)
