"""A network without its normalisation answers the same."""

import pytest
import tiny_set
import torch
from test_nets_local_global import looked
from torch import nn

from foveate.nets import NetworkPlan, StreamPlan, build, folded, unfold


def encoded():
    """Build a network whose streams have ImageNet's encoders, untrained."""
    global_net, local_net = (
        StreamPlan(backbone=name, poolings=2, decoder=(4, 4))
        for name in ("efficientnet-lite0", "mobilenet-v2")
    )
    return build(NetworkPlan(global_net=global_net, local_net=local_net, fusion_width=6), 4)


@pytest.mark.parametrize("make", [tiny_set.network, encoded])
def test_folded_it_computes_the_same(make):
    network = tiny_set.seeded(make)
    plain = folded(network)

    for one, other in ((network, plain), (plain, folded(plain))):
        torch.manual_seed(1)
        _, coarse, logits = looked(one)
        torch.manual_seed(1)
        _, coarse_again, logits_again = looked(other)
        torch.testing.assert_close(coarse_again, coarse, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(logits_again, logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("make", [tiny_set.network, encoded])
def test_no_normalisation_is_left_and_every_convolution_has_a_bias(make):
    plain = folded(tiny_set.seeded(make))
    convolutions = [m for m in plain.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]

    assert not any(isinstance(module, nn.BatchNorm2d) for module in plain.modules())
    assert all(convolution.bias is not None for convolution in convolutions)
    assert len(plain.state_dict()) == 2 * len(convolutions)


def test_the_network_itself_is_left_as_it_is():
    network = tiny_set.seeded().train()
    before = tiny_set.digests(network)

    plain = folded(network)

    assert tiny_set.digests(network) == before
    assert network.training
    assert not plain.training


def test_a_normalisation_behind_anything_else_is_refused():
    network = tiny_set.seeded()
    network.fusion.layers = nn.Sequential(nn.MaxPool2d(1), nn.BatchNorm2d(8))

    with pytest.raises(TypeError, match="behind MaxPool2d"):
        folded(network)


def test_a_normalisation_that_holds_an_activation_is_left():
    class WithActivation(nn.BatchNorm2d):
        """As timm has them."""

        def forward(self, features):
            return super().forward(features).relu()

    network = tiny_set.seeded()
    network.fusion.layers = nn.Sequential(nn.Conv2d(8, 4, 1), WithActivation(4)).eval()

    assert isinstance(folded(network).fusion.layers[1], WithActivation)


# back


def corresponding(network):
    """Return what a network answers to one input."""
    torch.manual_seed(1)
    return looked(network)


@pytest.mark.parametrize("make", [tiny_set.network, encoded])
def test_unfolded_into_another_network_the_weights_compute_the_same(make):
    trained, other = tiny_set.seeded(make, seed=1), tiny_set.seeded(make, seed=2)

    left = unfold(folded(trained).state_dict(), other)

    assert left == ()
    for one, same in zip(corresponding(trained)[1:], corresponding(other)[1:], strict=True):
        torch.testing.assert_close(same, one, atol=1e-4, rtol=1e-4)


def test_layers_of_another_shape_or_of_no_name_there_keep_their_weights_and_are_told():
    weights = folded(tiny_set.seeded()).state_dict()
    head = "local_net.head"
    del weights[f"{head}.weight"]
    weights["global_net.head.weight"] = torch.zeros(9, 4, 1, 1)
    other = tiny_set.seeded(seed=2)
    before = tiny_set.digests(other)

    left = unfold(weights, other)

    assert set(left) == {head, "global_net.head"}
    kept = {name for name, digest in tiny_set.digests(other).items() if digest == before[name]}
    assert {name for name in before if name.rsplit(".", 1)[0] in left} <= kept
    assert "fusion.layers.0.weight" not in kept
