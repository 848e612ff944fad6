"""An encoder of timm's is created by name; where timm is missing, the message says how to install it.

timm itself is stood in for: it brings torchvision, which a machine that only tests need not have.
"""

import importlib.util
import pickle
import sys
import types

import pytest
import torch
from torch import nn

from foveate.errors import SettingError
from foveate.nets import EncoderUNet, NetworkPlan, StreamPlan, TimmEncoder, build

SIZES = {"halving": (2, 4, 8, 16), "late": (4, 8), "flat": (16, 16), "odd": (2, 6)}


class Features(nn.Module):
    """A stand-in for the result of timm.create_model(..., features_only=True)."""

    def __init__(self, reductions, widths):
        super().__init__()
        self.each = nn.ModuleList(
            nn.Conv2d(3, width, 1, stride=r) for r, width in zip(reductions, widths, strict=True)
        )
        self.feature_info = types.SimpleNamespace(
            reduction=lambda: list(reductions), channels=lambda: list(widths)
        )

    def forward(self, pictures):
        return [layer(pictures) for layer in self.each]


@pytest.fixture
def timm(monkeypatch):
    """Install a stand-in for timm that records its calls."""
    calls = []
    errors = {
        "wider.pth": RuntimeError("Error(s) in loading state_dict for Net:\n\tsize mismatch for conv.weight"),
        "junk.pth": pickle.UnpicklingError("invalid load key"),
    }

    def create_model(name, *, features_only, out_indices=None, **options):
        assert features_only
        calls.append((name, out_indices, options))
        if options and not options["pretrained_cfg_overlay"]["file"].endswith("here.pth"):
            raise errors.get(options["pretrained_cfg_overlay"]["file"], FileNotFoundError())
        indices = range(len(SIZES[name])) if out_indices is None else out_indices
        return Features([SIZES[name][i] for i in indices], [10 + i for i in indices])

    module = types.ModuleType("timm")
    module.create_model, module.is_model, module.calls = create_model, SIZES.__contains__, calls
    monkeypatch.setitem(sys.modules, "timm", module)
    return module


def test_only_the_necessary_features_are_requested(timm):
    encoder = TimmEncoder("halving", 3)

    assert timm.calls == [("halving", None, {}), ("halving", (0, 1, 2), {})]
    assert encoder.reductions == (2, 4, 8)
    assert encoder.widths == (10, 11, 12)
    assert [tuple(f.shape[1:]) for f in encoder(torch.zeros(1, 3, 32, 16))] == [
        (10, 16, 8),
        (11, 8, 4),
        (12, 4, 2),
    ]


def test_a_size_without_features_is_only_upsampled(timm):
    net = EncoderUNet(TimmEncoder("late", 3), (9, 8, 7)).eval()

    passed = []
    for merge in net.decoder:
        merge.register_forward_hook(lambda _, into, out: passed.append((into[0], out)))

    out = net(torch.randn(1, 3, 32, 32))

    assert [merge[0].in_channels for merge in net.decoder] == [11 + 10, 9, 8 + 3]
    assert out.shape == (1, 7, 32, 32)
    enlarged = passed[0][1].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert torch.equal(passed[1][0], enlarged)


def test_a_plan_names_it(timm):
    stream = StreamPlan(backbone="timm:halving", poolings=4)
    network = build(NetworkPlan(global_net=stream, local_net=stream, fusion_width=4), 2)

    assert isinstance(network.local_net.backbone.encoder, TimmEncoder)
    assert network.forward_global(torch.zeros(2, 3, 32, 32))[1].shape == (2, 2, 32, 32)


def test_timm_reads_weights_only_from_the_given_file(timm):
    TimmEncoder("halving", 2, "here.pth")

    assert timm.calls[-1][2] == {"pretrained": True, "pretrained_cfg_overlay": {"file": "here.pth"}}
    with pytest.raises(SettingError, match="weights of timm:halving are not at gone"):
        TimmEncoder("halving", 2, "gone")
    named = StreamPlan(backbone="timm:halving", poolings=2, imagenet=True, weights="here.pth")
    plan = NetworkPlan(global_net=named, local_net=named, fusion_width=4)
    build(plan, 2)
    assert timm.calls[-1][2]["pretrained"]
    build(plan, 2, read_weights=None)  # trained weights follow
    assert not timm.calls[-1][2]
    unnamed = StreamPlan(backbone="timm:halving", poolings=2, imagenet=True)
    with pytest.raises(SettingError, match="nothing is downloaded"):
        build(NetworkPlan(global_net=unnamed, local_net=unnamed, fusion_width=4), 2)


@pytest.mark.parametrize(
    ("weights", "reason"), [("wider.pth", "size mismatch for conv"), ("junk.pth", "invalid load key")]
)
def test_a_file_of_other_weights_is_an_error_of_one_line(timm, weights, reason):
    with pytest.raises(
        SettingError, match=rf"{weights}: holds no weights of timm:halving \(.*{reason}.*\); set"
    ) as (raised):
        TimmEncoder("halving", 2, weights)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "halvings", "message"),
    [
        ("none", 2, "timm has no model 'none'"),
        ("halving", 5, "1/2, 1/4, 1/8, 1/16, but not at 1/32; change poolings"),
        ("late", 1, "1/4, 1/8, but not at 1/2; change poolings"),
        ("flat", 4, "needs each size half the one before"),
        ("odd", 1, "needs each size half the one before"),
    ],
)
def test_an_encoder_that_no_u_net_can_have_is_refused(timm, name, halvings, message):
    with pytest.raises(SettingError, match=message):
        TimmEncoder(name, halvings)


def test_without_timm_the_message_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)

    with pytest.raises(SettingError, match=r"timm:resnet34 needs timm .*pip install 'foveate\[timm\]'"):
        TimmEncoder("resnet34", 3)


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed (extra 'timm')")
def test_timms_own_resnet34_is_an_encoder():
    encoder = TimmEncoder("resnet34", 4)

    assert encoder.reductions == (2, 4, 8, 16)
    assert encoder.widths == (64, 64, 128, 256)
    assert encoder(torch.zeros(1, 3, 32, 32))[-1].shape == (1, 256, 2, 2)
