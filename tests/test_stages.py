"""What each stage changes and what it leaves, how it draws, and how its rate falls."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_set
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import seeds

from foveate import views
from foveate.nets import Fusion, LocalGlobalUNet, Stream
from foveate.training import stages
from foveate.training.augment import Limits
from foveate.training.loss import Loss
from foveate.training.recipe import STAGES, Stage
from foveate.training.run import Learner
from foveate.training.samples import FINE, Sheet

CONTRACT = tiny_set.CONTRACT


@pytest.fixture(scope="module")
def sheets(tmp_path_factory):
    return tiny_set.sheets(tmp_path_factory.mktemp("stages"))


def changed_by(stage, sheets, steps=3):
    """Return the names of the tensors that some steps of a stage change, and the network."""
    network = tiny_set.seeded()
    stages.set_modes(network, stage)
    before = tiny_set.digests(network)
    learner = Learner(network, tiny_set.recipe(), stage)
    for _ in range(steps):
        learner.learn(sheets, 1e-2)
    after = tiny_set.digests(network)
    return {name for name in before if before[name] != after[name]}, network


def tensors(network, *, of, statistics):
    """Return the names of one part's weights, or of its batch-norm statistics."""
    named = network.named_buffers() if statistics else network.named_parameters()
    return {name for name, _ in named if name.startswith(f"{of}.")}


# what is frozen


def test_the_fusion_stage_changes_every_weight_of_the_fusion_and_no_tensor_of_the_streams(sheets):
    changed, network = changed_by("fusion", sheets)

    assert tensors(network, of="global_net", statistics=True)
    assert changed == tensors(network, of="fusion", statistics=False)


def test_the_joint_stage_changes_the_weights_of_all_three_and_no_statistic(sheets):
    changed, network = changed_by("joint", sheets)

    parts = ("global_net", "local_net", "fusion")
    weights = set().union(*(tensors(network, of=part, statistics=False) for part in parts))
    unused = {name for name in weights if name.startswith("local_net.head.")}  # LocalNet's own maps: no loss
    assert changed == weights - unused


@pytest.mark.parametrize("stage", ["global", "local"])
def test_a_streams_own_stage_changes_that_stream_with_its_statistics_and_nothing_else(sheets, stage):
    changed, network = changed_by(stage, sheets)

    own = f"{stage}_net"
    expected = [tensors(network, of=own, statistics=statistics) for statistics in (False, True)]
    assert changed == expected[0] | expected[1]


def gradients_of_global_net(stage, sheets, loss):
    network = tiny_set.seeded()
    stages.set_modes(network, stage)
    stages.loss_of_step(network, sheets, tiny_set.recipe(loss=loss), stage, 0).backward()
    return {name: weight.grad for name, weight in network.global_net.named_parameters()}


def test_in_the_joint_stage_the_local_loss_alone_teaches_global_net(sheets):
    gradients = gradients_of_global_net("joint", sheets, Loss(lambda_global=0.0))

    reached = {name for name, gradient in gradients.items() if gradient is not None and gradient.any()}
    assert reached == {name for name in gradients if name.startswith("backbone.")}


def test_in_the_fusion_stage_nothing_teaches_global_net(sheets):
    gradients = gradients_of_global_net("fusion", sheets, Loss())

    assert all(gradient is None for gradient in gradients.values())


# what is drawn


def map_of_places(number, height, width):
    """Return a sheet whose every pixel says its row, its column and its sheet."""
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([rows, columns, np.full_like(rows, 100 * number)], axis=-1).astype(np.uint8)
    side = FINE * CONTRACT.view_side
    return Sheet(
        name=f"{number}",
        pixels=pixels,
        bits=np.zeros((height, width), np.uint8),
        fine_view=views.view(pixels, side),
        fine_truth=np.zeros((side, side, len(CONTRACT.lesions)), np.uint8),
        places={"EX": np.array([[height // 3, width // 4]], np.int32)},
    )


MAPS = [map_of_places(0, 150, 250), map_of_places(1, 210, 110)]


def transparent(seen):
    """Return a network whose features are its pictures, and which notes what is fused."""
    lesions = len(CONTRACT.lesions)
    streams = [Stream(torch.nn.Identity(), 3, lesions) for _ in range(2)]
    fusion = Fusion(3, 3, lesions, width=2)
    fusion.register_forward_pre_hook(lambda _, features: seen.append(features))
    return LocalGlobalUNet(*streams, fusion)


@pytest.mark.parametrize("stage", ["fusion", "joint"])
@settings(max_examples=20)
@given(seed=seeds)
def test_windows_and_their_sights_show_the_same_place_of_the_same_sheet_however_turned(stage, seed):
    seen = []
    still = Stage(steps=1, photographs=3, windows=2, rate=1e-2, limits=Limits())
    recipe = tiny_set.recipe(stages=dict.fromkeys(STAGES, still), seed=seed)

    stages.loss_of_step(transparent(seen), MAPS, recipe, stage, 0)

    near, far = (np.moveaxis(features.detach().numpy() * 128 + 127, 1, -1) for features in seen[0])
    assert near.shape == (6, CONTRACT.window_side, CONTRACT.window_side, 3)
    shapes = [MAPS[round(float(window[0, 0, 2]) / 100)].bits.shape for window in near]
    rim = 1 / (2 * CONTRACT.view_side)  # half a pixel of the view: beyond its centre the view is repeated
    for window, sight, shape in zip(near, far, shapes, strict=True):
        reach = np.multiply(shape, rim) + 1
        inside = ((window[..., :2] >= reach) & (window[..., :2] < shape - reach)).all(axis=-1)
        np.testing.assert_allclose(sight[inside], window[inside], atol=1.5)  # levels are rounded twice


@pytest.mark.parametrize("stage", STAGES)
def test_a_steps_loss_follows_from_seed_stage_and_step_alone(sheets, stage):
    network, recipe = tiny_set.seeded(), tiny_set.recipe()

    def loss(step, seed=0):
        return stages.loss_of_step(network, sheets, replace(recipe, seed=seed), stage, step).item()

    there = [loss(step) for step in range(3)]
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002  # the global state, which must not matter
    back = [loss(step) for step in (2, 1, 0)][::-1]

    assert there == back
    assert len({*there, loss(0, seed=1)}) == 4


def test_the_fused_stages_draw_differently_at_the_same_step(sheets):
    network, recipe = tiny_set.seeded(), tiny_set.recipe()

    losses = {stages.loss_of_step(network, sheets, recipe, name, 0).item() for name in ("fusion", "joint")}

    assert len(losses) == 2


# the rate


@given(steps=st.integers(100, 3000), stage=st.sampled_from(STAGES))
def test_the_rate_climbs_over_the_first_fiftieth_and_then_decays_to_0(steps, stage):
    recipe = tiny_set.recipe()
    peak = round(0.02 * steps) - 1

    rates = np.array([stages.rate(recipe, stage, step, steps) for step in range(steps + 1)])

    assert (np.diff(rates[: peak + 1]) > 0).all()
    assert (np.diff(rates[peak:]) < 0).all()
    assert 0 < rates[0] < rates[peak] <= recipe.stages[stage].rate
    assert rates[-1] == 0


def test_the_decay_is_a_polynomial_of_the_recipes_power():
    recipe = tiny_set.recipe(power=2.0)

    assert stages.rate(recipe, "joint", 75, 100) == pytest.approx(1e-2 * 0.25**2)
