"""The curves of a stage: a row a step and a row an epoch, as CSV, and for TensorBoard where it is installed.

Knows:   what the rows hold.
Ignores: when they are written.
"""

import importlib.util
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from foveate.errors import TrainingError

HEADER = "step,rate,loss\n"
EPOCHS = "epoch,steps,rate,loss\n"


class Row(NamedTuple):
    """One step."""

    step: int
    """From 1."""
    rate: float
    """Learning rate."""
    loss: float
    """Equation 1, or one stream's part of it."""

    def line(self) -> str:
        """Return it as CSV."""
        return f"{self.step},{self.rate:.6g},{self.loss:.6g}\n"


class Epoch(NamedTuple):
    """The steps of one epoch, or those of it that were taken."""

    number: int
    """From 1."""
    steps: int
    """That begin in it."""
    rate: float
    """Learning rate of the last one."""
    loss: float
    """Mean of its steps."""

    def line(self) -> str:
        """Return it as CSV."""
        return f"{self.number},{self.steps},{self.rate:.6g},{self.loss:.6g}\n"


def logged(path: Path, step: int) -> list[Row]:
    """Return the log's rows up to a step; what a killed run logged after its checkpoint is taken again."""
    if not path.exists():
        return []
    lines = (line.split(",") for line in path.read_text().splitlines())
    rows = (Row(int(line[0]), float(line[1]), float(line[2])) for line in lines if line[0].isdigit())
    return [row for row in rows if row.step <= step]


def by_step(rows: Sequence[Row]) -> str:
    """Return the CSV of all steps."""
    return HEADER + "".join(row.line() for row in rows)


def by_epoch(rows: Sequence[Row], epoch: float) -> str:
    """Return the CSV of all epochs, the last one perhaps unfinished: the mean loss of each.

    Args:
        rows: one a step.
        epoch: steps of one, not always a whole number: a step belongs to the epoch that it begins in.
    """
    groups = itertools.groupby(rows, lambda row: _number(row.step, epoch))
    return EPOCHS + "".join(_mean(number, list(group)).line() for number, group in groups)


def ended(rows: Sequence[Row], epoch: float) -> Epoch | None:
    """Return the epoch that the last row ends; None if another step will belong to it.

    Args:
        rows: one a step, at least one.
        epoch: as for `by_epoch`.
    """
    step = rows[-1].step
    number = _number(step, epoch)
    if _number(step + 1, epoch) == number:
        return None
    backwards = itertools.takewhile(lambda row: _number(row.step, epoch) == number, reversed(rows))
    return _mean(number, list(backwards)[::-1])


def _number(step: int, epoch: float) -> int:
    return int((step - 1) / epoch) + 1


def _mean(number: int, rows: Sequence[Row]) -> Epoch:
    loss = sum(row.loss for row in rows) / len(rows)
    return Epoch(number=number, steps=len(rows), rate=rows[-1].rate, loss=loss)


def has_tensorboard() -> bool:
    """Say whether TensorBoard is installed."""
    return importlib.util.find_spec("tensorboard") is not None


class Board:
    """What takes the rows for TensorBoard; where it is not installed, nothing is done with them.

    Its writer keeps rows back for minutes: `flush` when a checkpoint is written, `close` at the end.

    Args:
        folder: of the event files.
        step: steps done; what a killed run wrote beyond them is hidden.

    Raises:
        TrainingError: here and in each call, if the folder cannot be written.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.folder = folder
        self.writer: Any = None
        if has_tensorboard():
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  an optional extra

            with self._writing():
                self.writer = SummaryWriter(str(folder), purge_step=step + 1)

    def tell(self, row: Row, epoch: Epoch | None = None) -> None:
        """Take a step and the epoch that it ends; the epoch stands at that step, where `step` can hide it."""
        told = {"loss": row.loss, "rate": row.rate}
        if epoch is not None:
            told |= {"epoch/loss": epoch.loss, "epoch/rate": epoch.rate, "epoch/number": float(epoch.number)}
        if self.writer is not None:
            with self._writing():
                for name, value in told.items():
                    self.writer.add_scalar(name, value, row.step)

    def flush(self) -> None:
        """Bring to the disk what was told so far."""
        if self.writer is not None:
            with self._writing():
                self.writer.flush()

    def close(self) -> None:
        """Bring everything to the disk; nothing can be told after."""
        if self.writer is not None:
            with self._writing():
                self.writer.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TrainingError(
                f"{self.folder} cannot be written ({error}); free some space and start again"
            ) from error
