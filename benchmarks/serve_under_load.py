"""Measure how soon the server answers its page while many clients keep it busy, and whether it is right.

    python benchmarks/serve_under_load.py --out load.json

Sixteen clients submit two hundred photographs. Each is the given photograph with one square painted over, at
a position of its own, so that no two are the same. Meanwhile one more client requests what the page requests,
over and over. A tenth of the results is compared with what `foveate.load` finds in the same file.
"""

import argparse
import concurrent.futures
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

import foveate
from foveate.client import Client

CLIENTS, PHOTOGRAPHS = 16, 200
TIMEOUT = 7200.0
"""Seconds that one photograph may take, the queue included."""
PAGE_REQUESTS = {"page": "/", "list": "/api/photographs?limit=50", "server": "/api/server"}
PAUSE = 0.1
"""Seconds between two rounds of the page's requests."""


def main():
    options = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        paths = write_photographs(Path(folder) / "photographs", options.photograph, options.photographs)
        with serving(Path(folder) / "data", ["--model", options.model, *options.server_options]) as address:
            results, waits, seconds = measure(address, paths)
        wrong = wrong_results(options.model, dict(zip(paths, results, strict=True)))
    report = {
        "foveate": foveate.__version__,
        "model": options.model,
        "processors": len(os.sched_getaffinity(0)),
        "load": os.getloadavg(),
        "photographs": len(results),
        "different": len({result.response["sha256"] for result in results}),
        "wrong_among_every_tenth": wrong,
        "seconds": round(seconds, 1),
        "milliseconds": {
            name: {
                "median": round(1000 * statistics.median(values), 1),
                "p95": round(1000 * float(np.quantile(values, 0.95)), 1),
                "asked": len(values),
            }
            for name, values in waits.items()
        },
    }
    text = json.dumps(report, indent=2)
    options.out.write_text(text + "\n")
    print(text)


def _arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photograph", default="examples/IDRiD_376_small.jpg")
    parser.add_argument("--photographs", type=int, default=PHOTOGRAPHS)
    parser.add_argument("--model", default="idrid")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("server_options", nargs="*", help="options of foveate serve, after --")
    return parser.parse_args()


def write_photographs(folder, source, count):
    """Write different versions of a photograph; return their paths."""
    pixels = np.asarray(Image.open(source).convert("RGB"))
    folder.mkdir()
    paths = [folder / f"{number:03}.png" for number in range(count)]
    for number, path in enumerate(paths):
        Image.fromarray(with_square(pixels, number)).save(path, compress_level=1)
    return paths


def with_square(pixels, number):
    """Return a photograph with a bright square at the position of a number."""
    changed = pixels.copy()
    row, column = 300 + 20 * (number % 20), 500 + 20 * (number // 20)
    changed[row : row + 12, column : column + 12] = (250, 240, 120)
    return changed


@contextmanager
def serving(data, options):
    """Yield the address of a server; it is stopped at the end."""
    command = [sys.executable, "-m", "foveate", "serve", "--data", str(data), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().split()[-1].rstrip("/")
    finally:
        process.terminate()
        process.wait()


def measure(address, paths):
    """Submit all photographs; return their results, the page's waits by request, and the seconds it took."""
    client = Client(address, patience=TIMEOUT, timeout=600.0)
    waits, stop = {}, threading.Event()

    def analyse(path):
        return client.wait(client.submit(path).id, seconds=TIMEOUT)

    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(CLIENTS + 1) as pool:
        page = pool.submit(request_as_page, address, stop, waits)
        try:
            results = list(pool.map(analyse, paths))
        finally:
            stop.set()
        page.result()
    return results, waits, time.monotonic() - start


def request_as_page(address, stop, waits):
    """Request what the page requests until `stop` is set; add the seconds of each request to `waits`."""

    def request(name, route):
        start = time.monotonic()
        with urllib.request.urlopen(address + route, timeout=600) as response:
            content = response.read()
        waits.setdefault(name, []).append(time.monotonic() - start)
        return content

    while not stop.wait(PAUSE):
        for name, route in PAGE_REQUESTS.items():
            content = request(name, route)
            if name == "list":
                photographs = json.loads(content)["photographs"]
        analysed = [photograph["id"] for photograph in photographs if photograph["state"] == "done"]
        if analysed:
            request("tile", f"/api/photographs/{analysed[0]}/tiles/0/0_0.jpg")


def wrong_results(name, results):
    """Return the photographs, of every tenth, whose counts differ from those of `foveate.load`."""
    model = foveate.load(name)
    wrong = []
    for path in list(results)[:: max(1, len(results) // 10)]:
        regions = model.segment(foveate.read(path)).regions
        counts = {code: sum(region.lesion == code for region in regions) for code in results[path].lesions}
        if counts != {code: lesion.count for code, lesion in results[path].lesions.items()}:
            wrong.append(path.stem)
    return wrong


if __name__ == "__main__":
    main()
