"""A calibrated network: the logits of each lesion are scaled and shifted as stated."""

import pytest
import tiny_set
import torch
from test_nets_local_global import run_random

from foveate import nets

FUSED = [(2.0, 0.1), (1.0, 0.0), (0.5, -2.0), (3.0, 4.0)]
COARSE = [(0.5, 1.0), (1.0, -3.0), nets.IDENTITY, (2.0, 0.0)]


def on_a_line(logits, lines):
    """Return the logits, N K S T, scaled and shifted."""
    slopes, shifts = torch.tensor(lines).unbind(dim=1)
    return logits * slopes[:, None, None] + shifts[:, None, None]


def half_resolution():
    """Build a network with a LocalNet of output stride 2 and a residual fusion."""
    local_net = nets.StreamPlan(backbone="efficientnet-lite0", poolings=3, decoder=(4, 4), output_stride=2)
    plan = tiny_set.replace(tiny_set.NETWORK, local_net=local_net, residual_fusion=True)
    return nets.build(plan, 4)


def blended():
    """Build a network of which two lesions' fused logits are means with GlobalNet's."""
    return nets.blend(half_resolution(), (0.0, 0.25, 0.0, 0.5))


@pytest.mark.parametrize("make", [tiny_set.network, tiny_set.correcting, half_resolution, blended])
def test_each_lesions_logits_are_scaled_and_shifted(make):
    network = tiny_set.seeded(make)
    torch.nn.init.normal_(network.fusion.layers[-1].weight)  # a residual of 0 would hide errors

    outputs = []
    for net in (network, nets.calibrate(network, fused=FUSED, coarse=COARSE)):
        torch.manual_seed(1)
        outputs.append(run_random(net))

    (_, coarse, fused), (_, calibrated_coarse, calibrated_fused) = outputs
    torch.testing.assert_close(calibrated_coarse, on_a_line(coarse, COARSE), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(calibrated_fused, on_a_line(fused, FUSED), atol=1e-4, rtol=1e-4)


def test_calibration_does_not_change_the_network_itself():
    network = tiny_set.seeded(tiny_set.correcting)
    before = tiny_set.digests(network)

    nets.calibrate(network, fused=FUSED, coarse=COARSE)

    assert tiny_set.digests(network) == before
