"""Which engine computes: the chosen one, or the one that the rule gives for this machine."""

import importlib.util
import platform
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_package

from foveate import models
from foveate.cli.engine_hint import print_hint
from foveate.engines import choice as engines_choice
from foveate.engines import openvino
from foveate.engines.choice import EngineChoice, has_avx2, open_engine, resolve
from foveate.errors import SettingError


@pytest.fixture
def machine(monkeypatch):
    """Return a function that simulates a machine."""

    def simulate(*, has_openvino, bf16, avx2):
        real = importlib.util.find_spec
        absent = None if has_openvino else "openvino"
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, *more: None if name == absent else real("json")
        )
        monkeypatch.setattr(openvino, "computes_bf16", lambda: bf16)
        monkeypatch.setattr(engines_choice, "has_avx2", lambda: avx2)

    return simulate


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """Return a package without int8 networks, and one that holds (empty) files of them."""
    folder = tmp_path_factory.mktemp("packages")
    float_only, quantised = (
        models.load(tiny_package.build(folder / name)) for name in ("float-only", "quantised")
    )
    for name in openvino.ALL_INT8_FILES:
        (quantised.folder / name).touch()
    return {"float": float_only, "int8": models.with_present_files(quantised)}


ALL = {"has_openvino": True, "bf16": True, "avx2": True}
LAPTOP = {"has_openvino": True, "bf16": False, "avx2": True}
ARM = {"has_openvino": True, "bf16": False, "avx2": False}
ARM_SERVER = {"has_openvino": True, "bf16": True, "avx2": False}
BASE = {"has_openvino": False, "bf16": True, "avx2": True}


@pytest.mark.parametrize(
    ("processor", "choice", "expected"),
    [
        (ALL, EngineChoice(), (("openvino", "bf16"), ("openvino", "int8"))),
        (LAPTOP, EngineChoice(), (("openvino", "float32"), ("openvino", "int8"))),
        (ARM, EngineChoice(), (("onnx", "float32"), ("onnx", "float32"))),
        (ARM_SERVER, EngineChoice(), (("openvino", "bf16"), ("openvino", "bf16"))),
        (BASE, EngineChoice(), (("onnx", "float32"), ("onnx", "float32"))),
        (ALL, EngineChoice(precision="float32"), (("openvino", "float32"), ("openvino", "float32"))),
        (ARM, EngineChoice(precision="float32"), (("onnx", "float32"), ("onnx", "float32"))),
        (BASE, EngineChoice(precision="float32"), (("onnx", "float32"), ("onnx", "float32"))),
        (ALL, EngineChoice(precision="bf16"), (("openvino", "bf16"), ("openvino", "bf16"))),
        (ALL, EngineChoice(engine="onnx"), (("onnx", "float32"), ("onnx", "float32"))),
        (ALL, EngineChoice(engine="openvino"), (("openvino", "bf16"), ("openvino", "int8"))),
        (LAPTOP, EngineChoice(engine="openvino"), (("openvino", "float32"), ("openvino", "int8"))),
        (ARM, EngineChoice(engine="openvino"), (("openvino", "float32"), ("openvino", "float32"))),
        (LAPTOP, EngineChoice(precision="int8"), (("openvino", "int8"), ("openvino", "int8"))),
        (ARM, EngineChoice(precision="int8"), (("openvino", "int8"), ("openvino", "int8"))),
    ],
)
def test_the_rule_depends_on_what_is_installed_on_the_processor_and_on_the_package(
    machine, packages, processor, choice, expected
):
    machine(**processor)

    assert (resolve(choice, packages["float"]), resolve(choice, packages["int8"])) == expected


@pytest.mark.parametrize(
    ("processor", "choice", "expected"),
    [
        (BASE, EngineChoice(), True),
        (BASE, EngineChoice(engine="onnx"), False),
        (BASE, EngineChoice(device="cuda"), False),
        (BASE, EngineChoice(precision="float32"), True),
        (BASE, EngineChoice(precision="bf16"), False),  # refused with the same advice
        (BASE | {"avx2": False}, EngineChoice(), False),
        (ALL, EngineChoice(), False),
    ],
)
def test_a_hint_is_given_where_openvino_would_be_faster_and_nobody_chose(
    machine, capsys, processor, choice, expected
):
    machine(**processor)

    print_hint(choice)

    assert ("pip install 'foveate[openvino]'" in capsys.readouterr().err) is expected


@pytest.mark.skipif(platform.machine() != "x86_64", reason="its processor flags are those of x86")
@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="Linux lists the flags of the processor")
def test_avx2_is_what_the_kernel_says():
    flags = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)[1].split()

    assert has_avx2() is ("avx2" in flags)


@pytest.mark.parametrize(
    ("processor", "precision", "package", "is_computed"),
    [
        (ALL, "bf16", "float", True),
        (LAPTOP, "bf16", "float", False),
        (BASE, "bf16", "float", False),
        (ALL, "int8", "int8", True),
        (ALL, "int8", "float", False),
        (BASE, "int8", "int8", False),
    ],
)
def test_what_onnxruntime_does_not_compute_is_refused_with_what_works_on_this_machine(
    machine, packages, *, processor, precision, package, is_computed
):
    machine(**processor)

    remedy = "choose --engine openvino, or leave out --precision" if is_computed else "leave out --precision"
    with pytest.raises(SettingError, match=f"; {remedy}$"):
        resolve(EngineChoice(engine="onnx", precision=precision), packages[package])

    resolve(EngineChoice(engine="onnx"), packages[package])
    if is_computed:
        assert resolve(EngineChoice(engine="openvino", precision=precision), packages[package])


@pytest.mark.parametrize("choice", [EngineChoice(), EngineChoice(engine="openvino")])
def test_bf16_without_openvino_is_refused_with_what_works_on_any_processor(machine, packages, choice):
    machine(**BASE)

    with pytest.raises(SettingError, match="not installed; leave out --precision, or, if the processor comp"):
        resolve(replace(choice, precision="bf16"), packages["float"])

    assert resolve(EngineChoice(), packages["float"]) == ("onnx", "float32")


@pytest.mark.parametrize(
    "choice",
    [
        EngineChoice(engine="onnx", precision="int8"),
        EngineChoice(engine="torch", precision="int8"),
        EngineChoice(device="cuda", precision="int8"),
    ],
)
def test_int8_is_refused_where_it_is_not_computed(packages, choice):
    with pytest.raises(SettingError, match="int8 is computed by OpenVINO on the processor"):
        resolve(choice, packages["int8"])


def test_int8_networks_that_the_manifest_does_not_name_are_none_of_the_package(machine, tmp_path):
    machine(**LAPTOP)
    package = models.load(tiny_package.build(tmp_path / "tiny"))
    for name in openvino.ALL_INT8_FILES:  # as a release leaves them that is killed before it is done
        (package.folder / name).touch()

    assert resolve(EngineChoice(), models.load(package.folder)) == ("openvino", "float32")
    assert resolve(EngineChoice(), models.with_present_files(package)) == ("openvino", "int8")


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


def test_onnxruntime_is_imported_only_where_it_computes(tmp_path):
    pytest.importorskip("openvino")
    code = (
        "import sys, foveate\n"
        "foveate.load(sys.argv[1], engine=sys.argv[2], threads=1)\n"
        "print('onnxruntime' in sys.modules)"
    )
    folder = tiny_package.build(tmp_path / "tiny")

    imported = {
        engine: subprocess.run(
            [sys.executable, "-c", code, str(folder), engine], capture_output=True, text=True, check=True
        ).stdout.strip()
        for engine in ("openvino", "onnx")
    }

    assert imported == {"openvino": "False", "onnx": "True"}
