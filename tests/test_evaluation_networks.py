"""Engines that run a torch network give what the network itself gives."""

import numpy as np
import pytest
import tiny_set
import torch

from foveate.engines import Engine
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
def shown():
    """A view and three windows, prepared."""
    generator = np.random.default_rng(0)
    view = generator.normal(size=(1, 3, VIEW, VIEW)).astype(np.float32)
    windows = generator.normal(size=(len(CORNERS), 3, WINDOW, WINDOW)).astype(np.float32)
    return view, windows


def sighted(features):
    """Each window's piece of the features, and how it is read."""
    sights = [feature_sampling.sample_at(corner, WINDOW, CANVAS, VIEW) for corner in CORNERS]
    rows, columns = (np.stack([getattr(s, axis) for s in sights]) for axis in ("rows", "columns"))
    pieces = [
        features[:, s.corner[0] : s.corner[0] + rows.shape[2], s.corner[1] : s.corner[1] + columns.shape[2]]
        for s in sights
    ]
    return np.stack(pieces), rows, columns


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_each_is_an_engine(engine, network):
    assert isinstance(engine(network=network), Engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_looks_are_probabilities_one_map_a_lesion_and_window(engine, network, shown):
    view, windows = shown
    runner = engine(network=network)
    found = runner.look(windows, *sighted(runner.glance(view).features))

    assert found.shape == (len(CORNERS), len(tiny_set.CONTRACT.lesions), WINDOW, WINDOW)
    assert found.dtype == np.float32
    assert 0 <= found.min() < found.max() <= 1


@torch.no_grad()
def test_the_fused_engine_gives_what_both_streams_and_the_fusion_give(network, shown):
    view, windows = shown
    features, coarse = network.global_net(torch.from_numpy(view))
    pieces, rows, columns = sighted(features[0].numpy())
    local, _ = network.local_net(torch.from_numpy(windows))
    enlarged = np.einsum("nsg,ncgh,nth->ncst", rows, pieces, columns)
    fused = network.fusion(local, torch.from_numpy(enlarged))

    engine = TorchEngine(network=network)
    glance = engine.glance(view)

    close(glance.features, features[0].numpy())
    close(glance.probabilities, coarse[0].sigmoid().numpy())
    close(engine.look(windows, pieces, rows, columns), fused.sigmoid().numpy())


@torch.no_grad()
def test_the_coarse_engine_enlarges_globalnets_probabilities_and_looks_at_no_window(network, shown):
    view, windows = shown
    coarse = network.global_net(torch.from_numpy(view))[1].sigmoid()[0].numpy()
    pieces, rows, columns = sighted(coarse)

    engine = CoarseEngine(network=network)
    glance = engine.glance(view)
    found = engine.look(windows, pieces, rows, columns)

    close(glance.probabilities, coarse)
    close(glance.features, coarse)
    close(found, np.einsum("nsg,nkgh,nth->nkst", rows, pieces, columns))
    np.testing.assert_array_equal(engine.look(-windows, pieces, rows, columns), found)


@torch.no_grad()
def test_the_local_engine_looks_at_no_piece(network, shown):
    view, windows = shown
    wanted = network.local_net(torch.from_numpy(windows))[1].sigmoid().numpy()

    engine = LocalEngine(network=network)
    pieces, rows, columns = sighted(engine.glance(view).features)
    found = engine.look(windows, pieces, rows, columns)

    close(found, wanted)
    np.testing.assert_array_equal(engine.look(windows, pieces + 9, rows, columns), found)
