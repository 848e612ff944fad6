"""What all tests share: where the real photographs lie, and how Hypothesis behaves."""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from starlette.testclient import TestClient

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


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model package, which the tests of a file share."""
    import tiny_package

    return tiny_package.build(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def client(model: Path, tmp_path_factory: pytest.TempPathFactory) -> "Iterator[TestClient]":
    """A server that the tests of a file share: each submits photographs of its own."""
    import tiny_server

    with tiny_server.running(tmp_path_factory.mktemp("server"), model) as client:
        yield client


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of a bucket of an S3 server of this machine, which ends with the tests."""
    reason = "needs foveate[cluster,dev]: s3fs and moto's server"
    pytest.importorskip("s3fs", reason=reason)
    server = pytest.importorskip("moto.server", reason=reason)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the server's own libraries
        running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        running.start()
    host, port = running.get_host_and_port()
    known = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in known.items():
            patch.setenv(name, value)
        import s3fs

        s3fs.S3FileSystem(skip_instance_cache=True).mkdir("eyes")
        yield "s3://eyes"
    running.stop()
