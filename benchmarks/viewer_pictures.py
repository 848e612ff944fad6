"""Make the pictures of the viewer for the documentation, with the shipped model and the example photographs.

Run:    python benchmarks/viewer_pictures.py docs/pictures
Data:   examples/
Expect: docs/pictures/viewer.jpg, viewer-dark.jpg, viewer-grid.jpg
Cost:   a minute; needs Debian's chromium

The page shows IDRiD_339: its exudates at native size; a haemorrhage in red-free light beside the untouched
photograph, on a dark page; and the ETDRS grid with the burden of each subfield.
"""

import argparse
import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser, Locator, Page, sync_playwright

EXAMPLES = Path(__file__).parent.parent / "examples"
PHOTOGRAPHS = ("IDRiD_376_small.jpg", "IDRiD_226.jpg", "IDRiD_339.jpg")
"""In the order in which they are submitted; the last one is shown."""

SCREEN = {"width": 1440, "height": 860}
QUALITY = 85
TIMEOUT = 120


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("out", type=Path, help="folder of the pictures")
    out = options.parse_args().out
    chromium = shutil.which("chromium") or sys.exit("no chromium; install Debian's package of that name")
    with tempfile.TemporaryDirectory() as data, _server(Path(data)) as address, sync_playwright() as driver:
        for name in PHOTOGRAPHS:
            shown = submit(address, EXAMPLES / name)
        browser = driver.chromium.launch(executable_path=chromium)
        for name, theme, arrange in (
            ("viewer", "light", at_native_size),
            ("viewer-dark", "dark", beside_the_untouched),
            ("viewer-grid", "light", with_the_grid),
        ):
            picture = take(browser, f"{address}/#{shown}", theme, arrange)
            picture.save(out / f"{name}.jpg", quality=QUALITY, optimize=True)
        browser.close()


@contextmanager
def _server(data: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "foveate", "serve", "--data", str(data), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            yield line[line.index("http://") :].split()[0].split("#")[0].rstrip("/")
        finally:
            server.terminate()


def submit(address: str, path: Path) -> str:
    """Submit a photograph, wait until it is predicted, and return its identifier."""
    headers = {"Content-Type": "image/jpeg", "Foveate-Name": path.name}
    request = urllib.request.Request(f"{address}/api/photographs", path.read_bytes(), headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        identifier = str(json.load(answer)["id"])
    while True:
        with urllib.request.urlopen(f"{address}/api/photographs/{identifier}?wait=30") as answer:
            photograph = json.load(answer)
        if photograph["state"] == "done":
            return identifier
        if photograph["state"] == "failed":
            sys.exit(photograph["error"]["message"])


def take(
    browser: Browser, address: str, theme: Literal["light", "dark"], arrange: Callable[[Page], None]
) -> Image.Image:
    """Open the page, arrange it and return a picture of it."""
    page = browser.new_page(viewport=SCREEN, color_scheme=theme)
    page.goto(address)
    _until(page, "() => window.foveate?.state.view?.counts && foveate.isIdle()")
    arrange(page)
    _until(page, "() => foveate.isIdle()")
    page.wait_for_timeout(1500)  # movements of the view have come to rest
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    page.close()
    return picture


def at_native_size(page: Page) -> None:
    """Show the largest exudate at native size."""
    _regions(page, "EX").first.click()
    page.locator("#zoom-native").click()


def beside_the_untouched(page: Page) -> None:
    """Show a haemorrhage in red-free light, the untouched photograph beside it, and question it."""
    page.keyboard.press("r")
    page.locator("#side-by-side").click()
    _regions(page, "HE").first.click()
    page.locator("#questionable").click()


def with_the_grid(page: Page) -> None:
    """Show the whole field with the grid and the table of its fields."""
    page.locator("#zoom-fit").click()
    page.keyboard.press("g")
    _until(page, "() => document.querySelectorAll('#grid-table tbody tr').length === 10")
    page.locator("#grid-table").scroll_into_view_if_needed()


def _regions(page: Page, lesion: str) -> Locator:
    return page.locator("#regions .region").filter(has_text=f"{lesion} ")


def _until(page: Page, condition: str) -> None:
    end = time.monotonic() + TIMEOUT
    while not page.evaluate(condition):
        if time.monotonic() > end:
            sys.exit(f"not within {TIMEOUT} s: {condition}")
        time.sleep(0.1)


if __name__ == "__main__":
    main()
