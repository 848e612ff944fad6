"""Paths are printed in one line, and files are hashed whole."""

import ast
import hashlib
import sys
import unicodedata
from pathlib import Path

import pytest

import foveate
from foveate import atomic_files, models, photographs
from foveate.client import Client
from foveate.cluster.event_log import open_event_log
from foveate.cluster.stores import FolderStore
from foveate.datasets import descriptions, dr_grades, folders, layouts, read_mask, splits
from foveate.errors import FoveateError
from foveate.evaluation.sources import read_map
from foveate.paths import display_path, file_digest, name_key, nfc, real_path


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("clinic/left eye.jpg", "clinic/left eye.jpg"),
        ("Ärzte/目.jpg", "Ärzte/目.jpg"),
        ("a\nb.jpg", r"'a\nb.jpg'"),
        ("caf\udce9.jpg", r"'caf\udce9.jpg'"),
    ],
)
def test_a_path_is_one_line_that_can_be_printed(path, text):
    assert display_path(path) == text
    display_path(path).encode()


def test_a_name_is_equal_in_any_unicode_form_and_has_one_key_in_any_case_as_well():
    name = "Straße é_01"
    decomposed = unicodedata.normalize("NFD", name)

    assert decomposed != name == nfc(decomposed) == nfc(name)
    assert name_key(name) == name_key(decomposed) == name_key(decomposed.upper())
    assert name_key(name) != name_key("Straße e_01")


def test_a_digest_is_the_sha_256_of_the_whole_file(tmp_path):
    content = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(content)

    assert file_digest(tmp_path / "file") == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    "use",
    [
        foveate.read,
        foveate.load,
        models.load,
        lambda path: photographs.list_files([str(path)]),
        lambda path: photographs.list_files([str(path / "*.png")]),
        lambda path: folders.cases(path, layouts.IDRID, "train"),
        descriptions.read,
        splits.read,
        dr_grades.list_photographs,
        lambda path: read_mask(path, (5, 5)),
        lambda path: read_map(path, (5, 5)),
        Client("http://127.0.0.1:9").submit,
        lambda path: FolderStore(path).read("run.json"),
        lambda path: list(FolderStore(path).list_files()),
        lambda path: open_event_log(str(path), "run").__enter__(),
        lambda path: atomic_files.write_file(path, b"x"),
        atomic_files.remove,
        atomic_files.require_writable,
    ],
)
def test_a_path_with_a_null_character_is_refused_like_any_other_that_cannot_exist(use):
    with pytest.raises(FoveateError, match=r"^.*a(\\x00|\x00)b.*: .*[;:] .*$"):
        use(Path("a\0b"))


def test_nothing_is_at_a_path_with_a_null_character(tmp_path):
    assert not photographs.holds_results(tmp_path / "a\0b")
    assert real_path(tmp_path / "a\0b") == f"{tmp_path}/a\0b"
    with pytest.raises(OSError, match="null character"):
        file_digest(tmp_path / "a\0b")


@pytest.mark.skipif(sys.platform == "win32", reason="on Windows, a name may hold half a character")
def test_a_path_with_half_a_character_is_one_that_cannot_exist(tmp_path):
    path = tmp_path / "a\ud800b"

    assert real_path(path) == str(path)
    for use in (lambda path: atomic_files.write_file(path, b"x"), foveate.read):
        with pytest.raises(
            FoveateError, match=r"a\\ud800b': cannot be .* \(it holds half a character\)[;:] "
        ):
            use(path)


PACKAGE = Path(foveate.__file__).parent

PATHS = {"path", "folder", "root", "base", "file", "out", "photograph", "draft", "ca_file"}
"""Names that a path has in a message."""

OTHERS = {"cli", "server", "client.py"}
"""Where paths are those of options, as the user has just typed them, or of routes."""


def raw_paths(source):
    """Yield the paths that an error message contains as they are, such as `{job.out}` or `{root / NAME}`."""
    for raised in ast.walk(ast.parse(source)):
        for part in ast.walk(raised) if isinstance(raised, ast.Raise) else ():
            if isinstance(part, ast.FormattedValue) and part.conversion == -1:
                value = part.value.left if isinstance(part.value, ast.BinOp) else part.value
                if getattr(value, "attr", getattr(value, "id", None)) in PATHS:
                    yield ast.unparse(part.value)


@pytest.mark.parametrize("value", ["path", "self.folder", "folder / NAME", "case.photograph"])
def test_a_path_that_an_error_prints_as_it_is_is_seen(value):
    assert list(raw_paths(f'raise Error(f"{{{value}}}: wrong")')) == [value]
    assert not list(raw_paths(f'raise Error(f"{{display_path({value})}}: wrong, {{{value}!r}}")'))


def test_an_error_prints_no_path_as_it_is():
    files = [path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] not in OTHERS]

    assert len(files) > 100
    assert {
        str(path): list(raw_paths(path.read_text())) for path in files if [*raw_paths(path.read_text())]
    } == {}
