"""Measure how smoothly the page of foveate serve pans, zooms and changes thresholds at 100 megapixels.

Run:    python benchmarks/viewer_frames.py PHOTOGRAPH [--megapixels 100] [--model NAME|FOLDER]
        python benchmarks/viewer_frames.py --at http://127.0.0.1:8000/#IDENTIFIER
Data:   any fundus photograph; it is enlarged to so many megapixels, noise is added, and the model analyses
        it, which takes some minutes and 3 GB for 100 megapixels; --at: one that a server holds already
Expect: a median frame interval of 33 ms or less; outlines and counts of a moved threshold within 50 ms in
        95 of 100 steps

The benchmark starts a server and opens Chromium. No tile has been shown before: each is fetched, decoded and
drawn while the photograph moves, layers included. For five seconds each frame moves the photograph along a
spiral, from the whole photograph to native size and back. Printed are the median and the 95th percentile of
the time between frames, the number of tiles, and the renderer that Chromium and the viewer used. Then the
threshold of each lesion is dragged over the whole photograph in steps of one level; the time from a step to
the frame that shows its outlines and counts is printed.
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
ANALYSIS_TIMEOUT = 1800
"""Seconds that the model may take."""

SPIRAL = """async () => {
  const {viewer} = foveate;
  const whole = viewer.placement().scale;
  const intervals = [];
  const start = performance.now();
  let last = start;
  await new Promise((done) => {
    const frame = (now) => {
      intervals.push(now - last);
      last = now;
      const share = (now - start) / 5000;
      if (share >= 1) return done();
      const angle = 9 * share;
      viewer.panBy(16 * Math.cos(angle), 16 * Math.sin(angle));
      viewer.zoomTo(whole * (1 / whole) ** Math.sin(Math.PI * share)); // to 1:1 and back
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  });
  intervals.sort((a, b) => a - b);
  const context = document.createElement("canvas").getContext("webgl2");
  const info = context?.getExtension("WEBGL_debug_renderer_info");
  return {
    frames: intervals.length,
    median_ms: intervals[intervals.length >> 1],
    p95_ms: intervals[Math.floor(0.95 * intervals.length)],
    longest_ms: intervals.at(-1),
    drawer: viewer.drawer(),
    renderer: info ? context.getParameter(info.UNMASKED_RENDERER_WEBGL) : "no WebGL",
  };
}"""

DRAG = """async () => {
  const frame = () => new Promise(requestAnimationFrame);
  document.querySelector("#zoom-fit").click();
  await frame();
  while (!foveate.isIdle()) await frame();
  const times = [];
  for (const slider of document.querySelectorAll("#lesions input[type=range].threshold")) {
    const from = Number(slider.value);
    for (let step = 1; step <= 25; step++) {
      const start = performance.now();
      slider.value = from + step;
      slider.dispatchEvent(new Event("input", { bubbles: true }));
      do await frame();
      while (foveate.layers.pending() > 0);
      times.push(performance.now() - start);
    }
  }
  times.sort((a, b) => a - b);
  return {
    threshold_steps: times.length,
    threshold_median_ms: times[times.length >> 1],
    threshold_p95_ms: times[Math.floor(0.95 * times.length)],
    threshold_longest_ms: times.at(-1),
  };
}"""


def main() -> None:
    options = _arguments()
    if options.at:
        print(json.dumps(measure(options.at), indent=1))
        return
    with tempfile.TemporaryDirectory() as folder:
        photograph = enlarge(options.photograph, options.megapixels, Path(folder) / "large.jpg")
        with _server(Path(folder) / "data", options.model) as server:
            line = server.stdout.readline()
            address = line[line.index("http://") :].split()[0].rstrip("/")
            try:
                print(json.dumps(measure(f"{address}/#{submit(address, photograph)}"), indent=1))
            finally:
                server.terminate()


def enlarge(path: Path, megapixels: float, out: Path) -> Path:
    """Write a photograph at another size, with noise, so that its tiles are as large as those of a camera."""
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    factor = (megapixels * 1e6 / (pixels.shape[0] * pixels.shape[1])) ** 0.5
    large = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(0).integers(-6, 7, large.shape[:2], np.int8)
    for channel in range(3):  # one by one: 100 megapixels take much memory
        bright = large[..., channel] > 20
        large[..., channel] = np.where(
            bright, cv2.add(large[..., channel].astype(np.int16), noise.astype(np.int16)), 0
        )
    cv2.imwrite(str(out), large, [cv2.IMWRITE_JPEG_QUALITY, 90])
    print(f"{large.shape[1]} x {large.shape[0]} px, {out.stat().st_size / 1e6:.0f} MB", file=sys.stderr)
    return out


def submit(address: str, path: Path) -> str:
    """Submit a photograph, wait until it has been analysed, and return its identifier."""
    photograph = _request(address, "", path.read_bytes())
    end = time.monotonic() + ANALYSIS_TIMEOUT
    while time.monotonic() < end:
        photograph = _request(address, f"/{photograph['id']}?wait=30")
        if photograph["state"] == "done":
            return str(photograph["id"])
        if photograph["state"] == "failed":
            sys.exit(photograph["error"]["message"])
    sys.exit(f"not analysed within {ANALYSIS_TIMEOUT} s")


def _request(address: str, path: str, body: bytes | None = None) -> dict[str, Any]:
    headers = {"Content-Type": "image/jpeg", "Foveate-Name": "large.jpg"} if body else {}
    request = urllib.request.Request(f"{address}/api/photographs{path}", body, headers)
    with urllib.request.urlopen(request, timeout=ANALYSIS_TIMEOUT) as answer:
        return dict(json.load(answer))


def measure(address: str) -> dict[str, object]:
    """Measure the frames of a photograph that a server holds, at http://HOST:PORT/#IDENTIFIER."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("no chromium; install Debian's package of that name")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium)
        page = browser.new_page(viewport=SCREEN)
        page.goto(address)
        _until(page, "() => window.foveate?.state.view?.counts && foveate.isIdle()", 60)
        urls: list[str] = []
        page.context.on("request", lambda request: urls.append(request.url))
        figures = dict(page.evaluate(SPIRAL))
        figures["tiles_fetched"] = sum("/tiles/" in url or "/stack/" in url for url in urls)
        figures |= page.evaluate(DRAG)
        figures["browser"] = browser.version
        browser.close()
    return figures


def _until(page: Page, condition: str, timeout: float) -> None:
    end = time.monotonic() + timeout
    while not page.evaluate(condition):
        if time.monotonic() > end:
            sys.exit(f"not within {timeout} s: {condition}")
        time.sleep(0.05)


def _server(data: Path, model: str | None) -> "subprocess.Popen[str]":
    model_options = [] if model is None else ["--model", model]
    command = [sys.executable, "-m", "foveate", "serve", "--data", str(data), "--port", "0", *model_options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photograph", type=Path, nargs="?")
    parser.add_argument("--at", metavar="ADDRESS", help="address of a photograph that a server holds already")
    parser.add_argument("--megapixels", type=float, default=100)
    parser.add_argument("--model")
    options = parser.parse_args()
    if (options.photograph is None) == (options.at is None):
        parser.error("give a photograph, or --at")
    return options


if __name__ == "__main__":
    main()
