"""The progress of the photographs that are being predicted.

Knows:   the share of each prediction that is done.
Ignores: who predicts, and who reads the progress.
"""


class ProgressRegister:
    """The share of each prediction that is done, 0 to 1; any thread may read and write."""

    def __init__(self) -> None:
        self._shares: dict[str, float] = {}

    def set(self, identifier: str, share: float) -> None:
        """Record the share of a photograph's prediction that is done, 0 to 1."""
        self._shares[identifier] = share

    def clear(self, identifier: str) -> None:
        """Remove a photograph."""
        self._shares.pop(identifier, None)

    def share(self, identifier: str) -> float:
        """Return the share of a photograph's prediction that is done, 0 to 1; 0 if there is none."""
        return self._shares.get(identifier, 0.0)
