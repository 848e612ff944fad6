"""A network whose probabilities are put right: only its fused logits change, and as they should."""

import pytest
import tiny_set
import torch
from test_local_global import looked

from foveate import nets

SLOPES, SHIFTS = [2.0, 1.0, 0.5, 3.0], [0.1, 0.0, -2.0, 4.0]


def halved():
    """Build a network whose LocalNet ends at half resolution and is corrected."""
    local_net = nets.StreamPlan(backbone="efficientnet-lite0", poolings=3, decoder=(4, 4), ends=2)
    plan = tiny_set.replace(tiny_set.NETWORK, local_net=local_net, corrects=True)
    return nets.build(plan, 4)


@pytest.mark.parametrize("make", [tiny_set.network, tiny_set.correcting, halved])
def test_each_lesions_logits_are_scaled_and_shifted(make):
    network = tiny_set.seeded(make)
    torch.nn.init.normal_(network.fusion.layers[-1].weight)  # a correction that starts at 0 would hide much

    answers = []
    for each in (network, nets.scaled(network, SLOPES, SHIFTS)):
        torch.manual_seed(1)
        answers.append(looked(each))

    (_, coarse, plain), (_, coarse_again, scaled) = answers
    torch.testing.assert_close(coarse_again, coarse)
    expected = plain * torch.tensor(SLOPES)[:, None, None] + torch.tensor(SHIFTS)[:, None, None]
    torch.testing.assert_close(scaled, expected, atol=1e-4, rtol=1e-4)


def test_the_network_itself_is_left_as_it_is():
    network = tiny_set.seeded(tiny_set.correcting)
    before = tiny_set.digests(network)

    nets.scaled(network, SLOPES, SHIFTS)

    assert tiny_set.digests(network) == before
