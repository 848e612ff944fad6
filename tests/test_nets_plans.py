"""A plan describes a network, is built into it, and is stored under names that never change."""

import json
from dataclasses import asdict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import laws

from foveate.errors import SettingError
from foveate.nets import LITE0, EncoderUNet, MobileEncoder, NetworkPlan, StreamPlan, UNet, build
from foveate.nets.plans import STORED_NAMES

ENCODERS = ("efficientnet-lite0", "mobilenet-v2")


def network(global_net, local_net=None, lesions=3, **options):
    """Build a network of two streams, or of one plan for both."""
    plan = NetworkPlan(global_net=global_net, local_net=local_net or global_net, fusion_width=5)
    return build(plan, lesions, **options)


@laws
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.integers(1, 3))
def test_each_stream_has_its_poolings_and_width(global_poolings, local_poolings, width, local_width, lesions):
    global_net = StreamPlan(backbone="unet", poolings=global_poolings, width=width, cap=8)
    local_net = StreamPlan(backbone="unet", poolings=local_poolings, width=local_width, cap=8)

    with torch.device("meta"):
        built = network(global_net, local_net, lesions)

    assert isinstance(built.global_net.backbone, UNet)
    assert built.global_net.backbone.stride == 2**global_poolings
    assert built.local_net.backbone.stride == 2**local_poolings
    first, second, last = built.fusion.layers[0], built.fusion.layers[2], built.fusion.layers[4]
    assert (first.in_channels, first.out_channels, second.out_channels) == (width + local_width, 5, 5)
    heads = (built.global_net.head, built.local_net.head, last)
    assert {head.out_channels for head in heads} == {lesions}


@pytest.mark.parametrize("backbone", ENCODERS)
@pytest.mark.parametrize("poolings", [2, 4, 5])
def test_any_encoder_takes_the_u_nets_place(backbone, poolings):
    stream = StreamPlan(backbone=backbone, poolings=poolings, decoder=(9, 8, 7, 6, 5)[-poolings:])
    built = network(stream).eval()

    features, logits = built.forward_global(torch.zeros(1, 3, 64, 64))

    assert isinstance(built.global_net.backbone, EncoderUNet)
    assert built.global_net.backbone.stride == 2**poolings
    assert features.shape == (1, 5, 64, 64)
    assert logits.shape == (1, 3, 64, 64)


@pytest.mark.parametrize(("poolings", "widths"), [(2, (32, 16)), (5, (128, 64, 48, 32, 16))])
def test_a_decoder_that_is_not_named_has_the_last_of_the_usual_widths(poolings, widths):
    assert StreamPlan(backbone="mobilenet-v2", poolings=poolings).decoder_widths == widths


def test_imagenet_weights_are_read_and_loaded_where_the_plan_says_so():
    reads = []

    def read_weights(backbone, file):
        reads.append((backbone, file))
        with torch.random.fork_rng():
            encoder = MobileEncoder(LITE0, 5)
        return {name: torch.full_like(tensor, 0.5) for name, tensor in encoder.state_dict().items()}

    first = StreamPlan(backbone="efficientnet-lite0", poolings=3, imagenet=True)
    second = StreamPlan(backbone="efficientnet-lite0", poolings=2, imagenet=True, weights="mine.pth")
    none = StreamPlan(backbone="efficientnet-lite0", poolings=2)
    built, plain = (
        network(first, second, read_weights=read_weights),
        network(none, read_weights=read_weights),
    )

    assert reads == [("efficientnet-lite0", None), ("efficientnet-lite0", "mine.pth")]
    for stream in (built.global_net, built.local_net):
        assert (stream.backbone.encoder.stem[0].conv.weight == 0.5).all()
        assert not (stream.head.weight == 0.5).any()
    assert not (plain.global_net.backbone.encoder.stem[0].conv.weight == 0.5).any()


def test_weights_that_will_be_replaced_are_not_read():
    gone = StreamPlan(backbone="efficientnet-lite0", poolings=2, imagenet=True, weights="gone.pth")

    with pytest.raises(SettingError, match=r"not at gone\.pth"):
        network(gone)
    assert network(gone, read_weights=None).global_net.channels == 16


def test_first_weights_are_those_of_the_seed():
    stream = StreamPlan(backbone="unet", poolings=1, width=2)
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(network(stream).state_dict())

    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["fusion.layers.0.weight"], states[2]["fusion.layers.0.weight"])


def test_a_plan_is_read_from_its_stored_names():
    stored = {
        "global_net": {"backbone": "unet", "poolings": 3, "width": 4, "cap": 8, "decoder": []},
        "local_net": {"backbone": "mobilenet-v2", "poolings": 2, "decoder": [7], "ends": 2},
        "fusion_width": 5,
        "corrects": True,
    }

    plan = NetworkPlan.from_stored(json.loads(json.dumps(stored)))

    assert (plan.local_net.output_stride, plan.global_net.output_stride) == (2, 1)
    assert plan.residual_fusion
    assert plan.local_net.decoder == (7,)
    old_names = {STORED_NAMES.get(name, name) for name in (*asdict(plan), *asdict(plan.local_net))}
    assert {"ends", "corrects", "fusion_width", "poolings"} <= old_names


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (
            {"backbone": "resnet34"},
            "'resnet34' is unknown; choose one of unet, efficientnet-lite0, mobilenet-v2, timm:NAME",
        ),
        ({"backbone": "timm:"}, "names no encoder"),
        ({"backbone": "unet", "decoder": (4, 4)}, "do not apply to backbone unet"),
        (
            {"backbone": "unet", "imagenet": True},
            "decoder, imagenet and weights do not apply to backbone unet",
        ),
        (
            {"backbone": "mobilenet-v2", "decoder": (4, 4, 4)},
            "halves 2 times .* decoder has 3 widths; give 2",
        ),
        ({"backbone": "mobilenet-v2", "weights": "w.pth"}, "imagenet is false"),
        ({"backbone": "unet", "poolings": 0}, "poolings of unet is 0"),
        ({"backbone": "unet", "width": 0}, "width of unet is 0; give 1 or more"),
        ({"backbone": "unet", "cap": -1}, "cap of unet is -1; give 1 or more"),
        ({"backbone": "mobilenet-v2", "decoder": (8, 0)}, "decoder of mobilenet-v2 has width 0; give 1"),
        ({"backbone": "mobilenet-v2", "decoder": (-1, 8)}, "decoder of mobilenet-v2 has width -1; give 1"),
        ({"backbone": "mobilenet-v2", "poolings": 1, "output_stride": 2}, "nothing is left to decode"),
    ],
)
def test_numbers_that_do_not_belong_together_are_refused(numbers, message):
    with pytest.raises(SettingError, match=message):
        StreamPlan(**{"poolings": 2} | numbers)


def test_a_network_of_no_lesion_or_an_empty_fusion_is_refused():
    stream = StreamPlan(backbone="unet", poolings=1, width=2)

    with pytest.raises(SettingError, match="number of lesions is 0"):
        network(stream, lesions=0)
    with pytest.raises(SettingError, match="fusion_width is 0"):
        NetworkPlan(global_net=stream, local_net=stream, fusion_width=0)
