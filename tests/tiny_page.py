"""Drive the page in a browser: start a server, delay the network, act as a person does, wait."""

import asyncio
import base64
import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from contextlib import contextmanager
from urllib.parse import urlsplit

from playwright import sync_api as playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

DESKTOP = {"width": 1180, "height": 640}
"""Wide enough for three columns, small enough to be quick without a graphics processor."""

TIMEOUT = 120
"""Seconds until what should appear counts as missing; long, since a busy machine must not fail a test."""

DROP = """([name, content]) => {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name));
  const options = {dataTransfer: transfer, bubbles: true, cancelable: true};
  for (const type of ["dragenter", "dragover", "drop"]) {
    document.body.dispatchEvent(new DragEvent(type, options));
  }
}"""
"""What a browser does when a file is dropped: Playwright has no function for it."""

COUNT_PIXELS = """() => {
  const canvas = document.getElementById("layer-canvas");
  const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let pixels = 0;
  for (let at = 3; at < data.length; at += 4) if (data[at]) pixels++;
  return pixels;
}"""


def command(*arguments):
    """Return the command line of foveate with some arguments."""
    return [sys.executable, "-m", "foveate", *map(str, arguments)]


@contextmanager
def serving(data, model, *more, token=None):
    """Yield the address of a server with some more options; it is stopped at the end."""
    options = ["serve", "--data", data, "--model", model, "--port", "0", *more]
    environment = os.environ if token is None else os.environ | {"FOVEATE_TOKEN": token}
    with subprocess.Popen(
        command(*options), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as server:
        try:
            line = server.stdout.readline()
            assert "http://" in line
            yield line[line.index("http://") :].split()[0].split("#")[0].rstrip("/")
        finally:
            server.terminate()
            server.wait(TIMEOUT)


@contextmanager
def chromium():
    """Yield a browser."""
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


def new_context(browser, **settings):
    """Return a context of a browser; its requests can be held, and its pages keep what events tell them."""
    context = browser.new_context(**{"viewport": DESKTOP, "reduced_motion": "reduce"} | settings)
    context.set_default_timeout(1000 * TIMEOUT)
    _intercept_requests(context)
    context.add_init_script(RECORD_EVENTS)
    return context


def _intercept_requests(context):
    """Have a context's requests intercepted from the first one on, so that a test can hold any later one.

    Chromium begins some time after it is asked to: a request that a test causes at once may still pass.
    """
    context.route("**/held-by-no-test", lambda route: route.fallback())


RECORD_EVENTS = """(() => {
  const {addEventListener} = EventSource.prototype;
  window.isConnected = false;
  window.toldPhotographs = [];
  EventSource.prototype.addEventListener = function (name, listener) {
    addEventListener.call(this, name, (event) => {
      listener(event);
      if (name === "hello") window.isConnected = true;
      if (name === "photograph") window.toldPhotographs.push(JSON.parse(event.data));
    });
  };
})();"""
"""Keeps whether the page's stream of events has begun, and the photographs of which events have told it."""


def until_connected(page):
    """Wait until the page's stream of events has begun: no event is repeated that came before."""
    until(page, "() => window.isConnected")


def change_elsewhere(page, at, fields):
    """Change fields of the photograph at an address, not through the page; wait until it has been told."""
    until_connected(page)
    page.evaluate("() => { window.toldPhotographs.length = 0; }")
    answer = page.request.patch(at, data=fields)
    assert answer.ok, answer.text()
    changed = {name: answer.json()[name] for name in ("id", *fields)}
    until_answer(
        page,
        lambda: page.evaluate("() => window.toldPhotographs"),
        lambda photographs: any(changed.items() <= told.items() for told in photographs),
    )
    until_laid_out(page)


def until_answer(page, ask, holds):
    """Ask again and again until the answer satisfies a condition; return it."""
    end = time.monotonic() + TIMEOUT
    while not holds(answer := ask()):
        assert time.monotonic() < end, f"not within {TIMEOUT} s; the last answer: {answer}"
        page.wait_for_timeout(50)  # Playwright handles held requests meanwhile
    return answer


def until_done(request, at):
    """Wait until the photograph at an address is analysed; return what the server says of it."""
    end = time.monotonic() + TIMEOUT
    while (told := request.get(f"{at}?wait=20").json())["state"] != "done":
        assert told["state"] != "failed", told
        assert time.monotonic() < end, told
    return told


@contextmanager
def delayed(address, seconds):
    """Yield an address at which a server's answers arrive so much later."""
    started = Future()
    proxy = threading.Thread(target=lambda: asyncio.run(_proxy(urlsplit(address).port, seconds, started)))
    proxy.start()
    loop, stop, port = started.result(TIMEOUT)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        proxy.join(TIMEOUT)


async def _proxy(port, seconds, started):
    async def connect(reader, writer):
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port)
        transports.update((writer.transport, server_writer.transport))
        with contextlib.suppress(OSError, RuntimeError, asyncio.CancelledError):  # one side has closed it
            await asyncio.gather(_forward(reader, server_writer, 0), _forward(server_reader, writer, seconds))
        writer.close()
        server_writer.close()

    transports = set()
    stop = asyncio.Event()
    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    started.set_result((asyncio.get_running_loop(), stop, server.sockets[0].getsockname()[1]))
    await stop.wait()
    server.close()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    for transport in transports:
        transport.abort()
    await asyncio.sleep(0.1)  # the loop closes the sockets


async def _forward(reader, writer, seconds):
    """Pass on what arrives, each part so much later."""
    loop = asyncio.get_running_loop()
    parts = asyncio.Queue()

    async def receive():
        content = b"."
        while content:
            content = await reader.read(1 << 16)
            parts.put_nowait((loop.time() + seconds, content))

    async def send():
        while True:
            due, content = await parts.get()
            await asyncio.sleep(due - loop.time())
            if not content:
                return writer.write_eof()
            writer.write(content)
            await writer.drain()

    await asyncio.gather(receive(), send())


def until(page, condition, argument=None, timeout=TIMEOUT):
    """Wait for a condition; Playwright's own `wait_for_function` needs what the page's policy forbids."""
    end = time.monotonic() + timeout
    while not page.evaluate(condition, argument):
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {condition}; {page.evaluate(SHOWN)}")
        time.sleep(0.05)


SHOWN = """() => {
  const photograph = window.foveate?.state.photograph;
  const message = document.getElementById("message")?.textContent;
  return `message '${message}', idle ${window.foveate?.isIdle()}, ${JSON.stringify(photograph)}`;
}"""
"""What the page says and shows, for the message of a test that waits in vain."""


STAYS = """async (holds) => {
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  for (const time of ["now", "afterwards"]) {
    await frame();
    await frame();
    if (!holds()) return false;
  }
  return true;
}"""
"""Whether a condition holds after two frames and two more: answers lead to requests at the next frame."""


def until_drawn(page):
    """Wait until all is drawn: layers are requested at the next frame, and drawn when they have arrived."""
    until(page, f"() => ({STAYS})(foveate.isIdle)")


def until_loaded(page, element):
    """Wait until the viewer in an element, by its identifier, has loaded and drawn what it shows."""
    until(page, f"(element) => ({STAYS})(() => ({IS_LOADED})(element))", element)


IS_LOADED = """(element) => {
  const world = OpenSeadragon.getViewer(element)?.world;
  return Boolean(world?.getItemCount()) && world.getItemAt(world.getItemCount() - 1).getFullyLoaded();
}"""


def until_laid_out(page):
    """Wait for two frames: what was changed has its place on the screen."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def drop(page, name, content):
    """Drop a file on the page."""
    page.evaluate(DROP, [name, base64.b64encode(content).decode()])


def drawn_pixels(page):
    """Return how many pixels of the screen the layers cover."""
    until_drawn(page)
    return page.evaluate(COUNT_PIXELS)


def set_threshold(page, code, level):
    """Move a lesion's threshold."""
    page.locator(f"#level-{code}").evaluate(
        "(slider, level) => { slider.value = level; slider.dispatchEvent(new Event('input')); }", level
    )


def on_screen(page, x, y):
    """Return where a point of the photograph lies on the screen."""
    until_laid_out(page)
    frame = page.locator("#layer-canvas").bounding_box()
    place = page.evaluate("() => foveate.viewer.placement()")
    return frame["x"] + place["x"] + x * place["scale"], frame["y"] + place["y"] + y * place["scale"]
