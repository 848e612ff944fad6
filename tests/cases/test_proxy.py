"""Behind nginx: the lines of docs/serve.md work, below a sub-path too; its defaults are explained."""

import http.client
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import tiny_package
from test_server_processes import serving

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")

DOCUMENTED = Path(__file__).parents[2] / "docs" / "serve.md"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def nginx(folder, location):
    """Yield the port of an nginx with one location."""
    port = free_port()
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log off; {temporary}\n server {{ listen 127.0.0.1:{port};\n {location}\n }} }}\n"
    )
    process = subprocess.Popen([NGINX, "-c", str(config), "-e", str(folder / "error.log")])
    try:
        until = time.monotonic() + 10
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=10)


def documented_location(address):
    """Return the location block of docs/serve.md, with the server's address."""
    text = DOCUMENTED.read_text()
    block = text[text.index("location /foveate/ {") :]
    block = block[: block.index("}") + 1]
    assert "http://127.0.0.1:8000/" in block
    return block.replace("http://127.0.0.1:8000/", address)


def ask(port, method, path, body=None, headers=None):
    """Send what a browser at the proxy's address sends; return status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    sent = {"Origin": f"http://127.0.0.1:{port}", **(headers or {})}
    connection.request(method, path, body, sent)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, content


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    with serving(folder / "data", tiny_package.build(folder / "tiny")) as (_, address):
        yield address


def test_the_documented_lines_serve_page_and_uploads_below_a_sub_path(address, tmp_path):
    photograph = tiny_package.photograph(tmp_path / "eye.png", diameter=900).read_bytes()
    padded = photograph + bytes(2_000_000)  # nginx's default takes 1 MB
    upload = {"Content-Type": "image/png", "Foveate-Name": "eye.png"}

    with nginx(tmp_path, documented_location(address)) as port:
        page = ask(port, "GET", "/foveate/")
        script = ask(port, "GET", "/foveate/page/js/main.js")
        submitted = ask(port, "POST", "/foveate/api/photographs", padded, upload)

    assert (page[0], script[0], submitted[0]) == (200, 200, 201), submitted[1]
    assert b'src="page/js/main.js"' in page[1]  # relative: the browser asks below the sub-path


def test_with_nginx_s_defaults_the_page_loads_and_says_what_is_wrong(address, tmp_path):
    root = "{0.scheme}://{0.netloc}".format(urlsplit(address))
    upload = {"Content-Type": "image/png", "Foveate-Name": "eye.png"}

    with nginx(tmp_path, f"location / {{ proxy_pass {root}; }}") as port:
        script = ask(port, "GET", "/page/js/main.js")
        refused = ask(port, "POST", "/api/photographs", b"x", upload)

    assert script[0] == 200
    assert refused[0] == 403
    assert b"a proxy must pass on the browser's Host header" in refused[1]
