"""PyTorch computes what the package's graphs compute; what it cannot do is refused with a reason."""

import functools
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import tiny_package
import tiny_set
import torch

import foveate
from foveate import cli, models, nets
from foveate.engines import Engine, WindowBatch
from foveate.engines import onnx as onnx_engine
from foveate.errors import PackageError, SettingError
from foveate.training import recipe as recipes
from foveate.training.export import export
from foveate.types import Decision

load = functools.partial(foveate.load, engine="torch")

MANIFEST = replace(
    tiny_package.MANIFEST,
    contract=tiny_set.CONTRACT,
    decisions={code: Decision(threshold=0.5, minimum_area=4) for code in tiny_set.CONTRACT.lesions},
    training={"recipe": recipes.describe(tiny_set.recipe())},
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Export a package of a tiny network that says what its network is."""
    path = tmp_path_factory.mktemp("pytorch") / "package"
    export(tiny_set.seeded(), MANIFEST, path)
    return path


@pytest.fixture(scope="module")
def blended_folder(tmp_path_factory):
    """Export the same with GlobalNet's share in the maps of one lesion."""
    path = tmp_path_factory.mktemp("pytorch") / "package"
    recipe = tiny_set.recipe(global_shares=(0.0, 0.0, 0.0, 0.5))
    manifest = replace(MANIFEST, training={"recipe": recipes.describe(recipe)})
    export(nets.blend(tiny_set.seeded(), recipe.global_shares), manifest, path)
    return path


@pytest.fixture
def threads():
    """Restore the number of threads of the process after the test."""
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


def random_batch(count=3):
    generator = np.random.default_rng(0)
    shapes = {
        "windows": (count, 3, 32, 32),
        "pieces": (count, 4, 5, 9),
        "rows": (count, 32, 5),
        "columns": (count, 32, 9),
    }
    arrays = {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return WindowBatch(**arrays)


@pytest.mark.parametrize("folder_name", ["folder", "blended_folder"])
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bf16", 0.05)])
def test_it_computes_what_onnxruntime_computes(request, folder_name, threads, precision, tolerance):
    folder = request.getfixturevalue(folder_name)
    engine = load(folder, precision=precision, threads=1).engine
    reference = onnx_engine.open(models.load(folder), threads=1)
    view = np.random.default_rng(1).normal(size=(1, 3, 32, 32)).astype(np.float32)

    output, expected = engine.run_global(view), reference.run_global(view)

    assert isinstance(engine, Engine)
    np.testing.assert_allclose(output.probabilities, expected.probabilities, atol=tolerance)
    np.testing.assert_allclose(output.features, expected.features, atol=20 * tolerance)
    batch = random_batch()
    np.testing.assert_allclose(engine.run_local(batch), reference.run_local(batch), atol=tolerance)
    assert engine.label == f"torch {precision} on cpu"


def test_a_model_in_torch_segments_and_states_its_versions(folder, threads, tmp_path):
    eye = tiny_package.photograph(tmp_path / "eye.png", diameter=260)

    model = load(folder, threads=1)
    result = model.segment(foveate.read(eye))

    reference = foveate.load(folder, engine="onnx", threads=1).segment(foveate.read(eye))
    assert result.segmentation.engine == "torch float32 on cpu"
    assert model.versions["torch"] == torch.__version__
    for lesion in result.lesions:
        np.testing.assert_allclose(result.map(lesion), reference.map(lesion), atol=1.5 / 255)


def test_workers_share_the_network(folder, threads, tmp_path):
    for seed in range(2):
        tiny_package.photograph(tmp_path / "eyes" / f"{seed}.png", diameter=260, seed=seed)

    report = load(folder, threads=1).predict([tmp_path / "eyes"], tmp_path / "out", workers=2)

    assert (len(report.rows), report.failures, report.workers) == (2, (), 2)


def test_a_package_without_a_network_plan_is_refused(tmp_path, threads):
    with pytest.raises(
        PackageError,
        match=r"manifest\.json: does not say which network the weights belong to \(it states none",
    ):
        load(tiny_package.build(tmp_path / "tiny"), threads=1)


def test_weights_of_another_network_are_refused_in_one_line(folder, tmp_path, threads):
    copy = shutil.copytree(folder, tmp_path / "copy")
    recipe = tiny_set.recipe(network=replace(tiny_set.NETWORK, fusion_width=7))
    models.write_manifest(copy, replace(MANIFEST, training={"recipe": recipes.describe(recipe)}))

    with pytest.raises(PackageError, match=r"belong to \(Error.*size mismatch.*\); choose another") as caught:
        load(copy, threads=1)

    assert len(str(caught.value).splitlines()) == 1


def test_memory_that_runs_out_is_no_fault_of_the_manifest(folder, threads, monkeypatch):
    def build(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")

    monkeypatch.setattr(nets, "build", build)

    with pytest.raises(MemoryError, match="can't allocate memory"):
        load(folder, threads=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "float16"}, "PyTorch does not compute in float16 on the CPU; choose --precision bf16"),
        ({"threads": 0}, "threads is 0"),
        ({"device": "cuda"}, "there is no CUDA device"),
    ],
)
def test_what_this_machine_cannot_do_is_refused_with_a_reason(folder, threads, monkeypatch, options, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(SettingError, match=message):
        load(folder, **options)


def test_the_command_line_uses_it_or_says_how_to_install_it(folder, threads, tmp_path, capsys, monkeypatch):
    eye = tiny_package.photograph(tmp_path / "eye.png", diameter=260)
    line = ["predict", str(eye), "--model", str(folder), "--engine", "torch", "--threads", "1"]

    assert cli.run([*line, "--out", str(tmp_path / "out")]) == 0
    assert '"engine": "torch float32 on cpu"' in (tmp_path / "out" / "run.json").read_text()
    monkeypatch.setitem(sys.modules, "foveate.engines.pytorch", None)
    assert cli.run([*line, "--out", str(tmp_path / "other")]) == 1
    assert "engine torch is not installed" in capsys.readouterr().err


def test_other_engines_refuse_cuda(folder, tmp_path, capsys):
    line = ["predict", "x", "--out", str(tmp_path / "out"), "--engine", "onnx", "--device", "cuda"]

    assert cli.run(line) == 2
    assert "computes on the processor; leave out --device cuda" in capsys.readouterr().err
