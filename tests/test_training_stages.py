"""Each stage changes its own weights only; samples follow from seed, stage and step; the rate falls."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_set
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import seeds

from foveate.geometry import canvas
from foveate.nets import Fusion, LocalGlobalUNet, Stream
from foveate.training import sampler, stages
from foveate.training.augmentation import AugmentationLimits
from foveate.training.cache import VIEW_OVERSAMPLING
from foveate.training.distributed import LOCAL
from foveate.training.losses import Loss, weighted_cross_entropy
from foveate.training.recipe import STAGES, Stage
from foveate.training.stages import StepLoss
from foveate.training.trainer import StageTrainer

CONTRACT = tiny_set.CONTRACT


@pytest.fixture(scope="module")
def cached_cases(tmp_path_factory):
    return tiny_set.cached_cases(tmp_path_factory.mktemp("stages"))


def items_of(cached_cases, recipe, stage, step=0):
    """Return the samples of a step."""
    return sampler.StepDataset(cached_cases, recipe, stage, LOCAL)[step]


def loss_of_step(network, cached_cases, recipe, stage, step=0):
    """Return the loss of a step in a single part."""
    batch = stages.make_batch(items_of(cached_cases, recipe, stage, step), recipe.contract)
    return StepLoss(network, recipe, stage)(batch)


def changed_by(stage, cached_cases, steps=3):
    """Return the names of the tensors that some steps of a stage change, and the network."""
    network = tiny_set.seeded()
    stages.set_modes(network, stage)
    before = tiny_set.digests(network)
    stage_trainer = StageTrainer(network, tiny_set.recipe(), stage)
    for step in range(steps):
        stage_trainer.train_step(items_of(cached_cases, tiny_set.recipe(), stage, step), 1e-2)
    after = tiny_set.digests(network)
    return {name for name in before if before[name] != after[name]}, network


def tensors(network, *, of, statistics):
    """Return the names of one part's weights, or of its batch-norm statistics."""
    named = network.named_buffers() if statistics else network.named_parameters()
    return {name for name, _ in named if name.startswith(f"{of}.")}


# what is frozen


def test_the_fusion_stage_changes_every_weight_of_the_fusion_and_no_tensor_of_the_streams(cached_cases):
    changed, network = changed_by("fusion", cached_cases)

    assert tensors(network, of="global_net", statistics=True)
    assert changed == tensors(network, of="fusion", statistics=False)


def test_the_joint_stage_changes_the_weights_of_all_three_and_no_statistic(cached_cases):
    changed, network = changed_by("joint", cached_cases)

    parts = ("global_net", "local_net", "fusion")
    weights = set().union(*(tensors(network, of=part, statistics=False) for part in parts))
    unused = {name for name in weights if name.startswith("local_net.head.")}  # LocalNet's own maps: no loss
    assert changed == weights - unused


@pytest.mark.parametrize("stage", ["fusion", "joint"])
def test_residual_fusion_trains_localnets_head_in_the_joint_stage_only(cached_cases, stage):
    network = tiny_set.seeded(tiny_set.correcting)
    stages.set_modes(network, stage)
    before = tiny_set.digests(network)
    stage_trainer = StageTrainer(network, tiny_set.recipe(), stage)
    for step in range(3):
        stage_trainer.train_step(items_of(cached_cases, tiny_set.recipe(), stage, step), 1e-2)
    after = tiny_set.digests(network)

    changed = {name for name in before if before[name] != after[name]}
    assert ({"local_net.head.weight", "local_net.head.bias"} <= changed) == (stage == "joint")
    assert tensors(network, of="fusion", statistics=False) <= changed


@pytest.mark.parametrize("stage", ["global", "local"])
def test_a_streams_own_stage_changes_that_stream_with_its_statistics_and_nothing_else(cached_cases, stage):
    changed, network = changed_by(stage, cached_cases)

    own = f"{stage}_net"
    expected = [tensors(network, of=own, statistics=statistics) for statistics in (False, True)]
    assert changed == expected[0] | expected[1]


def gradients_of_global_net(stage, cached_cases, loss):
    network = tiny_set.seeded()
    stages.set_modes(network, stage)
    loss_of_step(network, cached_cases, tiny_set.recipe(loss=loss), stage, 0).backward()
    return {name: weight.grad for name, weight in network.global_net.named_parameters()}


def test_in_the_joint_stage_the_local_loss_alone_trains_global_net(cached_cases):
    gradients = gradients_of_global_net("joint", cached_cases, Loss(lambda_global=0.0))

    reached = {name for name, gradient in gradients.items() if gradient is not None and gradient.any()}
    assert reached == {name for name in gradients if name.startswith("backbone.")}


def test_in_the_fusion_stage_nothing_trains_global_net(cached_cases):
    gradients = gradients_of_global_net("fusion", cached_cases, Loss())

    assert all(gradient is None for gradient in gradients.values())


def test_the_fused_stages_loss_is_equation_1(cached_cases):
    """lambda 1 L_global + lambda 2 L_local, each equation 2; lambda 3's term is the optimiser's (below)."""
    network = tiny_set.seeded()
    loss = Loss(dice=0.0, cross_entropy=1.0, lambda_global=0.3, lambda_local=0.7)
    recipe = tiny_set.recipe(loss=loss)
    batch = stages.make_batch(items_of(cached_cases, recipe, "joint"), recipe.contract)
    coarse, fine = stages.StepLoss(network, recipe, "joint").run_network(batch)

    each = [
        weighted_cross_entropy(maps.logits.double(), maps.truth.double(), loss.gamma)
        for maps in (coarse, fine)
    ]

    assert coarse.logits.shape[0] == 4  # windows
    assert fine.logits.shape[0] == 2  # views
    expected = 0.7 * each[0] + 0.3 * each[1]
    assert loss_of_step(network, cached_cases, recipe, "joint").item() == pytest.approx(
        expected.item(), rel=1e-6
    )


def test_adam_takes_lambda_3_as_the_gradient_of_half_the_squared_norm(cached_cases):
    recipe = tiny_set.recipe(
        optimiser="adam", precision="float32", loss=Loss(lambda_weights=0.1), averaging=0.0
    )
    network, reference = tiny_set.seeded(), tiny_set.seeded()
    for model in (network, reference):
        stages.set_modes(model, "fusion")
    stage_trainer = StageTrainer(network, recipe, "fusion")
    optimiser = torch.optim.Adam(reference.fusion.parameters(), lr=1e-2)
    for step in range(3):
        stage_trainer.train_step(items_of(cached_cases, recipe, "fusion", step), 1e-2)
        optimiser.zero_grad()
        norm = sum((weight**2).sum() for weight in reference.fusion.parameters()) / 2
        (loss_of_step(reference, cached_cases, recipe, "fusion", step) + 0.1 * norm).backward()
        optimiser.step()

    for weight, expected in zip(network.fusion.parameters(), reference.fusion.parameters(), strict=True):
        torch.testing.assert_close(weight, expected, rtol=1e-4, atol=1e-6)


# parts


@pytest.mark.parametrize("stage", STAGES)
def test_a_step_in_parts_has_the_loss_and_the_gradient_of_a_step_in_one(cached_cases, stage):
    """Batch-norm statistics are frozen in this test: otherwise each part has its own."""
    four = {name: replace(numbers, photographs=4) for name, numbers in tiny_set.recipe().stages.items()}
    loss = Loss(focal_tversky=0.5)
    results = []
    for parts in (1, 3):
        divided = {name: replace(numbers, accumulate=parts) for name, numbers in four.items()}
        recipe = tiny_set.recipe(stages=divided, precision="float32", loss=loss)
        network = tiny_set.seeded()
        stages.set_modes(network, stage)
        network.eval()
        stage_trainer = StageTrainer(network, recipe, stage)
        value = stage_trainer.backward(items_of(cached_cases, recipe, stage))
        grads = [weight.grad for weight in stage_trainer.part.parameters() if weight.grad is not None]
        results.append((value, torch.cat([grad.flatten() for grad in grads])))

    (whole, gradient), (parts_sum, added) = results
    assert parts_sum == pytest.approx(whole, rel=1e-5)
    torch.testing.assert_close(added, gradient, rtol=1e-4, atol=1e-5)
    assert gradient.abs().max() > 0.01


def test_the_pass_that_sums_overlaps_updates_no_statistic(cached_cases):
    recipe = tiny_set.recipe()
    network = tiny_set.seeded()
    stages.set_modes(network, "global")
    before = tiny_set.digests(network)
    step = StepLoss(network, recipe, "global")

    sums = step.overlaps(stages.make_batch(items_of(cached_cases, recipe, "global"), recipe.contract))

    assert sums.shape == (1, 3, 4)
    assert tiny_set.digests(network) == before
    step(stages.make_batch(items_of(cached_cases, recipe, "global"), recipe.contract))
    assert tiny_set.digests(network) != before


@pytest.mark.parametrize(("precision", "kind"), [("bf16", torch.bfloat16), ("float32", torch.float32)])
def test_networks_compute_in_the_recipes_precision_and_weights_stay_in_float32(cached_cases, precision, kind):
    recipe, dtypes = tiny_set.recipe(precision=precision), []
    network = tiny_set.seeded()
    stages.set_modes(network, "local")
    network.local_net.head.register_forward_hook(lambda _, __, logits: dtypes.append(logits.dtype))

    StageTrainer(network, recipe, "local").train_step(items_of(cached_cases, recipe, "local"), 1e-2)

    assert dtypes == [kind]
    assert {weight.dtype for weight in network.parameters()} == {torch.float32}


@pytest.mark.parametrize("channels_last", [True, False])
def test_pictures_have_the_machines_memory_format(cached_cases, channels_last):
    machine = replace(LOCAL, channels_last=channels_last)
    batch = stages.make_batch(items_of(cached_cases, tiny_set.recipe(), "local"), CONTRACT, machine)

    pictures, _ = batch.windows
    assert pictures.is_contiguous(memory_format=torch.channels_last) == channels_last


# samples


def position_map(number, height, width):
    """Return a case whose pixels hold their row, their column and the number of the case."""
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([rows, columns, np.full_like(rows, 100 * number)], axis=-1).astype(np.uint8)
    side = VIEW_OVERSAMPLING * CONTRACT.view_side
    return tiny_set.CaseInMemory(
        name=f"{number}",
        shape=(height, width),
        pixels=pixels,
        bits=np.zeros((height, width), np.uint8),
        fine_view=canvas.global_view(pixels, side),
        fine_truth=np.zeros((side, side, len(CONTRACT.lesions)), np.uint8),
        lesion_pixels={"EX": np.array([[height // 3, width // 4]], np.int32)},
    )


MAPS = [position_map(0, 150, 250), position_map(1, 210, 110)]


def transparent(fused):
    """Return a network whose features are its pictures, and which notes what is fused."""
    lesions = len(CONTRACT.lesions)
    streams = [Stream(torch.nn.Identity(), 3, lesions) for _ in range(2)]
    fusion = Fusion(3, 3, lesions, width=2)
    fusion.register_forward_pre_hook(lambda _, features: fused.append(features))
    return LocalGlobalUNet(*streams, fusion)


@pytest.mark.parametrize("stage", ["fusion", "joint"])
@settings(max_examples=20)
@given(seed=seeds)
def test_windows_and_their_pieces_show_the_same_part_of_the_same_photograph_however_turned(stage, seed):
    fused = []
    still = Stage(steps=1, photographs=3, windows=2, rate=1e-2, limits=AugmentationLimits())
    recipe = tiny_set.recipe(stages=dict.fromkeys(STAGES, still), seed=seed)

    loss_of_step(transparent(fused), MAPS, recipe, stage, 0)

    near, far = (np.moveaxis(features.detach().numpy() * 128 + 127, 1, -1) for features in fused[0])
    assert near.shape == (6, CONTRACT.window_side, CONTRACT.window_side, 3)
    shapes = [MAPS[round(float(window[0, 0, 2]) / 100)].bits.shape for window in near]
    rim = 1 / (2 * CONTRACT.view_side)  # half a pixel of the view: beyond its centre the view is repeated
    for window, piece, shape in zip(near, far, shapes, strict=True):
        reach = np.multiply(shape, rim) + 1
        inside = ((window[..., :2] >= reach) & (window[..., :2] < shape - reach)).all(axis=-1)
        np.testing.assert_allclose(piece[inside], window[inside], atol=1.5)  # levels are rounded twice


@pytest.mark.parametrize("stage", STAGES)
def test_a_steps_loss_follows_from_seed_stage_and_step_alone(cached_cases, stage):
    network, recipe = tiny_set.seeded(), tiny_set.recipe()

    def loss(step, seed=0):
        return loss_of_step(network, cached_cases, replace(recipe, seed=seed), stage, step).item()

    forwards = [loss(step) for step in range(3)]
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002  # the global state, which must not matter
    backwards = [loss(step) for step in (2, 1, 0)][::-1]

    assert forwards == backwards
    assert len({*forwards, loss(0, seed=1)}) == 4


def test_the_fused_stages_have_different_samples_at_the_same_step(cached_cases):
    network, recipe = tiny_set.seeded(), tiny_set.recipe()

    losses = {loss_of_step(network, cached_cases, recipe, name, 0).item() for name in ("fusion", "joint")}

    assert len(losses) == 2


# the rate


@given(steps=st.integers(100, 3000), stage=st.sampled_from(STAGES))
def test_the_rate_climbs_over_the_first_fiftieth_and_then_decays_to_0(steps, stage):
    recipe = tiny_set.recipe()
    peak = round(0.02 * steps) - 1

    rates = np.array([stages.learning_rate(recipe, stage, step, steps) for step in range(steps + 1)])

    assert (np.diff(rates[: peak + 1]) > 0).all()
    assert (np.diff(rates[peak:]) < 0).all()
    assert 0 < rates[0] < rates[peak] <= recipe.stages[stage].rate
    assert rates[-1] == 0


def test_without_a_climb_the_rate_is_the_papers_polynomial_decay_from_the_first_step():
    recipe = tiny_set.recipe(warm_up=0.0)

    rates = [stages.learning_rate(recipe, "joint", step, 10) for step in range(10)]

    assert rates == pytest.approx([1e-2 * (1 - step / 10) ** 0.9 for step in range(10)])


def test_the_decay_is_a_polynomial_of_the_recipes_power():
    recipe = tiny_set.recipe(power=2.0)

    assert stages.learning_rate(recipe, "joint", 75, 100) == pytest.approx(1e-2 * 0.25**2)
