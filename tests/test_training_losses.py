"""The loss is the paper's equation 2, counted in each picture and for each lesion, with Dice beside it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import laws, seeds

from foveate.errors import SettingError
from foveate.training.losses import (
    BatchTotals,
    Loss,
    dice_loss,
    focal_tversky_loss,
    overlap_sums,
    weighted_cross_entropy,
)


def random_maps(seed, *, hard, shape=(2, 3, 4, 5)):
    """Return logits and truth; one picture's lesion is absent."""
    generator = np.random.default_rng(seed)
    truth = generator.random(shape)
    truth = (truth > 0.6).astype(float) if hard else truth * (truth > 0.5)
    truth[0, 0] = 0
    logits = generator.normal(0, 3, shape)
    return torch.from_numpy(logits), torch.from_numpy(truth)


def equation_2(logits, truth, gamma):
    """Yan et al. 2019, equation 2, pixel by pixel for one picture and lesion; gamma in pixels."""
    positive, negative = sum(truth), sum(1 - y for y in truth)
    total = 0.0
    for z, y in zip(logits, truth, strict=True):
        p = 1 / (1 + math.exp(-z))
        total -= negative / (positive + gamma) * y * math.log(p)
        total -= (1 - y) * math.log(1 - p)
    return total


@laws
@given(seeds, st.booleans(), st.floats(0.01, 2))
def test_the_cross_entropy_is_equation_2_over_the_pixels(seed, hard, gamma):
    logits, truth = random_maps(seed, hard=hard)
    pixels = truth.shape[2] * truth.shape[3]

    each = [
        equation_2(logits[n, k].flatten().tolist(), truth[n, k].flatten().tolist(), gamma * pixels) / pixels
        for n in range(2)
        for k in range(3)
    ]

    result = weighted_cross_entropy(logits, truth, gamma)
    assert result.item() == pytest.approx(np.mean(each), rel=1e-9)


@laws
@given(seeds, st.floats(0.01, 2))
def test_the_texts_weighting_is_the_negatives_over_gamma_times_the_positives(seed, gamma):
    logits, truth = random_maps(seed, hard=True)
    each = []
    for n in range(2):
        for k in range(3):
            z, y = logits[n, k].flatten().tolist(), truth[n, k].flatten().tolist()
            weight = y.count(0.0) / (gamma * y.count(1.0)) if 1.0 in y else 0.0
            p = [1 / (1 + math.exp(-logit)) for logit in z]
            sums = [-weight * math.log(a) if true else -math.log(1 - a) for a, true in zip(p, y, strict=True)]
            each.append(sum(sums) / len(y))

    result = weighted_cross_entropy(logits, truth, gamma, "text")
    assert result.item() == pytest.approx(np.mean(each), rel=1e-9)


def test_lesion_pixels_are_counted_in_each_picture_and_lesion_not_over_the_batch():
    """A pixel of a small lesion weighs more than one of a large lesion, whatever else is in the batch."""
    truth = torch.zeros(2, 1, 8, 8)
    truth[0, 0, 0, 0] = 1
    truth[1, 0, :4] = 1
    logits = torch.zeros(2, 1, 8, 8, requires_grad=True)

    weighted_cross_entropy(logits, truth, 1 / 64).backward()

    pull = -logits.grad * 2 * 2 * 64  # sigmoid(0) is 1/2, two pictures of 64 px: the weight itself
    assert pull[0, 0, 0, 0].item() == pytest.approx(63 / 2)
    assert pull[1, 0, 0, 0].item() == pytest.approx(32 / 33)
    first = weighted_cross_entropy(logits[:1], truth[:1], 1 / 64).item()
    second = weighted_cross_entropy(logits[1:], truth[1:], 1 / 64).item()
    both = weighted_cross_entropy(logits, truth, 1 / 64).item()
    assert both == pytest.approx((first + second) / 2)


def test_the_weight_of_a_lesion_pixel_is_at_most_one_over_gamma():
    truth = torch.zeros(1, 1, 32, 32, dtype=torch.float64)
    truth[0, 0, 0, 0] = 1
    logits = torch.zeros_like(truth, requires_grad=True)

    weighted_cross_entropy(logits, truth, 0.25).backward()

    weight = -logits.grad[0, 0, 0, 0].item() * 2 * 32 * 32
    assert 0.98 / 0.25 < weight <= 1 / 0.25


@laws
@given(seeds, st.booleans())
def test_dice_is_pooled_over_the_batch_and_averaged_over_the_lesions_in_it(seed, hard):
    logits, truth = random_maps(seed, hard=hard)
    truth[:, 1] = 0  # a lesion that does not occur
    p, y = 1 / (1 + np.exp(-logits.numpy())), truth.numpy()

    each = [
        1 - (2 * (p[:, k] * y[:, k]).sum() + 1) / (p[:, k].sum() + y[:, k].sum() + 1)
        for k in range(3)
        if y[:, k].sum() > 0
    ]

    assert dice_loss(overlap_sums(logits, truth.double())).item() == pytest.approx(np.mean(each), rel=1e-6)


@laws
@given(seeds, st.booleans())
def test_focal_tversky_is_the_papers_formula_over_the_batch(seed, hard):
    """Abraham and Khan 2019: TI with alpha .7 on missed pixels and beta .3 on false ones; (1 - TI)^(3/4)."""
    logits, truth = random_maps(seed, hard=hard)
    p, g = 1 / (1 + np.exp(-logits.numpy())), truth.numpy()
    each = []
    for k in range(3):
        hit, missed, false = (
            float(m.sum()) for m in (p[:, k] * g[:, k], (1 - p[:, k]) * g[:, k], p[:, k] * (1 - g[:, k]))
        )
        if g[:, k].any():
            each.append((1 - (hit + 1) / (hit + 0.7 * missed + 0.3 * false + 1)) ** 0.75)

    assert focal_tversky_loss(overlap_sums(logits, truth)).item() == pytest.approx(np.mean(each), rel=1e-6)


def test_a_perfect_answer_leaves_focal_tversky_finite():
    truth = (torch.rand(1, 2, 8, 8) > 0.8).float()
    logits = ((2 * truth - 1) * 200).requires_grad_(True)

    loss = focal_tversky_loss(overlap_sums(logits, truth))
    loss.backward()

    assert loss.item() < 1e-4
    assert torch.isfinite(logits.grad).all()


@laws
@given(seeds, st.integers(1, 5), st.booleans())
def test_the_losses_and_gradients_of_parts_add_up_to_those_of_the_batch(seed, cut, focal):
    loss = Loss(focal_tversky=1.5) if focal else Loss()
    logits, truth = (tensor.float() for tensor in random_maps(seed, hard=True, shape=(6, 2, 4, 5)))
    whole_logits = logits.clone().requires_grad_(True)
    part_logits = logits.clone().requires_grad_(True)

    whole = loss(whole_logits, truth)
    whole.backward()
    sums = overlap_sums(logits, truth)
    parts = [
        loss(part_logits[of], truth[of], BatchTotals(share=len(truth[of]) / 6, overlap=sums))
        for of in (slice(0, cut), slice(cut, 6))
    ]
    for part in parts:
        part.backward()

    assert sum(part.item() for part in parts) == pytest.approx(whole.item(), rel=1e-5)
    torch.testing.assert_close(part_logits.grad, whole_logits.grad, rtol=1e-4, atol=1e-7)


def test_dice_is_0_where_no_lesion_occurs():
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)

    loss = dice_loss(overlap_sums(logits, torch.zeros(2, 3, 4, 4)))
    loss.backward()

    assert loss.item() == 0
    assert logits.grad.abs().sum() == 0


def test_a_perfect_prediction_has_almost_no_loss_and_the_opposite_a_large_one():
    truth = (torch.rand(2, 3, 8, 8) > 0.8).float()
    logits = (2 * truth - 1) * 40

    assert Loss()(logits, truth).item() < 1e-4
    assert Loss()(-logits, truth).item() > 40


@laws
@given(seeds, st.sampled_from([1e4, -1e4, 3e38]), st.booleans())
def test_the_loss_and_its_gradient_are_finite_for_any_logits(seed, extreme, hard):
    logits, truth = random_maps(seed, hard=hard)
    logits = logits.float()
    logits[0] = extreme
    logits[1, 0] = -extreme
    logits.requires_grad_(True)

    result = Loss()(logits, truth.float())
    result.backward()

    if abs(extreme) < 1e38:  # at the end of float32 the sum itself may be infinite
        assert math.isfinite(result.item())
    assert not math.isnan(result.item())
    assert torch.isfinite(logits.grad).all()


def test_the_loss_is_finite_for_an_empty_and_a_full_truth():
    logits = torch.randn(1, 1, 4, 4)

    assert math.isfinite(Loss()(logits, torch.zeros(1, 1, 4, 4)).item())
    assert math.isfinite(Loss()(logits, torch.ones(1, 1, 4, 4)).item())


def test_the_parts_add_up_by_their_weights():
    logits, truth = (tensor.float() for tensor in random_maps(0, hard=True))
    loss = Loss(gamma=0.5, dice=3.0, cross_entropy=2.0)
    entropy, dice = weighted_cross_entropy(logits, truth, 0.5), dice_loss(overlap_sums(logits, truth))

    assert loss(logits, truth).item() == pytest.approx((2 * entropy + 3 * dice).item())
    assert replace(loss, dice=0.0)(logits, truth).item() == pytest.approx((2 * entropy).item())
    assert loss(logits.bfloat16(), truth).dtype == torch.float32
    focal = focal_tversky_loss(overlap_sums(logits, truth))
    added = replace(loss, focal_tversky=5.0)(logits, truth)
    assert added.item() == pytest.approx((2 * entropy + 3 * dice + 5 * focal).item())


@pytest.mark.parametrize(
    "weights",
    [
        {"gamma": 0.0},
        {"gamma": -1.0},
        {"gamma": math.nan},
        {"dice": math.inf},
        {"dice": -0.1},
        {"focal_tversky": -0.1},
        {"cross_entropy": -1.0},
        {"lambda_weights": -1e-4},
    ],
)
def test_weights_below_zero_and_a_gamma_of_zero_are_refused(weights):
    ((name, number),) = weights.items()
    with pytest.raises(
        SettingError, match=rf"^loss\.{name} is {number:g}; give a (weight of 0 or more|number above 0)$"
    ):
        Loss(**weights)
