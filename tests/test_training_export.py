"""A package computes what the network computes, stores each weight once, and replaces an older one whole."""

import copy
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny_package
import tiny_set
import torch
from onnx import TensorProto
from safetensors.torch import load_file

from foveate import models
from foveate.engines import WindowBatch
from foveate.engines import onnx as onnx_engine
from foveate.engines.pytorch import to_tensors
from foveate.errors import ExportError, OutputError, PackageError
from foveate.models import WEIGHTS
from foveate.nets import fold_batch_norm, sample_pieces
from foveate.training.export import (
    TOLERANCE,
    export,
    require_replaceable,
    round_to_half,
    verify,
)
from foveate.types import Decision

MANIFEST = replace(
    tiny_package.MANIFEST,
    contract=tiny_set.CONTRACT,
    decisions={code: Decision(threshold=0.5, minimum_area=4) for code in tiny_set.CONTRACT.lesions},
)
GRAPHS = ("global.onnx", "local.onnx")


@pytest.fixture(scope="module")
def network():
    return tiny_set.seeded()


@pytest.fixture(scope="module")
def exported(network, tmp_path_factory):
    """Return the folder of the tiny network's package, which must not be changed."""
    folder = tmp_path_factory.mktemp("export") / "package"
    export(network, MANIFEST, folder)
    return folder


@pytest.fixture
def package(exported, tmp_path):
    """Return a copy of it that may be changed."""
    return shutil.copytree(exported, tmp_path / "package")


def graph(folder, name):
    """Return a graph without reading the weight file."""
    return onnx.load(folder / name, load_external_data=False).graph


def pointer(tensor):
    return {entry.key: entry.value for entry in tensor.external_data}


def test_a_package_is_verified_and_loads(exported):
    loaded = models.load(exported)

    assert verify(exported) < TOLERANCE
    assert loaded.contract == tiny_set.CONTRACT
    assert {path.name for path in exported.iterdir()} == {"manifest.json", *models.FILES}
    assert [path.name for path in exported.parent.iterdir()] == ["package"]


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_hold_no_weights_of_their_own(exported, name):
    own = [t for t in graph(exported, name).initializer if t.data_location != TensorProto.EXTERNAL]

    assert (exported / name).stat().st_size < 50_000
    assert sum(math.prod(tensor.dims) for tensor in own) < 50  # shapes and the like


@pytest.mark.parametrize("name", GRAPHS)
def test_every_convolution_reads_its_weights_from_the_weight_file(exported, name):
    graph_ = graph(exported, name)
    external = {t.name: t for t in graph_.initializer if t.data_location == TensorProto.EXTERNAL}
    source = {node.output[0]: node.input[0] for node in graph_.node if node.op_type == "Cast"}
    convolutions = [node for node in graph_.node if node.op_type in ("Conv", "ConvTranspose")]
    stored, raw = load_file(exported / WEIGHTS), (exported / WEIGHTS).read_bytes()

    assert convolutions
    for weight, bias in (node.input[1:3] for node in convolutions):
        for read, kind in ((source.get(weight, weight), np.float16), (bias, np.float32)):
            place = pointer(external[read])
            start, length = int(place["offset"]), int(place["length"])
            expected = stored[read.removeprefix("network.").removesuffix(".half")].numpy()
            assert place["location"] == WEIGHTS
            assert expected.dtype == kind
            assert raw[start : start + length] == expected.tobytes()


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_do_not_reveal_the_machine_that_exported_them(exported, name):
    content = (exported / name).read_bytes()

    assert b".py" not in content
    assert str(Path(__file__).parents[1]).encode() not in content


def test_a_package_has_the_usual_permissions(exported, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("any")

    assert exported.stat().st_mode == (tmp_path / "folder").stat().st_mode
    for path in exported.iterdir():
        assert path.stat().st_mode == (tmp_path / "folder" / "file").stat().st_mode, path.name


@pytest.mark.parametrize("name", GRAPHS)
def test_normalisation_is_folded(exported, name):
    assert "BatchNormalization" not in {node.op_type for node in graph(exported, name).node}
    assert not any("running" in key for key in load_file(exported / WEIGHTS))


def random_batch(generator, shapes):
    """Return a batch of normally distributed numbers: windows, pieces, rows and columns of these shapes."""
    names = ("windows", "pieces", "rows", "columns")
    arrays = [generator.normal(size=shape).astype(np.float32) for shape in shapes]
    return WindowBatch(**dict(zip(names, arrays, strict=True)))


def by_torch(network, batch):
    """Return the probabilities that a network gives for a batch."""
    logits = network.forward_local(torch.from_numpy(batch.windows), to_tensors(batch))
    return logits.sigmoid().numpy()


@pytest.mark.parametrize(("count", "high", "wide"), [(1, 9, 9), (3, 5, 17), (5, 32, 2), (2, 1, 1)])
@torch.no_grad()
def test_number_of_windows_and_sides_of_pieces_are_free(exported, network, count, high, wide):
    generator = np.random.default_rng(count)
    shapes = ((count, 3, 32, 32), (count, 4, high, wide), (count, 32, high), (count, 32, wide))
    batch = random_batch(generator, shapes)

    probabilities = onnx_engine.open(models.load(exported), threads=1).run_local(batch)

    expected = by_torch(round_to_half(network), batch)
    np.testing.assert_allclose(probabilities, expected, atol=TOLERANCE)


@torch.no_grad()
def test_windows_of_any_multiple_of_the_contracts_step_are_accepted(network, tmp_path):
    manifest = replace(MANIFEST, contract=replace(tiny_set.CONTRACT, step=8))
    export(network, manifest, tmp_path / "package")
    engine = onnx_engine.open(models.load(tmp_path / "package"), threads=1)
    generator = np.random.default_rng(0)
    for count, tall, wide in ((1, 48, 40), (2, 32, 32), (1, 8, 96)):
        shapes = ((count, 3, tall, wide), (count, 4, 5, 9), (count, tall, 5), (count, wide, 9))
        batch = random_batch(generator, shapes)

        probabilities = engine.run_local(batch)

        expected = by_torch(round_to_half(network), batch)
        np.testing.assert_allclose(probabilities, expected, atol=TOLERANCE)


@torch.no_grad()
def test_a_fusion_that_corrects_is_exported_as_torch_has_it(tmp_path):
    network = tiny_set.seeded(tiny_set.correcting)
    torch.nn.init.normal_(network.fusion.layers[-1].weight)  # as if it had learned
    export(network, MANIFEST, tmp_path / "package")
    generator = np.random.default_rng(0)
    shapes = ((3, 3, 32, 32), (3, 4, 5, 9), (3, 32, 5), (3, 32, 9))
    batch = random_batch(generator, shapes)

    probabilities = onnx_engine.open(models.load(tmp_path / "package"), threads=1).run_local(batch)

    rounded = round_to_half(network)
    features, alone = rounded.local_net(torch.from_numpy(batch.windows))
    correction = rounded.fusion(features, sample_pieces(to_tensors(batch)))
    np.testing.assert_allclose(probabilities, (alone + correction).sigmoid().numpy(), atol=TOLERANCE)
    assert min(alone.abs().max(), correction.abs().max()) > 0.1  # or one of them would not be tested


def test_stored_weights_are_those_of_round_to_half(exported, network):
    stored, expected = load_file(exported / WEIGHTS), round_to_half(network).state_dict()

    assert stored.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(stored[name].float(), tensor, atol=0, rtol=0)


def test_round_to_half_changes_convolution_weights_only_and_not_the_network(network):
    before = copy.deepcopy(network.state_dict())
    exact, rounded = fold_batch_norm(network).state_dict(), round_to_half(network).state_dict()

    assert exact.keys() == rounded.keys()
    for name, tensor in exact.items():
        expected = (
            tensor.numpy().astype(np.float16).astype(np.float32) if tensor.ndim == 4 else tensor.numpy()
        )
        np.testing.assert_array_equal(rounded[name].numpy(), expected, err_msg=name)
    assert {tensor.ndim for tensor in exact.values()} == {1, 4}
    assert any(not torch.equal(exact[name], rounded[name]) for name in exact)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_flipped_byte_among_the_weights_is_refused_by_name(package):
    raw = bytearray((package / WEIGHTS).read_bytes())
    raw[-1] ^= 1
    (package / WEIGHTS).write_bytes(raw)

    with pytest.raises(PackageError, match=r"weights\.safetensors: was altered"):
        models.load(package)


@pytest.mark.parametrize("key", ["coarse", "probabilities"])
@pytest.mark.parametrize("wrong", [10 * TOLERANCE, np.nan])
def test_a_package_whose_example_differs_is_refused(package, key, wrong):
    with np.load(package / "example.npz") as example:
        changed = {name: example[name] for name in example.files}
    changed[key].flat[-1] += wrong
    np.savez_compressed(package / "example.npz", **changed)
    models.write_manifest(package, MANIFEST)

    with pytest.raises(ExportError, match="differ by"):
        verify(package)


def test_an_older_package_is_replaced_as_a_whole(package, network, exported):
    (package / "notes.txt").write_text("of the older one")
    before = models.load(package).digest

    export(network, replace(MANIFEST, version="2.0"), package)

    assert models.load(package).version == "2.0"
    assert models.load(package).digest != before
    assert {path.name for path in package.iterdir()} == {"manifest.json", *models.FILES}
    assert [path.name for path in package.parent.iterdir()] == ["package"]
    for name in models.FILES:  # the same network gives the same bytes
        assert (package / name).read_bytes() == (exported / name).read_bytes(), name


def test_a_package_that_cannot_be_verified_leaves_the_older_one_and_no_draft(package, network):
    wild = copy.deepcopy(network)
    with torch.no_grad():
        wild.fusion.layers[-1].weight.fill_(1e6)  # infinite in half precision
    before = models.load(package).digest

    with pytest.raises(ExportError):
        export(wild, MANIFEST, package)

    assert models.load(package).digest == before
    assert [path.name for path in package.parent.iterdir()] == ["package"]


def test_a_package_that_cannot_be_put_into_place_leaves_the_older_one(package, network, monkeypatch):
    before, real = models.load(package).digest, Path.rename

    def refuse(path, target):
        if path.name == "new":  # the second rename, after the older package was moved aside
            raise OSError(28, "No space left on device")
        return real(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OutputError, match=r"package: cannot be written .*free some"):
        export(network, replace(MANIFEST, version="2.0"), package)

    assert models.load(package).digest == before
    assert [path.name for path in package.parent.iterdir()] == ["package"]


def test_only_a_package_or_nothing_is_replaced(network, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    (tmp_path / "file").write_text("more of it")

    for name in ("thesis", "file"):
        with pytest.raises(ExportError, match=rf"{name}: already exists and is not a model package"):
            export(network, MANIFEST, tmp_path / name)

    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"
    assert (tmp_path / "file").read_text() == "more of it"


def test_a_folder_that_cannot_be_reached_is_refused_before_the_work(tmp_path):
    with pytest.raises(ExportError, match=r"aaa: cannot be reached \(File name too long\); check the path"):
        require_replaceable(tmp_path / ("a" * 300))
    require_replaceable(tmp_path / "new")


@pytest.mark.parametrize("folder", [".", "..", "new/..", "{here}"])
def test_the_folder_in_which_the_command_runs_is_refused_before_the_work(tmp_path, monkeypatch, folder):
    (tmp_path / "package" / "empty").mkdir(parents=True)
    (tmp_path / "package" / "manifest.json").write_text("{}")
    monkeypatch.chdir(tmp_path / "package" / "empty")
    folder = Path(folder.format(here=tmp_path / "package" / "empty"))

    with pytest.raises(
        ExportError, match="is the folder in which the command runs, which cannot be replaced"
    ):
        require_replaceable(folder)
    require_replaceable(Path("new"))
