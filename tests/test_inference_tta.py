"""Windows turn together with the features that they read, and their outputs are turned back and averaged."""

import weakref
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_package import Red

from foveate.engines import WindowBatch
from foveate.geometry import dihedral
from foveate.inference.tta import run_local, transform_windows

sides = st.integers(1, 12)


def sampled(batch):
    """Return the features of a batch at the pixels of its windows, N C S T."""
    return batch.rows[:, None] @ batch.pieces @ batch.columns[:, None].swapaxes(-1, -2)


def random_batch(window=(6, 9), piece=(4, 5), count=2, seed=0):
    """Return windows of one channel more than their features, with random weights."""
    random = np.random.default_rng(seed)

    def noise(*shape):
        return random.random(shape, dtype=np.float32)

    return WindowBatch(
        windows=noise(count, 3, *window),
        pieces=noise(count, 2, *piece),
        rows=noise(count, window[0], piece[0]),
        columns=noise(count, window[1], piece[1]),
    )


batches = st.builds(
    random_batch,
    window=st.tuples(sides, sides),
    piece=st.tuples(sides, sides),
    count=st.integers(1, 4),
    seed=st.integers(0, 99),
)


class Engine(Red):
    """A fake engine: a function of the windows, with the sampled features as further channels."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def run_local(self, batch):
        stack = np.concatenate([batch.windows, sampled(batch)], axis=1)
        return np.ascontiguousarray(self.function(stack), np.float32)


def right_neighbour(stack):
    """Return the value of each pixel's right neighbour, and 0 in the last column."""
    shifted = np.zeros_like(stack)
    shifted[..., :-1] = stack[..., 1:]
    return shifted


@given(batches, st.sampled_from(dihedral.DIHEDRAL))
def test_windows_and_features_that_are_turned_and_turned_back_are_where_they_were(batch, symmetry):
    turned = transform_windows(batch, symmetry)

    upright = dihedral.invert(Engine(lambda stack: stack).run_local(turned), symmetry)

    np.testing.assert_array_equal(upright[:, :3], batch.windows)
    np.testing.assert_allclose(upright[:, 3:], sampled(batch), rtol=1e-5)


@given(batches, st.sampled_from(dihedral.DIHEDRAL))
def test_a_network_that_reads_a_piece_before_sampling_it_sees_it_turned_like_the_window(batch, symmetry):
    turned = transform_windows(batch, symmetry)

    np.testing.assert_array_equal(turned.windows, dihedral.apply(batch.windows, symmetry))
    np.testing.assert_array_equal(turned.pieces, dihedral.apply(batch.pieces, symmetry))


@given(batches, st.sampled_from([1, 4, 8]))
def test_an_engine_that_turns_with_its_windows_gives_the_same_in_any_number_of_views(batch, views):
    engine = Engine(lambda stack: stack**2 / 2)

    np.testing.assert_allclose(run_local(engine, batch, views), engine.run_local(batch), rtol=1e-5)


@given(batches)
def test_an_engine_that_does_not_is_averaged_over_the_four_rotations(batch):
    stack = np.concatenate([batch.windows, sampled(batch)], axis=1)
    expected = np.mean(
        [np.rot90(right_neighbour(np.rot90(stack, turn, (2, 3))), -turn, (2, 3)) for turn in range(4)],
        axis=0,
    )

    output = run_local(Engine(right_neighbour), batch, 4)

    assert output.dtype == np.float32
    np.testing.assert_allclose(output, expected, rtol=1e-5)


def test_eight_views_are_the_rotations_of_the_windows_and_of_their_mirror_images():
    batch = random_batch()
    mirrored = replace(batch, windows=batch.windows[..., ::-1].copy(), columns=batch.columns[:, ::-1].copy())
    engine = Engine(right_neighbour)

    expected = (run_local(engine, batch, 4) + run_local(engine, mirrored, 4)[..., ::-1]) / 2

    np.testing.assert_allclose(run_local(engine, batch, 8), expected, rtol=1e-5)


def test_one_view_is_the_engines_own_array_from_the_batch_as_it_is():
    batch, seen, made = random_batch(), [], []

    class Recorder(Engine):
        def run_local(self, batch):
            seen.append(batch)
            made.append(super().run_local(batch))
            return made[-1]

    output = run_local(Recorder(right_neighbour), batch, 1)

    assert len(seen) == 1
    assert seen[0] is batch
    assert output is made[0]


@pytest.mark.parametrize("views", [4, 8])
def test_the_memory_is_that_of_one_output_however_many_views_are_averaged(views):
    outputs, alive = [], []

    class Recorder(Engine):
        def run_local(self, batch):
            alive.append(sum(output() is not None for output in outputs))
            output = super().run_local(batch)
            outputs.append(weakref.ref(output))
            return output

    run_local(Recorder(lambda stack: stack + 1), random_batch(), views)

    assert alive == [0] * views


def test_what_an_engine_keeps_of_its_output_is_not_written_to():
    batch, kept = random_batch(), []

    class Keeper(Engine):
        def run_local(self, batch):
            kept.append((super().run_local(batch), super().run_local(batch)))
            return kept[-1][0]

    run_local(Keeper(right_neighbour), batch, 4)

    for output, before in kept:
        np.testing.assert_array_equal(output, before)
