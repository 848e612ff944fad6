"""A blended network: its fused logits are the weighted mean of its own and GlobalNet's."""

import pytest
import tiny_set
import torch
from test_nets_calibration import half_resolution
from test_nets_local_global import run_random

from foveate import nets

SHARES = (0.0, 0.25, 0.0, 0.5)


@pytest.mark.parametrize("make", [tiny_set.network, tiny_set.correcting, half_resolution])
def test_the_fused_logits_are_the_mean_of_both(make):
    network = tiny_set.seeded(make)
    torch.nn.init.normal_(network.fusion.layers[-1].weight)  # a residual of 0 would hide errors

    outputs = []
    for net in (network, nets.blend(network, SHARES)):
        torch.manual_seed(1)
        outputs.append(run_random(net))

    ((_, pieces), coarse, fused), (_, coarse_of_blended, blended) = outputs
    enlarged = nets.sample_pieces(pieces._replace(features=network.global_net.head(pieces.features)))
    stride = network.local_net.output_stride  # all pixels of a block take f_g at its centre
    blocks = torch.nn.functional.avg_pool2d(enlarged, stride)
    enlarged = blocks.repeat_interleave(stride, dim=2).repeat_interleave(stride, dim=3)
    shares = torch.tensor(SHARES)[:, None, None]
    torch.testing.assert_close(blended, (1 - shares) * fused + shares * enlarged, atol=1e-4, rtol=1e-4)
    assert torch.equal(coarse_of_blended, coarse)


def test_shares_of_nothing_change_nothing():
    network = tiny_set.seeded(tiny_set.correcting)

    for shares in ([0.0] * 4, ()):
        assert tiny_set.digests(nets.blend(network, shares)) == tiny_set.digests(network)


def test_blending_does_not_change_the_network_itself():
    network = tiny_set.seeded(tiny_set.correcting)
    before = tiny_set.digests(network)

    nets.blend(network, SHARES)

    assert tiny_set.digests(network) == before
