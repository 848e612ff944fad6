"""Kill the server, kill its workers and fill its disk, again and again under load, and look what is lost.

    python benchmarks/server_endurance.py --folder endurance --out endurance.jsonl

Each round of a scene starts `foveate serve`, lets clients upload, correct and read, and does one harm in
the middle: `kill -9` of the server, `kill -9` of one of its workers, or a disk that is filled to the last
page and freed some seconds later. Then the server is stopped by SIGTERM, still under load, and started again.
All that was ever answered with success must be there, with the same bytes, and every photograph must end as
done.

A line of JSON is written for each round; a run that was interrupted goes on with the next round. The disk is
a tmpfs in a mount namespace of its own (`unshare`, Linux), so that only the server under test meets it full.
The exit status is 1 if anything was lost, wrong, stuck or slow to stop.
"""

import argparse
import collections
import hashlib
import http.client
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import tiny_package  # noqa: E402

SCENES = ("server", "worker", "disk")
UPLOADERS, READERS = 4, 2
LOAD_SECONDS = (1.0, 3.0)
"""Load before the harm, and again after it: at least, at most."""
FULL_SECONDS = 3.0
"""For which the disk stays full."""
DISK_BYTES = 640 << 20
"""The server takes uploads while 512 MB are free."""
PATIENCE = 180.0
"""Seconds in which all photographs must be done after a round."""
STOP_SECONDS = 5.0
MUST_BE_ZERO = ("lost", "wrong", "stuck", "failed", "unreadable", "orphans", "workers_left")


def main():
    options = _arguments()
    options.folder.mkdir(parents=True, exist_ok=True)
    if "disk" in options.scenes and not options.inside:
        sys.exit(subprocess.call(["unshare", "--user", "--map-root-user", "--mount", *_again()]))
    model = options.model or options.folder / "tiny"
    if not model.exists():
        tiny_package.build(model)
    rounds = (
        [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    )
    for scene in options.scenes:
        finished = sum(each["scene"] == scene for each in rounds)
        if finished < options.rounds:
            rounds += run(scene, range(finished, options.rounds), model, options)
    print(json.dumps(summary(rounds), indent=2))
    sys.exit(any(not is_good(each) for each in rounds))


def _arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="for the data folders")
    parser.add_argument("--out", type=Path, required=True, help="a line of JSON for each round")
    parser.add_argument("--rounds", type=int, default=20, help="of each scene: 20")
    parser.add_argument("--scenes", nargs="+", choices=SCENES, default=SCENES)
    parser.add_argument("--model", type=Path, help="the test suite's tiny model if not given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _again():
    return [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:], "--inside"]


def is_good(entry):
    """Say whether a round has lost nothing and stopped in time."""
    return not any(entry[key] for key in MUST_BE_ZERO) and entry["stop_seconds"] < STOP_SECONDS


def summary(rounds):
    """Return the figures of each scene."""
    figures = {}
    for scene in SCENES:
        entries = [each for each in rounds if each["scene"] == scene]
        if entries:
            answers = sum((collections.Counter(each["answers"]) for each in entries), collections.Counter())
            figures[scene] = {
                "rounds": len(entries),
                "good": sum(map(is_good, entries)),
                "photographs": entries[-1]["accepted"],
                "edits": entries[-1]["edits"],
                "answers": dict(sorted(answers.items())),
                "slowest_stop_seconds": max(each["stop_seconds"] for each in entries),
                **{key: sum(each[key] for each in entries) for key in MUST_BE_ZERO},
            }
    return figures


def run(scene, numbers, model, options):
    """Run the rounds of a scene; return what each came to."""
    folder = options.folder / scene
    if scene == "disk" or numbers.start == 0:  # a tmpfs ends with its namespace
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    if scene == "disk":
        size = f"size={DISK_BYTES}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], check=True)
    ledger, entries = Ledger(options.folder / f"{scene}.json", anew=scene == "disk" or numbers.start == 0), []
    server = Server(folder / "data", model)
    try:
        for number in numbers:
            entry = {
                "scene": scene,
                "round": number,
                **one_round(scene, server, ledger, options.seed + number),
            }
            entries.append(entry)
            with options.out.open("a") as file:
                file.write(json.dumps(entry) + "\n")
            print(json.dumps(entry), flush=True)
    finally:
        server.kill()
    return entries


def one_round(scene, server, ledger, seed):
    """Load the server, do one harm, stop it, start it again, and check all that was ever accepted."""
    draw = random.Random(seed)
    if server.process is None:
        server.start()
    with load(server, ledger, seed) as answers:
        time.sleep(draw.uniform(*LOAD_SECONDS))
        harmed = HARMS[scene](server, draw)
        time.sleep(draw.uniform(*LOAD_SECONDS))
        workers = workers_of(server.process.pid)
        stop_seconds = server.stop()
    workers_left = sum(map(is_running, workers))
    server.start()
    checked = check(server, ledger)
    ledger.save()
    return {
        "harm": harmed,
        "answers": dict(sorted(answers.items())),
        "stop_seconds": round(stop_seconds, 2),
        "workers_left": workers_left,
        **checked,
    }


class Ledger:
    """What the server has accepted: photographs by identifier, with their bytes' digest and corrections."""

    def __init__(self, path, *, anew):
        self.path, self.lock = path, threading.Lock()
        self.photographs = {} if anew or not path.exists() else json.loads(path.read_text())

    def save(self):
        self.path.write_text(json.dumps(self.photographs))

    def add(self, identifier, content):
        with self.lock:
            digest = hashlib.sha256(content).hexdigest()
            self.photographs[identifier] = {"sha256": digest, "revision": 0, "reviewed": False}

    def any(self, draw):
        with self.lock:
            return draw.choice(list(self.photographs)) if self.photographs else None


class Server:
    """`foveate serve` on a data folder."""

    def __init__(self, data, model):
        self.data, self.process, self.address = data, None, None
        options = ["--model", model, "--engine", "onnx", "--threads", "1", "--data", data, "--port"]
        self.command = [sys.executable, "-m", "foveate", "serve", *map(str, options)]

    def start(self):
        """Start it, at the same port as before, and wait until it says so."""
        port = self.address[1] if self.address else 0
        self.process = subprocess.Popen([*self.command, str(port)], stdout=subprocess.PIPE, text=True)
        url = urlsplit(self.process.stdout.readline().split()[-1])
        self.address = (url.hostname, url.port)

    def stop(self):
        """Stop it by SIGTERM; return the seconds it takes."""
        start = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(60)
        seconds = time.monotonic() - start
        self.kill()
        return seconds

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.process = None

    def ask(self, method, path, body=None, kind="application/json"):
        """Return the status and the body of an answer; status 0 where there is none."""
        connection = http.client.HTTPConnection(*self.address, timeout=60)
        try:
            content = json.dumps(body).encode() if isinstance(body, dict) else body
            connection.request(method, path, content, {"Content-Type": kind} if content else {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    def read(self, path):
        """Return the JSON of an answer that must succeed."""
        status, content = self.ask("GET", path)
        assert status == 200, (path, status, content)
        return json.loads(content)


@contextmanager
def load(server, ledger, seed):
    """Keep clients busy until the block ends; yield how often each status was answered."""
    answers, stop = collections.Counter(), threading.Event()

    def repeat(act, draw):
        while not stop.wait(0.02):
            status = act(server, ledger, draw)
            if status is not None:
                with ledger.lock:
                    answers[str(status)] += 1
            if status == 0:
                stop.wait(0.2)

    acts = [upload] * UPLOADERS + [correct] + [look] * READERS
    threads = [
        threading.Thread(target=repeat, args=(act, random.Random(100 * seed + number)))
        for number, act in enumerate(acts)
    ]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def upload(server, ledger, draw):
    """Upload a photograph that is like no other."""
    content = io.BytesIO()
    pixels = tiny_package.fundus(seed=draw.getrandbits(30))
    pixels[128, 128] = [draw.randrange(100, 140) for _ in range(3)]
    Image.fromarray(pixels).save(content, "PNG")
    status, answer = server.ask("POST", "/api/photographs", content.getvalue(), "image/png")
    if status == 201:
        ledger.add(json.loads(answer)["id"], content.getvalue())
    return status


def correct(server, ledger, draw):
    """Draw a stroke on a photograph, and mark it as reviewed."""
    identifier = ledger.any(draw)
    if identifier is None:
        return None
    path, point = f"/api/photographs/{identifier}", [draw.uniform(50, 200), draw.uniform(50, 200)]
    stroke = {"lesion": "EX", "tool": "brush", "diameter": 9, "points": [point], "author": "AB"}
    status, answer = server.ask("POST", f"{path}/corrections/strokes", stroke)
    if status == 200:
        ledger.photographs[identifier]["revision"] = json.loads(answer)["revision"]
        if server.ask("PATCH", path, {"reviewed": True})[0] == 200:
            ledger.photographs[identifier]["reviewed"] = True
    return status


def look(server, ledger, draw):
    """Read what a page reads."""
    identifier = ledger.any(draw)
    if identifier is None:
        return None
    paths = ("", "/tiles/0/0_0.jpg", "/thumbnail.jpg", "/counts", "/stack/corrected/0/0_0.png", "/download")
    return server.ask("GET", f"/api/photographs/{identifier}{draw.choice(paths)}")[0]


def kill_server(server, draw):
    server.kill()
    server.start()
    return "server"


def kill_worker(server, draw):
    workers = sorted(workers_of(server.process.pid))
    victim = draw.randrange(len(workers))
    with suppress(ProcessLookupError):
        os.kill(workers[victim], signal.SIGKILL)
    return f"worker {victim}"


def fill_disk(server, draw):
    """Fill the disk to the last page, and free it again."""
    filler = server.data.parent / "filler"
    with filler.open("wb") as file:
        end = time.monotonic() + FULL_SECONDS
        while time.monotonic() < end:  # what the server frees is taken as well
            take_all(file)
            time.sleep(0.01)
        size = file.seek(0, os.SEEK_END)
    filler.unlink()
    return f"disk, filled with {size >> 20} MB"


def take_all(file):
    """Let a file grow by all that its disk has free, to a page."""
    part = 1 << 30
    while part >= 4096:
        try:
            os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), part)
        except OSError:
            part //= 2


HARMS = {"server": kill_server, "worker": kill_worker, "disk": fill_disk}


def check(server, ledger):
    """Wait until all photographs are done, and compare them with what was accepted."""
    end = time.monotonic() + PATIENCE
    while True:
        photographs = everything(server)
        waiting = [each for each in photographs.values() if each["state"] in {"queued", "running"}]
        if not waiting or time.monotonic() > end:
            break
        time.sleep(0.2)
    kept = {
        identifier: photographs[identifier] for identifier in ledger.photographs if identifier in photographs
    }
    folders = {path.name for path in (server.data / "photographs").iterdir()}
    leftovers = len(list((server.data / "incoming").iterdir()))
    return {
        "accepted": len(ledger.photographs),
        "edits": sum(each["revision"] for each in ledger.photographs.values()),
        "lost": len(ledger.photographs) - len(kept),
        "stuck": len(waiting),
        "failed": sum(each["state"] == "failed" for each in photographs.values()),
        "wrong": sum(is_wrong(photograph, ledger.photographs[name]) for name, photograph in kept.items()),
        "orphans": len(folders ^ set(photographs)) + leftovers,
        "unreadable": sum(not is_readable(server, name) for name in list(photographs)[-10:]),
    }


def everything(server):
    """Return all photographs by identifier."""
    photographs, total = {}, 1
    while len(photographs) < total:
        answer = server.read(f"/api/photographs?limit=1000&offset={len(photographs)}")
        photographs |= {each["id"]: each for each in answer["photographs"]}
        total = answer["total"]
    return photographs


def is_wrong(photograph, accepted):
    """Say whether a photograph is another than was sent, or lacks an edit that was answered."""
    revision = photograph["result"]["revision"] if photograph["result"] else 0
    return (
        photograph["sha256"] != accepted["sha256"]
        or revision < accepted["revision"]
        or photograph["reviewed"] < accepted["reviewed"]
    )


def is_readable(server, identifier):
    """Say whether a photograph's files can be had."""
    paths = ("tiles/0/0_0.jpg", "thumbnail.jpg", "maps/EX/0/0_0.png", "corrections", "download")
    return all(server.ask("GET", f"/api/photographs/{identifier}/{path}")[0] in {200, 204} for path in paths)


def workers_of(number):
    """Return the processes that a process has started."""
    children = set()
    for place in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(place.read_text().rpartition(")")[2].split()[1]) == number:
                children.add(int(place.parent.name))
    return children


def is_running(number):
    """Say whether a process exists and has not ended."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


if __name__ == "__main__":
    main()
