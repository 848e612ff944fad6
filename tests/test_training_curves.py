"""The curves hold a row a step and a row an epoch, and a killed run's are those of one that was not."""

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

ROWS = [StepRecord(step, 0.1 / step, float(step)) for step in range(1, 11)]


def test_what_is_written_is_read_again_up_to_the_checkpoint(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(curves.steps_csv(ROWS) + "half a ro")

    found = curves.parse_steps(path, 7)

    assert [row.step for row in found] == list(range(1, 8))
    assert curves.steps_csv(found) == curves.steps_csv(ROWS[:7])
    assert curves.parse_steps(tmp_path / "none.csv", 7) == []


def test_an_epoch_is_the_mean_of_its_steps():
    assert curves.epochs_csv(ROWS, 4.0).splitlines() == [
        "epoch,steps,rate,loss",
        "1,4,0.025,2.5",
        "2,4,0.0125,6.5",
        "3,2,0.01,9.5",
    ]


@given(st.floats(0.5, 20))
def test_every_step_is_in_one_epoch(epoch):
    lines = curves.epochs_csv(ROWS, epoch).splitlines()[1:]

    assert sum(int(line.split(",")[1]) for line in lines) == len(ROWS)


@given(st.floats(0.5, 20))
def test_an_epoch_ends_with_its_last_step_and_is_then_as_in_the_table(epoch):
    found = [curves.finished_epoch(ROWS[:n], epoch) for n in range(1, len(ROWS) + 1)]
    lines = [one.line().strip() for one in found if one is not None]

    table = curves.epochs_csv(ROWS, epoch).splitlines()[1:]
    assert lines == (table if found[-1] is not None else table[:-1])


class Board:
    """What stands in for TensorBoard's writer."""

    told = []  # noqa: RUF012  one test reads it

    def __init__(self, folder, purge_step):
        self.told.append((folder, purge_step))

    def add_scalar(self, name, value, step):
        if value < 0:
            raise OSError(28, "No space left on device")
        self.told.append((name, value, step))

    def flush(self):
        self.told.append("flushed")

    def close(self):
        self.told.append("closed")


def test_tensorboard_hears_of_each_step_and_forgets_those_after_the_checkpoint(tmp_path, monkeypatch):
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Board
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(curves, "has_tensorboard", lambda: True)

    board = curves.TensorBoardLog(tmp_path, 4)
    board.add_step(StepRecord(5, 0.25, 1.5), EpochRecord(number=2, steps=3, rate=0.25, loss=2.0))
    board.flush()
    board.close()

    step = [(str(tmp_path), 5), ("loss", 1.5, 5), ("rate", 0.25, 5)]
    epoch = [("epoch/loss", 2.0, 5), ("epoch/rate", 0.25, 5), ("epoch/number", 2.0, 5)]
    assert Board.told == [*step, *epoch, "flushed", "closed"]
    with pytest.raises(TrainingError, match="cannot be written"):
        board.add_step(StepRecord(6, 0.25, -1.0))


def test_without_tensorboard_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(curves, "has_tensorboard", lambda: False)

    board = curves.TensorBoardLog(tmp_path / "board", 0)
    board.add_step(ROWS[0])
    board.flush()
    board.close()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed")
@pytest.mark.filterwarnings("ignore")  # of its own dependencies
def test_tensorboards_own_writer_takes_the_rows(tmp_path):
    board = curves.TensorBoardLog(tmp_path, 0)
    for row in ROWS:
        board.add_step(row)
    board.close()

    assert next(path.name for path in tmp_path.iterdir()).startswith("events")
