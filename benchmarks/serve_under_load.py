"""How soon the server answers its page while many clients keep it busy; that it loses and mistakes nothing.

    python benchmarks/serve_under_load.py --out load.json

Sixteen clients submit two hundred photographs with two hundred different contents; meanwhile one asks, over
and over, for what the page asks for. Every photograph is the one given with one square painted over, at a
place of its own. Every tenth result is compared with what `foveate.load` finds in the same file.
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
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

import foveate
from foveate.client import Client

CLIENTS, PHOTOGRAPHS = 16, 200


@contextmanager
def serving(data, options):
    """Yield the address of a server."""
    command = [sys.executable, "-m", "foveate", "serve", "--data", str(data), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.wait()


def painted(pixels, seed):
    """Return the photograph with a square of its own."""
    changed = pixels.copy()
    row, column = 300 + 20 * (seed % 20), 500 + 20 * (seed // 20)
    changed[row : row + 12, column : column + 12] = (250, 240, 120)
    return changed


def asked(client, stop, waits):
    """Ask for what the page asks for until told to stop."""
    while not stop.wait(0.1):
        for name, where in (("page", "/"), ("list", "/api/photographs?limit=50"), ("server", "/api/server")):
            begun = time.monotonic()
            with client._answer("GET", where, None, {}) as answer:
                answer.read()
            waits.setdefault(name, []).append(time.monotonic() - begun)
        done = client._ask("GET", "/api/photographs?state=done&limit=1")["photographs"]
        if done:
            begun = time.monotonic()
            with client._answer(
                "GET", f"/api/photographs/{done[0]['id']}/tiles/0/0_0.jpg", None, {}
            ) as answer:
                answer.read()
            waits.setdefault("tile", []).append(time.monotonic() - begun)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photograph", default="examples/IDRiD_376_small.jpg")
    parser.add_argument("--photographs", type=int, default=PHOTOGRAPHS)
    parser.add_argument("--model", default="idrid-lite0")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("options", nargs="*", help="of foveate serve, after --")
    told = parser.parse_args()
    pixels = np.asarray(Image.open(told.photograph).convert("RGB"))
    waits, stop = {}, threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "photographs").mkdir()
        for seed in range(told.photographs):
            Image.fromarray(painted(pixels, seed)).save(
                place / "photographs" / f"{seed:03}.png", compress_level=1
            )
        with serving(place / "data", ["--model", told.model, *told.options]) as address:
            client = Client(address, patience=7200.0, timeout=600.0)

            def send(path):
                return path.stem, client.wait(client.submit(path).id, seconds=7200.0)

            begun = time.monotonic()
            with concurrent.futures.ThreadPoolExecutor(CLIENTS + 1) as pool:
                asking = pool.submit(asked, client, stop, waits)
                found = dict(pool.map(send, sorted((place / "photographs").iterdir())))
                stop.set()
                asking.result()
            seconds = time.monotonic() - begun
        model = foveate.load(told.model)
        wrong = []
        for name, one in list(found.items())[:: max(1, len(found) // 10)]:
            result = model.segment(foveate.read(place / "photographs" / f"{name}.png"))
            counted = {
                code: sum(region.lesion == code for region in result.regions) for code in result.lesions
            }
            if counted != {code: lesion.count for code, lesion in one.lesions.items()}:
                wrong.append(name)
    answer = {
        "foveate": foveate.__version__,
        "model": told.model,
        "processors": len(os.sched_getaffinity(0)),
        "load": os.getloadavg(),
        "photographs": len(found),
        "different": len({one.told["sha256"] for one in found.values()}),
        "wrong_among_every_tenth": wrong,
        "seconds": round(seconds, 1),
        "milliseconds": {
            name: {
                "median": round(1000 * statistics.median(taken), 1),
                "p95": round(1000 * float(np.quantile(taken, 0.95)), 1),
                "asked": len(taken),
            }
            for name, taken in waits.items()
        },
    }
    told.out.write_text(json.dumps(answer, indent=2) + "\n")
    print(json.dumps(answer, indent=2))


if __name__ == "__main__":
    main()
