"""What all tests share: where the real photographs lie, and how Hypothesis behaves."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("here", deadline=None)  # a busy machine is no failing test
settings.register_profile("ci", deadline=None, derandomize=True)  # the same examples each time
settings.load_profile("ci" if os.environ.get("CI") else "here")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of IDRiD and other photographs, which no clone has: FOVEATE_DATA, or beside the project."""
    folder = Path(os.environ.get("FOVEATE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(
            f"no photographs at {folder}; set FOVEATE_DATA to the folder that holds idrid/ and graded/"
        )
    return folder
