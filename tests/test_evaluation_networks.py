"""Engines that run a torch network give what the network itself gives."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_set
import torch

from foveate.engines import Engine, WindowBatch
from foveate.engines.pytorch import TorchEngine
from foveate.evaluation.networks import CoarseEngine, LocalEngine
from foveate.geometry import feature_sampling

VIEW = WINDOW = 32
CANVAS = (120, 150)
CORNERS = ((0, 0), (40, 70), (88, 118))
ENGINES = (TorchEngine, CoarseEngine, LocalEngine)


@pytest.fixture(scope="module")
def network():
    return tiny_set.seeded()


@pytest.fixture(scope="module")
def inputs():
    """A view and three windows, prepared."""
    generator = np.random.default_rng(0)
    view = generator.normal(size=(1, 3, VIEW, VIEW)).astype(np.float32)
    windows = generator.normal(size=(len(CORNERS), 3, WINDOW, WINDOW)).astype(np.float32)
    return view, windows


def batch_of(windows, features):
    """Return the windows at CORNERS, each with its piece of the features."""
    samplings = [feature_sampling.window_sampling(corner, WINDOW, CANVAS, VIEW) for corner in CORNERS]
    return WindowBatch.gather(windows, features, samplings)


def close(probabilities, expected):
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_each_is_an_engine(engine, network):
    assert isinstance(engine(network=network), Engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_looks_are_probabilities_one_map_a_lesion_and_window(engine, network, inputs):
    view, windows = inputs
    runner = engine(network=network)
    probabilities = runner.run_local(batch_of(windows, runner.run_global(view).features))

    assert probabilities.shape == (len(CORNERS), len(tiny_set.CONTRACT.lesions), WINDOW, WINDOW)
    assert probabilities.dtype == np.float32
    assert 0 <= probabilities.min() < probabilities.max() <= 1


@torch.no_grad()
def test_the_fused_engine_gives_what_both_streams_and_the_fusion_give(network, inputs):
    view, windows = inputs
    features, coarse = network.global_net(torch.from_numpy(view))
    batch = batch_of(windows, features[0].numpy())
    local, _ = network.local_net(torch.from_numpy(windows))
    enlarged = np.einsum("nsg,ncgh,nth->ncst", batch.rows, batch.pieces, batch.columns)
    fused = network.fusion(local, torch.from_numpy(enlarged))

    engine = TorchEngine(network=network)
    output = engine.run_global(view)

    close(output.features, features[0].numpy())
    close(output.probabilities, coarse[0].sigmoid().numpy())
    close(engine.run_local(batch), fused.sigmoid().numpy())


@torch.no_grad()
def test_the_coarse_engine_enlarges_globalnets_probabilities_and_looks_at_no_window(network, inputs):
    view, windows = inputs
    coarse = network.global_net(torch.from_numpy(view))[1].sigmoid()[0].numpy()
    batch = batch_of(windows, coarse)

    engine = CoarseEngine(network=network)
    output = engine.run_global(view)
    probabilities = engine.run_local(batch)

    close(output.probabilities, coarse)
    close(output.features, coarse)
    close(probabilities, np.einsum("nsg,nkgh,nth->nkst", batch.rows, batch.pieces, batch.columns))
    np.testing.assert_array_equal(engine.run_local(replace(batch, windows=-windows)), probabilities)


@torch.no_grad()
def test_the_local_engine_looks_at_no_piece(network, inputs):
    view, windows = inputs
    expected = network.local_net(torch.from_numpy(windows))[1].sigmoid().numpy()

    engine = LocalEngine(network=network)
    batch = batch_of(windows, engine.run_global(view).features)
    probabilities = engine.run_local(batch)

    close(probabilities, expected)
    np.testing.assert_array_equal(engine.run_local(replace(batch, pieces=batch.pieces + 9)), probabilities)
