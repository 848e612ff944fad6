"""Which engine computes: what was asked for, or what the rule says of this machine."""

import importlib.util
import sys

import pytest
import tiny_package

from foveate import models
from foveate.engines import choice, openvino
from foveate.engines.choice import Choice, settled
from foveate.errors import SettingError


@pytest.fixture
def machine(monkeypatch):
    """Say what a machine has."""

    def build(*, openvino_there, bf16):
        real = importlib.util.find_spec
        absent = None if openvino_there else "openvino"
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, *more: None if name == absent else real("json")
        )
        monkeypatch.setattr(openvino, "computes_bf16", lambda: bf16)

    return build


@pytest.mark.parametrize(
    ("there", "bf16", "asked", "wanted"),
    [
        (True, True, Choice(), ("openvino", "bf16")),
        (True, False, Choice(), ("onnx", "float32")),
        (False, True, Choice(), ("onnx", "float32")),
        (True, True, Choice(precision="float32"), ("onnx", "float32")),
        (True, True, Choice(precision="bf16"), ("openvino", "bf16")),
        (True, True, Choice(engine="onnx"), ("onnx", "float32")),
        (True, True, Choice(engine="openvino"), ("openvino", "bf16")),
        (True, False, Choice(engine="openvino"), ("openvino", "float32")),
        (True, True, Choice(engine="openvino", precision="float32"), ("openvino", "float32")),
    ],
)
def test_the_rule_goes_by_what_is_installed_and_what_the_processor_has(machine, there, bf16, asked, wanted):
    machine(openvino_there=there, bf16=bf16)

    assert settled(asked) == wanted


def test_onnxruntime_in_bf16_is_refused_with_the_engine_that_has_it():
    with pytest.raises(SettingError, match="engine onnx computes in float32 only; choose --engine openvino"):
        settled(Choice(engine="onnx", precision="bf16"))


def test_an_engine_that_is_not_installed_is_named_with_the_command_that_brings_it(tmp_path, monkeypatch):
    package = models.load(tiny_package.build(tmp_path / "tiny"))
    monkeypatch.setitem(sys.modules, "openvino", None)

    with pytest.raises(SettingError, match=r"openvino is not installed .*pip install 'foveate\[openvino\]'"):
        choice.open(package, Choice(engine="openvino"))


def test_what_is_opened_says_what_it_is(tmp_path):
    package = models.load(tiny_package.build(tmp_path / "tiny"))

    opened = choice.open(package, Choice(engine="onnx", threads=1))

    assert opened.engine.label == "onnxruntime float32"
    assert opened.versions["threads"] == "1"
    assert "onnxruntime" in opened.versions
