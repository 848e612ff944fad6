"""A network whose probabilities are put right: its logits change, and as they should."""

import pytest
import tiny_set
import torch
from test_nets_local_global import looked

from foveate import nets

FUSED = [(2.0, 0.1), (1.0, 0.0), (0.5, -2.0), (3.0, 4.0)]
COARSE = [(0.5, 1.0), (1.0, -3.0), nets.SAME, (2.0, 0.0)]


def on_a_line(logits, lines):
    """Return logits N K S T scaled and shifted."""
    slopes, shifts = torch.tensor(lines).unbind(dim=1)
    return logits * slopes[:, None, None] + shifts[:, None, None]


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
    for each in (network, nets.scaled(network, fused=FUSED, coarse=COARSE)):
        torch.manual_seed(1)
        answers.append(looked(each))

    (_, coarse, plain), (_, coarse_again, scaled) = answers
    torch.testing.assert_close(coarse_again, on_a_line(coarse, COARSE), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(scaled, on_a_line(plain, FUSED), atol=1e-4, rtol=1e-4)


def test_the_network_itself_is_left_as_it_is():
    network = tiny_set.seeded(tiny_set.correcting)
    before = tiny_set.digests(network)

    nets.scaled(network, fused=FUSED, coarse=COARSE)

    assert tiny_set.digests(network) == before
