"""Paths are printed in one line, and files are hashed whole."""

import ast
import hashlib
from pathlib import Path

import pytest

import foveate
from foveate.paths import display_path, file_digest


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


def test_a_digest_is_the_sha_256_of_the_whole_file(tmp_path):
    content = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(content)

    assert file_digest(tmp_path / "file") == hashlib.sha256(content).hexdigest()


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
