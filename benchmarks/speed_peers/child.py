"""One candidate in a process of its own: loads once, then answers 'run' with the seconds it took.

Knows:   the pipe: one JSON object a line, in by standard input, out by standard output.
Ignores: what is run.

    python child.py '{"module": "...", "open": "...", "photograph": "...", "options": {}}'
"""

import importlib
import json
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np


def processors():
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def cpu():
    """Return the seconds of all processors that this process and its ended children used so far."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def forget_peak():
    """Let the peak of memory start from what is held now (Linux); elsewhere it is that since the start."""
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")  # see proc(5)


def save_maps(answer, path):
    np.savez_compressed(path, maps=answer.maps().astype(np.float32))


def main():
    spec = json.loads(sys.argv[1])
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print does not belong into the pipe

    def send(**message):
        print(json.dumps(message), file=pipe, flush=True)

    try:
        module = importlib.import_module(f"speed_peers.{spec['module']}")
        opened = getattr(module, spec["open"])(Path(spec["photograph"]), **spec["options"])
        if opened.warm:
            opened.run()
    except Exception as error:  # whatever it is: the table says it, and the others go on
        send(failed=" ".join(f"{type(error).__name__}: {error}".split())[:300])
        raise
    forget_peak()
    send(what=opened.what, pid=os.getpid())
    for line in sys.stdin:
        path = json.loads(line)["save"]
        used, start = cpu(), time.perf_counter()
        try:
            answer = opened.run()
        except Exception as error:
            send(failed=" ".join(f"{type(error).__name__}: {error}".split())[:300])
            raise
        elapsed, used = time.perf_counter() - start, cpu() - used
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024  # of those that have ended
        send(wall=elapsed, cpu=used, ended=peak, seconds=dict(answer.seconds), figures=dict(answer.figures))
        sys.stdin.readline()  # the peak of memory is read before anything is saved
        if path is not None:
            save_maps(answer, path)
            send(saved=path)
        del answer


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    main()
