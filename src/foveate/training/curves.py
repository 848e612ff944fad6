"""Learning curves of a stage: one record per step and one per epoch, as CSV and for TensorBoard.

Knows:   what the records hold and how they are written as text.
Ignores: when they are written, and into which folder.
"""

import importlib.util
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from foveate.errors import TrainingError
from foveate.paths import display_path

STEP_HEADER = "step,rate,loss\n"
EPOCH_HEADER = "epoch,steps,rate,loss\n"

Scores = Mapping[str, float | None]
"""Lesion -> exact average precision; None where no photograph has the lesion."""


class StepRecord(NamedTuple):
    """One step."""

    step: int
    """From 1."""
    rate: float
    """Learning rate."""
    loss: float
    """Equation 1, or one stream's part of it."""

    def line(self) -> str:
        """Return the record as a line of CSV."""
        return f"{self.step},{self.rate:.6g},{self.loss:.6g}\n"


class EpochRecord(NamedTuple):
    """The steps of one epoch, or those of them that have been taken."""

    number: int
    """From 1."""
    steps: int
    """Number of steps that begin in it."""
    rate: float
    """Learning rate of the last step."""
    loss: float
    """Mean loss of its steps."""

    def line(self) -> str:
        """Return the record as a line of CSV."""
        return f"{self.number},{self.steps},{self.rate:.6g},{self.loss:.6g}\n"


def parse_steps(text: str, last_step: int) -> list[StepRecord]:
    """Return the records of a CSV up to a step; a resumed run repeats the steps after its last checkpoint."""
    lines = (line.split(",") for line in text.splitlines())
    records = (
        StepRecord(int(line[0]), float(line[1]), float(line[2])) for line in lines if line[0].isdigit()
    )
    return [record for record in records if record.step <= last_step]


def steps_csv(records: Sequence[StepRecord]) -> str:
    """Return the CSV of all steps."""
    return STEP_HEADER + "".join(record.line() for record in records)


def epochs_csv(records: Sequence[StepRecord], epoch: float) -> str:
    """Return the CSV of all epochs with the mean loss of each; the last epoch may be incomplete.

    Args:
        records: one for each step.
        epoch: number of steps in an epoch, not always whole: a step belongs to the epoch in which it begins.
    """
    groups = itertools.groupby(records, lambda record: _epoch_number(record.step, epoch))
    return EPOCH_HEADER + "".join(_epoch_record(number, list(group)).line() for number, group in groups)


def finished_epoch(records: Sequence[StepRecord], epoch: float) -> EpochRecord | None:
    """Return the epoch that the last record completes; None if the next step still belongs to it.

    Args:
        records: one for each step, at least one.
        epoch: as for `epochs_csv`.
    """
    step = records[-1].step
    number = _epoch_number(step, epoch)
    if _epoch_number(step + 1, epoch) == number:
        return None
    backwards = itertools.takewhile(
        lambda record: _epoch_number(record.step, epoch) == number, reversed(records)
    )
    return _epoch_record(number, list(backwards)[::-1])


def _epoch_number(step: int, epoch: float) -> int:
    return int((step - 1) / epoch) + 1


def _epoch_record(number: int, records: Sequence[StepRecord]) -> EpochRecord:
    """Return the record of an epoch, from losses as the CSV states them: a continued run has no others."""
    loss = sum(float(f"{record.loss:.6g}") for record in records) / len(records)
    return EpochRecord(number=number, steps=len(records), rate=records[-1].rate, loss=loss)


class ValidationRecord(NamedTuple):
    """The scores after one step."""

    step: int
    """From 1."""
    scores: Scores


def parse_validations(text: str, last_step: int) -> list[ValidationRecord]:
    """Return the records of a CSV up to a step."""
    header, *lines = text.splitlines() or [""]
    lesions = header.split(",")[1:]
    records = []
    for line in lines:
        step, *values = line.split(",")
        if step.isdigit() and len(values) == len(lesions) and int(step) <= last_step:
            scores = {
                lesion: float(value) if value else None for lesion, value in zip(lesions, values, strict=True)
            }
            records.append(ValidationRecord(int(step), scores))
    return records


def validations_csv(records: Sequence[ValidationRecord]) -> str:
    """Return the CSV of all validations, with a column for each lesion; a missing score is an empty cell."""
    lines = [",".join(("step", *records[0].scores))]
    for record in records:
        cells = ("" if score is None else f"{score:.6g}" for score in record.scores.values())
        lines.append(",".join((str(record.step), *cells)))
    return "\n".join(lines) + "\n"


def has_tensorboard() -> bool:
    """Return whether TensorBoard is installed."""
    return importlib.util.find_spec("tensorboard") is not None


class TensorBoardLog:
    """A log for TensorBoard; if TensorBoard is not installed, it does nothing.

    Its writer buffers records for minutes: call `flush` with each checkpoint and `close` at the end.

    Args:
        folder: folder of the event files.
        step: number of steps done; TensorBoard hides what a killed run wrote for later steps.

    Raises:
        TrainingError: raised by the constructor and by each method if the folder cannot be written.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.folder = folder
        self.writer: Any = None
        if has_tensorboard():
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  an optional extra

            with self._writing():
                self.writer = SummaryWriter(str(folder), purge_step=step + 1)

    def add_step(self, record: StepRecord, epoch: EpochRecord | None = None) -> None:
        """Add a step and the epoch that it completes, which is stored at the step and hidden with it."""
        values = {"loss": record.loss, "rate": record.rate}
        if epoch is not None:
            values |= {
                "epoch/loss": epoch.loss,
                "epoch/rate": epoch.rate,
                "epoch/number": float(epoch.number),
            }
        self.add_values(values, record.step)

    def add_values(self, values: Mapping[str, float], step: int) -> None:
        """Add named values at a step."""
        if self.writer is not None:
            with self._writing():
                for name, value in values.items():
                    self.writer.add_scalar(name, value, step)

    def flush(self) -> None:
        """Write everything added so far to the disk."""
        if self.writer is not None:
            with self._writing():
                self.writer.flush()

    def close(self) -> None:
        """Write everything to the disk; nothing can be added afterwards."""
        if self.writer is not None:
            with self._writing():
                self.writer.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TrainingError(
                f"{display_path(self.folder)}: cannot be written ({error}); free some space and start again"
            ) from error
