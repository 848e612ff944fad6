"""The curves of a stage: a row a step and a row an epoch, as CSV, and for TensorBoard where it is installed.

Knows:   what the rows hold.
Ignores: when they are written.
"""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

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
    groups: dict[int, list[Row]] = {}
    for row in rows:
        groups.setdefault(int((row.step - 1) / epoch) + 1, []).append(row)
    lines = (
        f"{number},{len(group)},{group[-1].rate:.6g},{sum(row.loss for row in group) / len(group):.6g}\n"
        for number, group in groups.items()
    )
    return EPOCHS + "".join(lines)


def has_tensorboard() -> bool:
    """Say whether TensorBoard is installed."""
    return importlib.util.find_spec("tensorboard") is not None


def board(folder: Path, step: int) -> Callable[[Row], None]:
    """Return what takes the rows for TensorBoard; where it is not installed, nothing is done with them.

    Args:
        folder: of the event files.
        step: steps done; what a killed run wrote beyond them is hidden.
    """
    if not has_tensorboard():
        return lambda row: None
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  an optional extra

    writer = SummaryWriter(str(folder), purge_step=step + 1)

    def tell(row: Row) -> None:
        try:
            writer.add_scalar("loss", row.loss, row.step)
            writer.add_scalar("rate", row.rate, row.step)
        except OSError as error:
            raise TrainingError(
                f"{folder} cannot be written ({error}); free some space and start again"
            ) from error

    return tell
