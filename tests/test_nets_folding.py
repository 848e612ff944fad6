"""A network without its normalisation computes the same."""

import pytest
import tiny_set
import torch
from test_nets_local_global import run_random
from torch import nn

from foveate.nets import NetworkPlan, StreamPlan, build, fold_batch_norm, fold_in_place, load_folded


def seeded_logits(network):
    """Return the coarse and the fused logits of a network for a fixed random input."""
    torch.manual_seed(1)
    _, coarse, logits = run_random(network)
    return coarse, logits


def encoded():
    """Build a network whose streams have ImageNet encoders, untrained."""
    global_net, local_net = (
        StreamPlan(backbone=name, poolings=2, decoder=(4, 4))
        for name in ("efficientnet-lite0", "mobilenet-v2")
    )
    return build(NetworkPlan(global_net=global_net, local_net=local_net, fusion_width=6), 4)


@pytest.mark.parametrize("make", [tiny_set.network, encoded])
def test_a_folded_network_computes_the_same(make):
    network = tiny_set.seeded(make)
    folded = fold_batch_norm(network)

    for before, after in ((network, folded), (folded, fold_batch_norm(folded))):
        for expected, logits in zip(seeded_logits(before), seeded_logits(after), strict=True):
            torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("make", [tiny_set.network, encoded])
def test_no_normalisation_remains_and_every_convolution_has_a_bias(make):
    folded = fold_batch_norm(tiny_set.seeded(make))
    convolutions = [m for m in folded.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]

    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert all(convolution.bias is not None for convolution in convolutions)
    assert len(folded.state_dict()) == 2 * len(convolutions)


def test_folding_does_not_change_the_network_itself():
    network = tiny_set.seeded().train()
    before = tiny_set.digests(network)

    folded = fold_batch_norm(network)

    assert tiny_set.digests(network) == before
    assert network.training
    assert not folded.training


@pytest.mark.parametrize("make", [tiny_set.network, encoded])
def test_a_network_folded_in_place_computes_the_same_from_the_folded_weights(make):
    network = tiny_set.seeded(make)
    expected = seeded_logits(network)
    folded = fold_batch_norm(network).state_dict()

    fold_in_place(network)

    for before, after in zip(expected, seeded_logits(network), strict=True):
        torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)
    for name, weight in network.named_parameters():
        if weight.ndim == 4:
            torch.testing.assert_close(weight, folded[name], rtol=0, atol=0)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert all(bool((norm.weight == 1).all()) for norm in norms)


@pytest.mark.parametrize(
    "layer", [nn.MaxPool2d(1), nn.ConvTranspose2d(8, 8, 1), nn.Sequential(nn.Conv2d(8, 8, 1))]
)
def test_a_normalisation_behind_anything_else_stays_a_layer(layer):
    network = tiny_set.seeded()
    network.fusion.layers = nn.Sequential(layer, nn.BatchNorm2d(8)).eval()

    assert isinstance(fold_batch_norm(network).fusion.layers[1], nn.BatchNorm2d)


def test_the_own_bias_of_a_convolution_is_part_of_its_folded_bias_once():
    network = tiny_set.seeded()
    layers = network.fusion.layers = nn.Sequential(nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4)).eval()
    nn.init.normal_(layers[0].bias)
    layers[1].running_mean.normal_()
    features = torch.randn(1, 8, 3, 3)
    expected = layers(features)

    fold_in_place(network)

    torch.testing.assert_close(layers(features), expected)


def test_a_normalisation_that_includes_an_activation_is_not_folded():
    class WithActivation(nn.BatchNorm2d):
        """A layer as in timm."""

        def forward(self, features):
            return super().forward(features).relu()

    network = tiny_set.seeded()
    network.fusion.layers = nn.Sequential(nn.Conv2d(8, 4, 1), WithActivation(4)).eval()

    assert isinstance(fold_batch_norm(network).fusion.layers[1], WithActivation)


@pytest.mark.parametrize("make", [tiny_set.network, encoded])
def test_folded_weights_compute_the_same_in_another_network(make):
    trained, network = tiny_set.seeded(make, seed=1), tiny_set.seeded(make, seed=2)

    unmatched = load_folded(fold_batch_norm(trained).state_dict(), network)

    assert unmatched == ()
    for expected, logits in zip(seeded_logits(trained), seeded_logits(network), strict=True):
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_layers_of_another_shape_or_without_weights_keep_their_own_and_are_returned():
    weights = fold_batch_norm(tiny_set.seeded()).state_dict()
    head = "local_net.head"
    del weights[f"{head}.weight"]
    weights["global_net.head.weight"] = torch.zeros(9, 4, 1, 1)
    network = tiny_set.seeded(seed=2)
    before = tiny_set.digests(network)

    unmatched = load_folded(weights, network)

    assert set(unmatched) == {head, "global_net.head"}
    unchanged = {name for name, digest in tiny_set.digests(network).items() if digest == before[name]}
    assert {name for name in before if name.rsplit(".", 1)[0] in unmatched} <= unchanged
    assert "fusion.layers.0.weight" not in unchanged


def test_normalisations_that_are_not_folded_are_loaded_as_they_are():
    class Encoder(nn.Module):  # as timm's: its normalisation is no neighbour in an nn.Sequential
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, bias=False)
            self.bn = nn.BatchNorm2d(4)

    made = [tiny_set.network().eval(), tiny_set.network().eval()]
    for network in made:
        network.encoder = Encoder().eval()
    nn.init.uniform_(made[0].encoder.bn.weight, 0.5, 2)
    made[0].encoder.bn.running_mean.normal_()

    assert load_folded(fold_batch_norm(made[0]).state_dict(), made[1]) == ()

    for name, tensor in made[0].encoder.state_dict().items():
        torch.testing.assert_close(made[1].encoder.state_dict()[name], tensor)
