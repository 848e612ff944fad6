"""Fixtures of all tests: the real photographs, a tiny model, a server and a bucket."""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from starlette.testclient import TestClient

settings.register_profile("local", deadline=None)  # a busy machine is no failure
settings.register_profile("ci", deadline=None, derandomize=True)  # the same examples each time
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of IDRiD and other photographs: FOVEATE_DATA, or shared/data beside the project."""
    folder = Path(os.environ.get("FOVEATE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(
            f"no photographs at {folder}; set FOVEATE_DATA to the folder that holds idrid/ and graded/"
        )
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny model package, which the tests of a file share."""
    import tiny_package

    return tiny_package.build(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def client(model: Path, tmp_path_factory: pytest.TempPathFactory) -> "Iterator[TestClient]":
    """Run a server that the tests of a file share; each test submits photographs of its own."""
    import tiny_server

    with tiny_server.running(tmp_path_factory.mktemp("server"), model) as client:
        yield client


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Run a browser that the tests of a file share."""
    import tiny_page

    with tiny_page.chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """Run a local S3 server for the tests, and return the address of a bucket."""
    reason = "needs foveate[cluster,dev]: s3fs and moto's server"
    pytest.importorskip("s3fs", reason=reason)
    server = pytest.importorskip("moto.server", reason=reason)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from the server's own libraries
        running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        running.start()
    host, port = running.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        import s3fs

        s3fs.S3FileSystem(skip_instance_cache=True).mkdir("eyes")
        yield "s3://eyes"
    running.stop()
