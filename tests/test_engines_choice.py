"""Which engine computes: the chosen one, or the one that the rule gives for this machine."""

import importlib.util
import sys

import pytest
import tiny_package

from foveate import models
from foveate.engines import openvino
from foveate.engines.choice import EngineChoice, open_engine, resolve
from foveate.errors import SettingError


@pytest.fixture
def machine(monkeypatch):
    """Return a function that simulates a machine."""

    def simulate(*, has_openvino, bf16):
        real = importlib.util.find_spec
        absent = None if has_openvino else "openvino"
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, *more: None if name == absent else real("json")
        )
        monkeypatch.setattr(openvino, "computes_bf16", lambda: bf16)

    return simulate


@pytest.mark.parametrize(
    ("has_openvino", "bf16", "choice", "expected"),
    [
        (True, True, EngineChoice(), ("openvino", "bf16")),
        (True, False, EngineChoice(), ("onnx", "float32")),
        (False, True, EngineChoice(), ("onnx", "float32")),
        (True, True, EngineChoice(precision="float32"), ("onnx", "float32")),
        (True, True, EngineChoice(precision="bf16"), ("openvino", "bf16")),
        (True, True, EngineChoice(engine="onnx"), ("onnx", "float32")),
        (True, True, EngineChoice(engine="openvino"), ("openvino", "bf16")),
        (True, False, EngineChoice(engine="openvino"), ("openvino", "float32")),
        (True, True, EngineChoice(engine="openvino", precision="float32"), ("openvino", "float32")),
        (True, False, EngineChoice(precision="int8"), ("openvino", "int8")),
        (True, True, EngineChoice(engine="openvino", precision="int8"), ("openvino", "int8")),
    ],
)
def test_the_rule_depends_on_what_is_installed_and_on_the_processor(
    machine, has_openvino, bf16, choice, expected
):
    machine(has_openvino=has_openvino, bf16=bf16)

    assert resolve(choice) == expected


def test_bf16_in_onnxruntime_is_refused_with_the_engine_that_has_it():
    with pytest.raises(SettingError, match="engine onnx computes in float32 only; choose --engine openvino"):
        resolve(EngineChoice(engine="onnx", precision="bf16"))


@pytest.mark.parametrize(
    "choice",
    [
        EngineChoice(engine="onnx", precision="int8"),
        EngineChoice(engine="torch", precision="int8"),
        EngineChoice(device="cuda", precision="int8"),
    ],
)
def test_int8_is_refused_where_it_is_not_computed(choice):
    with pytest.raises(SettingError, match="int8 is computed by OpenVINO on the processor"):
        resolve(choice)


def test_an_engine_that_is_not_installed_is_named_with_the_command_that_installs_it(tmp_path, monkeypatch):
    package = models.load(tiny_package.build(tmp_path / "tiny"))
    monkeypatch.setitem(sys.modules, "openvino", None)

    with pytest.raises(SettingError, match=r"openvino is not installed .*pip install 'foveate\[openvino\]'"):
        open_engine(package, EngineChoice(engine="openvino"))


def test_an_opened_engine_states_its_versions(tmp_path):
    package = models.load(tiny_package.build(tmp_path / "tiny"))

    opened = open_engine(package, EngineChoice(engine="onnx", threads=1))

    assert opened.engine.label == "onnxruntime float32"
    assert opened.versions["threads"] == "1"
    assert "onnxruntime" in opened.versions
