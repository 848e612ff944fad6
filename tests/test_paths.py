"""Paths are printed in one line, and files are hashed whole."""

import hashlib

import pytest

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
