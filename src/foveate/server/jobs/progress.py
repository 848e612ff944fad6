"""How far each photograph under way is.

Knows:   the share of each photograph that is predicted.
Ignores: who predicts it, and who asks.
"""


class ProgressRegister:
    """Shares of the photographs under way; any thread may read and write."""

    def __init__(self) -> None:
        self._shares: dict[str, float] = {}

    def set(self, identifier: str, share: float) -> None:
        """Record the share of a photograph that is done, 0 to 1."""
        self._shares[identifier] = share

    def clear(self, identifier: str) -> None:
        """Forget a photograph."""
        self._shares.pop(identifier, None)

    def share(self, identifier: str) -> float:
        """Return the share of a photograph that is done; 0 if it is not under way."""
        return self._shares.get(identifier, 0.0)
