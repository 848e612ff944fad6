"""The curves have a record a step and one an epoch; a continued run has those of an uninterrupted one."""

import importlib.util
import sys
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

from foveate.errors import TrainingError
from foveate.training import curves
from foveate.training.curves import EpochRecord, StepRecord

RECORDS = [StepRecord(step, 0.1 / step, float(step)) for step in range(1, 11)]


def test_records_are_read_again_up_to_the_checkpoint():
    records = curves.parse_steps(curves.steps_csv(RECORDS) + "half a ro", 7)

    assert [record.step for record in records] == list(range(1, 8))
    assert curves.steps_csv(records) == curves.steps_csv(RECORDS[:7])
    assert curves.parse_steps("", 7) == []


def test_an_epoch_is_the_mean_of_its_steps():
    assert curves.epochs_csv(RECORDS, 4.0).splitlines() == [
        "epoch,steps,rate,loss",
        "1,4,0.025,2.5",
        "2,4,0.0125,6.5",
        "3,2,0.01,9.5",
    ]


@given(st.floats(0.5, 20))
def test_every_step_is_in_one_epoch(epoch):
    lines = curves.epochs_csv(RECORDS, epoch).splitlines()[1:]

    assert sum(int(line.split(",")[1]) for line in lines) == len(RECORDS)


@given(st.floats(0.5, 20))
def test_an_epoch_is_finished_with_its_last_step_and_is_then_the_line_of_the_csv(epoch):
    epochs = [curves.finished_epoch(RECORDS[:n], epoch) for n in range(1, len(RECORDS) + 1)]
    lines = [record.line().strip() for record in epochs if record is not None]

    table = curves.epochs_csv(RECORDS, epoch).splitlines()[1:]
    assert lines == (table if epochs[-1] is not None else table[:-1])


class Writer:
    """A stand-in for TensorBoard's writer."""

    calls = []  # noqa: RUF012  one test reads it

    def __init__(self, folder, purge_step):
        self.calls.append((folder, purge_step))

    def add_scalar(self, name, value, step):
        if value < 0:
            raise OSError(28, "No space left on device")
        self.calls.append((name, value, step))

    def flush(self):
        self.calls.append("flushed")

    def close(self):
        self.calls.append("closed")


@given(st.lists(st.floats(0, 10), min_size=1, max_size=30))
def test_a_continued_run_has_the_epochs_of_one_that_was_not(losses):
    records = [StepRecord(step, 0.1 / step, loss) for step, loss in enumerate(losses, start=1)]
    continued = curves.parse_steps(curves.steps_csv(records), len(records))

    assert curves.epochs_csv(continued, 7.0) == curves.epochs_csv(records, 7.0)


def test_tensorboard_gets_each_step_and_hides_those_after_the_checkpoint(tmp_path, monkeypatch):
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(curves, "has_tensorboard", lambda: True)

    log = curves.TensorBoardLog(tmp_path, 4)
    log.add_step(StepRecord(5, 0.25, 1.5), EpochRecord(number=2, steps=3, rate=0.25, loss=2.0))
    log.flush()
    log.close()

    step = [(str(tmp_path), 5), ("loss", 1.5, 5), ("rate", 0.25, 5)]
    epoch = [("epoch/loss", 2.0, 5), ("epoch/rate", 0.25, 5), ("epoch/number", 2.0, 5)]
    assert Writer.calls == [*step, *epoch, "flushed", "closed"]
    with pytest.raises(TrainingError, match="cannot be written"):
        log.add_step(StepRecord(6, 0.25, -1.0))


def test_without_tensorboard_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(curves, "has_tensorboard", lambda: False)

    log = curves.TensorBoardLog(tmp_path / "board", 0)
    log.add_step(RECORDS[0])
    log.flush()
    log.close()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed")
@pytest.mark.filterwarnings("ignore")  # of its own dependencies
def test_tensorboards_own_writer_takes_the_records(tmp_path):
    log = curves.TensorBoardLog(tmp_path, 0)
    for record in RECORDS:
        log.add_step(record)
    log.close()

    assert next(path.name for path in tmp_path.iterdir()).startswith("events")
