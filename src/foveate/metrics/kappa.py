"""Agreement of two raters beyond chance.

Knows:   Cohen's kappa of yes and no.
Ignores: who rates, and what.

Source: Cohen, A coefficient of agreement for nominal scales, 1960, doi:10.1177/001316446002000104.
"""


def cohen_kappa(both: int, first: int, second: int, neither: int) -> float | None:
    """Return Cohen's kappa of two raters who each say yes or no of the same things, -1 to 1.

    Args:
        both: number of things of which both say yes.
        first: of which the first alone does.
        second: of which the second alone does.
        neither: of which neither does.

    Returns:
        Kappa; None where it is undefined: there is nothing, or both always say the same one word.
    """
    total = both + first + second + neither
    if not total:
        return None
    yes = (both + first) * (both + second)
    no = (second + neither) * (first + neither)
    if yes + no == total**2:
        return None
    chance = (yes + no) / total**2
    return ((both + neither) / total - chance) / (1 - chance)
