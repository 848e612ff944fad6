"""Whether the machine's clock can be believed.

Knows:   how far the clock has moved since the last look, and how far it should have.
Ignores: photographs, what is deleted.
"""

from dataclasses import dataclass

JUMP_SECONDS = 600.0
"""Largest difference between the clock and the time that really went by; our choice."""

STEADY_SECONDS = 3600.0
"""Seconds for which the clock must have run without a jump; our choice: a time server mends it sooner."""


@dataclass(slots=True)
class SteadyClock:
    """A watch over the machine's clock, which may be set wrongly, or jump ahead by years.

    The clock is believed at first. After a jump it is believed again when it has run for `STEADY_SECONDS`
    without another. A suspended machine looks like a jump, too, and costs that delay.
    """

    wall: float
    """Time of the last look, in seconds since 1970."""
    monotonic: float
    """The same, by a clock that nobody can set."""
    steady_since: float
    """Monotonic time since which the clock has not jumped."""

    @classmethod
    def start(cls, wall: float, monotonic: float) -> "SteadyClock":
        """Begin to watch."""
        return cls(wall, monotonic, monotonic - STEADY_SECONDS)

    def look(self, wall: float, monotonic: float) -> float:
        """Look at both clocks; return the seconds by which the machine's has jumped, or 0."""
        jump = (wall - self.wall) - (monotonic - self.monotonic)
        self.wall, self.monotonic = wall, monotonic
        if abs(jump) <= JUMP_SECONDS:
            return 0.0
        self.steady_since = monotonic
        return jump

    @property
    def is_steady(self) -> bool:
        """Whether the clock has run long enough without a jump."""
        return self.monotonic - self.steady_since >= STEADY_SECONDS
