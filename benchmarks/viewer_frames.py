"""How smoothly the page of foveate serve pans and zooms a photograph of 100 megapixels.

Run:    python benchmarks/viewer_frames.py PHOTOGRAPH [--megapixels 100] [--model NAME|FOLDER]
        python benchmarks/viewer_frames.py --at http://127.0.0.1:8000/#IDENTIFIER
Data:   any fundus photograph; it is enlarged to so many megapixels, noise is added, and it is looked at by
        the model, which takes some minutes and some 3 GB for 100; --at: one that a server holds already
Expect: a median frame interval of 33 ms or less

A server is started and Chromium opened; nothing of the photograph was shown before, so that each tile is
fetched, decoded and drawn while the picture moves, layers included. For five seconds each frame moves the
photograph along a spiral, from the whole to native size and back. Printed: the median and the 95th percentile
of the time between frames, the tiles that were fetched, the renderer that Chromium and the viewer used.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from playwright.sync_api import Page, sync_playwright

SCREEN = {"width": 1440, "height": 900}
PATIENCE = 1800
"""Seconds that the model may take."""

JOURNEY = """async () => {
  const {viewer} = foveate;
  const whole = viewer.place().scale;
  const intervals = [];
  const start = performance.now();
  let last = start;
  await new Promise((arrived) => {
    const frame = (now) => {
      intervals.push(now - last);
      last = now;
      const share = (now - start) / 5000;
      if (share >= 1) return arrived();
      const angle = 9 * share;
      viewer.panBy(16 * Math.cos(angle), 16 * Math.sin(angle));
      viewer.zoomTo(whole * (1 / whole) ** Math.sin(Math.PI * share)); // to 1:1 and back
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  });
  intervals.sort((one, other) => one - other);
  const context = document.createElement("canvas").getContext("webgl2");
  const about = context?.getExtension("WEBGL_debug_renderer_info");
  return {
    frames: intervals.length,
    median_ms: intervals[intervals.length >> 1],
    p95_ms: intervals[Math.floor(0.95 * intervals.length)],
    longest_ms: intervals.at(-1),
    drawer: viewer.drawer(),
    renderer: about ? context.getParameter(about.UNMASKED_RENDERER_WEBGL) : "no WebGL",
  };
}"""


def main() -> None:
    asked = _arguments()
    if asked.at:
        print(json.dumps(measured(asked.at), indent=1))
        return
    with tempfile.TemporaryDirectory() as folder:
        photograph = enlarged(asked.photograph, asked.megapixels, Path(folder) / "large.jpg")
        with _server(Path(folder) / "data", asked.model) as server:
            line = server.stdout.readline()
            address = line[line.index("http://") :].split()[0].rstrip("/")
            try:
                print(json.dumps(measured(f"{address}/#{submitted(address, photograph)}"), indent=1))
            finally:
                server.terminate()


def enlarged(path: Path, megapixels: float, out: Path) -> Path:
    """Write a photograph at another size, with noise, so that its tiles weigh what those of a camera do."""
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    factor = (megapixels * 1e6 / (pixels.shape[0] * pixels.shape[1])) ** 0.5
    large = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(0).integers(-6, 7, large.shape[:2], np.int8)
    for channel in range(3):  # one at a time: 100 megapixels are large
        lit = large[..., channel] > 20
        large[..., channel] = np.where(
            lit, cv2.add(large[..., channel].astype(np.int16), noise.astype(np.int16)), 0
        )
    cv2.imwrite(str(out), large, [cv2.IMWRITE_JPEG_QUALITY, 90])
    print(f"{large.shape[1]} x {large.shape[0]} px, {out.stat().st_size / 1e6:.0f} MB", file=sys.stderr)
    return out


def submitted(address: str, path: Path) -> str:
    """Submit a photograph, wait until it was looked at, and return its identifier."""
    photograph = _answered(address, "", path.read_bytes())
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        photograph = _answered(address, f"/{photograph['id']}?wait=30")
        if photograph["state"] == "done":
            return str(photograph["id"])
        if photograph["state"] == "failed":
            sys.exit(photograph["error"]["message"])
    sys.exit(f"not looked at within {PATIENCE} s")


def _answered(address: str, path: str, body: bytes | None = None) -> dict[str, Any]:
    headers = {"Content-Type": "image/jpeg", "Foveate-Name": "large.jpg"} if body else {}
    request = urllib.request.Request(f"{address}/api/photographs{path}", body, headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return dict(json.load(answer))


def measured(place: str) -> dict[str, object]:
    """Travel over a photograph that a server holds: at http://HOST:PORT/#IDENTIFIER."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("no chromium; install Debian's package of that name")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium)
        page = browser.new_page(viewport=SCREEN)
        page.goto(place)
        _until(page, "() => window.foveate?.desk.counts && foveate.still()", 60)
        fetched: list[str] = []
        page.context.on("request", lambda request: fetched.append(request.url))
        found = dict(page.evaluate(JOURNEY))
        found["tiles_fetched"] = sum("/tiles/" in url or "/stack/" in url for url in fetched)
        found["browser"] = browser.version
        browser.close()
    return found


def _until(page: Page, condition: str, patience: float) -> None:
    end = time.monotonic() + patience
    while not page.evaluate(condition):
        if time.monotonic() > end:
            sys.exit(f"still not: {condition}")
        time.sleep(0.05)


def _server(data: Path, model: str | None) -> "subprocess.Popen[str]":
    chosen = [] if model is None else ["--model", model]
    command = [sys.executable, "-m", "foveate", "serve", "--data", str(data), "--port", "0", *chosen]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photograph", type=Path, nargs="?")
    parser.add_argument("--at", metavar="ADDRESS", help="of a photograph that a server holds already")
    parser.add_argument("--megapixels", type=float, default=100)
    parser.add_argument("--model")
    asked = parser.parse_args()
    if (asked.photograph is None) == (asked.at is None):
        parser.error("give a photograph, or --at")
    return asked


if __name__ == "__main__":
    main()
