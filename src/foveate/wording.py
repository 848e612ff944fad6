"""How a number of things is written in a message.

Knows:   when an English noun is in the plural.
Ignores: what is counted.
"""


def quantity(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun, such as '1 photograph' or '2,816 photographs'.

    Args:
        number: how many there are, 0 or more.
        noun: the noun in the singular.
        plural: its plural where that is not the singular and 's', such as 'copies'.
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
