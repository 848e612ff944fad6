"""How fast Foveate is, beside what else could run the same photograph: one command, one table.

    python benchmarks/speed.py PHOTOGRAPH [--model NAME|FOLDER] [--out FOLDER] [--only NAME,...]

Run:    on a quiet machine; `pip install '.[train,openvino]'` for Foveate's own engines
Data:   one photograph of 12 megapixels, such as IDRiD's
Expect: docs/results/speed.md
Cost:   ten to twenty minutes of two cores; the peers' environment takes some minutes and 3 GB, once

Each candidate runs in a process of its own, loads once and is then asked again and again, in turn with the
others, so that whatever else happens on the machine meets all alike. Printed are medians. Peers (MONAI,
nnU-Net, segmentation_models_pytorch) run in an environment of their own, which this command makes; a peer
that cannot be imported is reported with its error. Memory is the peak of a candidate's process, what it
held when asked included.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from foveate.evaluation.charts import HEIGHT, WIDTH, Axis, Chart

ROOT = Path(__file__).resolve().parents[1]

CHILD = Path(__file__).parent / "speed_peers" / "child.py"

TORCH = "torch==2.13.0"
"""As the Makefile has it."""

PEERS = ("monai>=1.4", "nnunetv2>=2.5", "segmentation-models-pytorch>=0.4")

PATIENCE = 900
"""Seconds that a candidate may take for one answer."""

SIZES = (3, 12, 50, 100)
"""Megapixels, at the model's scale."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """Something that is timed."""

    name: str
    module: str
    """Of `speed_peers`."""
    opens: str
    """Its function that opens it."""
    options: dict
    peer: bool = False
    """Whether it runs in the peers' environment."""
    repetitions: int = 3


@dataclass(kw_only=True)
class Told:
    """What became of a candidate."""

    what: str = ""
    failed: str = ""
    walls: list = field(default_factory=list)
    """Seconds, one an answer."""
    cpus: list = field(default_factory=list)
    """Seconds of all processors, one an answer."""
    peak: int = 0
    """Bytes."""
    seconds: dict = field(default_factory=dict)
    """Phase -> seconds of the last answer."""
    figures: dict = field(default_factory=dict)
    maps: Path | None = None

    @property
    def wall(self):
        return statistics.median(self.walls) if self.walls else math.nan


class Running:
    """A candidate's process."""

    def __init__(self, candidate, photograph, python):
        spec = {
            "module": candidate.module,
            "open": candidate.opens,
            "photograph": str(photograph),
            "options": candidate.options,
        }
        self._process = subprocess.Popen(
            [str(python), str(CHILD), json.dumps(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.stderr = []
        threading.Thread(target=self._drain, daemon=True).start()
        self.told = Told()
        self._note(self._hear())

    def ask(self, save=None):
        """Let it run once, and note what it says; maps are saved where asked for."""
        self._say(json.dumps({"save": None if save is None else str(save)}))
        heard = self._hear()
        if self._note(heard):
            self.told.walls.append(heard["wall"])
            self.told.cpus.append(heard["cpu"])
            self.told.peak = max(self.told.peak, self._peak(), heard["ended"])
            self.told.seconds, self.told.figures = heard["seconds"], heard["figures"]
            self._say("")
            if save is not None and self._note(self._hear()):
                self.told.maps = save

    def end(self):
        self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _peak(self):
        """Return the peak of memory since the candidate was ready (Linux), or 0."""
        if sys.platform != "linux":
            return 0
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])

    def _note(self, heard):
        self.told.what = heard.get("what", self.told.what)
        self.told.failed = heard.get("failed", self.told.failed)
        return not self.told.failed

    def _say(self, line):
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _hear(self):
        timer = threading.Timer(PATIENCE, self._process.kill)
        timer.start()
        line = self._process.stdout.readline()
        timer.cancel()
        return json.loads(line) if line else {"failed": (self.stderr or ["it ended without a word"])[-1]}

    def _drain(self):
        for line in self._process.stderr:
            self.stderr = [*self.stderr, line.strip()][-20:]


def environment(folder):
    """Make the peers' environment where it is not there; return its Python."""
    python = folder / "bin" / "python"
    stamp = folder / "ready"
    if not stamp.exists():
        print(f"setting up the peers' environment in {folder}, once", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--no-compile"]
        subprocess.run([*pip, TORCH], check=True)
        subprocess.run([*pip, "--editable", f"{ROOT}[train]"], check=True)
        for peer in PEERS:  # one by one: a peer that does not install must not take the others with it
            done = subprocess.run([*pip, TORCH, peer], check=False)
            if done.returncode:
                print(f"{peer} does not install here; its rows will say so", file=sys.stderr)
        stamp.touch()
    return python


def candidates(model, efforts):
    """Return what is timed on one photograph, Foveate's own first."""
    engines = {
        "onnx float32": {"engine": "onnx", "precision": "float32"},
        "openvino float32": {"engine": "openvino", "precision": "float32"},
        "openvino bf16": {"engine": "openvino", "precision": "bf16"},
    }
    found = []
    for name, engine in engines.items():
        for effort in ("full", *efforts):
            options = {"load": {"where": model, **engine}, "segment": {"effort": effort}}
            found.append(
                Candidate(
                    name=f"Foveate {effort}, {name}",
                    module="foveate_itself",
                    opens="inference",
                    options=options,
                    repetitions=5,
                )
            )
    for effort in ("full", *efforts):
        options = {"load": {"where": model}, "effort": effort}
        name = f"JPEG to files, {effort}, default engine"
        found.append(
            Candidate(name=name, module="foveate_itself", opens="to_files", options=options, repetitions=5)
        )
    peer = {"peer": True}
    found += [
        Candidate(
            name="MONAI as it comes",
            module="monai_windows",
            opens="as_it_comes",
            options={"model": model},
            repetitions=2,
            **peer,
        ),
        Candidate(
            name="MONAI at its best, float32",
            module="monai_windows",
            opens="at_its_best",
            options={"model": model, "batch": 0},
            **peer,
        ),
        Candidate(
            name="MONAI at its best, bf16",
            module="monai_windows",
            opens="at_its_best",
            options={"model": model, "batch": 0, "precision": "bf16"},
            **peer,
        ),
        Candidate(
            name="nnU-Net's predictor, plain U-Net of like cost",
            module="nnunet",
            opens="windows",
            options={"model": model, "mirroring": False},
            repetitions=1,
            **peer,
        ),
        Candidate(
            name="the same, mirrored, its default",
            module="nnunet",
            opens="windows",
            options={"model": model, "mirroring": True},
            repetitions=1,
            **peer,
        ),
        Candidate(
            name="SE-ResNeXt50 U-Net, one pass at 1024 px, as it comes",
            module="one_pass",
            opens="single",
            options={"model": model, "best": False},
            **peer,
        ),
        Candidate(
            name="the same, channels last, memory kept",
            module="one_pass",
            opens="single",
            options={"model": model, "best": True},
            **peer,
        ),
    ]
    for engine, precision in (("onnx", "float32"), ("openvino", "float32"), ("openvino", "bf16")):
        options = {"model": model, "engine": engine, "precision": precision}
        name = f"arithmetic floor, {engine} {precision}"
        found.append(Candidate(name=name, module="floor", opens="floor", options=options, repetitions=1))
    return found


def curves(model):
    """Return what is timed for the curves: larger photographs, and more of them."""
    sizes = [
        Candidate(
            name=f"{size} megapixels",
            module="foveate_itself",
            opens="of_megapixels",
            options={"load": {"where": model}, "megapixels": size},
            repetitions=2,
        )
        for size in SIZES
    ]
    return sizes


def many(model, counts, effort):
    return [
        Candidate(
            name=f"{count} photographs, {effort}",
            module="foveate_itself",
            opens="to_files",
            options={"load": {"where": model}, "effort": effort, "count": count},
            repetitions=1,
        )
        for count in counts
    ]


def timed(chosen, photograph, pythons, save, note):
    """Run all candidates in turn, and again; return name -> what became of it.

    Args:
        chosen: the candidates.
        photograph: that all look at.
        pythons: of Foveate and of the peers.
        save: folder of the maps that are compared.
        note: called with all that is known after each answer, so that a run that is stopped leaves something.
    """
    running, told = {}, {}
    rounds = max(candidate.repetitions for candidate in chosen)
    for turn in range(rounds):
        for candidate in chosen:
            if turn >= candidate.repetitions or (candidate.name in told and told[candidate.name].failed):
                continue
            if candidate.name not in running:
                if candidate.options.get("batch") == 0:
                    candidate.options["batch"] = best_batch(candidate, photograph, pythons)
                running[candidate.name] = Running(candidate, photograph, pythons[candidate.peer])
            one = running[candidate.name]
            told[candidate.name] = one.told
            if not one.told.failed:
                maps = save / f"{len(told)}.npz" if turn == 0 and candidate.name in COMPARED else None
                one.ask(maps)
            last = one.told.walls[-1] if one.told.walls else math.nan
            print(f"{candidate.name}: {one.told.failed or f'{last:.2f} s'}", file=sys.stderr, flush=True)
            note(told)
            if turn + 1 == candidate.repetitions or one.told.failed:
                one.end()
    return told


COMPARED = (
    "Foveate full, onnx float32",
    "Foveate full, openvino bf16",
    "MONAI as it comes",
)
"""Whose maps are compared with those of the first."""


def best_batch(candidate, photograph, pythons):
    """Ask MONAI's search which batch is quickest."""
    options = {key: value for key, value in candidate.options.items() if key != "batch"}
    search = Candidate(name="search", module=candidate.module, opens="search", options=options, peer=True)
    one = Running(search, photograph, pythons[True])
    if not one.told.failed:
        one.ask()
    one.end()
    return int(one.told.figures.get("batch", 1))


def table(told):
    """Return the rows of the main table."""
    base = told.get("MONAI as it comes", Told()).wall
    best = told.get("MONAI at its best, float32", Told()).wall
    lines = [
        "| | computes | seconds | of all processors | peak memory, MB | MONAI as it comes / this "
        "| MONAI's best in float32 / this |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, one in told.items():
        if one.failed:
            lines.append(f"| {name} | does not run here: {one.failed} | | | | | |")
        elif "floor" in one.figures:
            seconds = one.figures["floor"]
            adds, rate = one.figures["multiply_adds"] / 1e9, one.figures["rate"] / 1e9
            what = f"{adds:.0f} G multiply-adds at {rate:.0f} G a second"
            lines.append(f"| {name} | {what} | {seconds:.2f} | | | | |")
        else:
            cpu = statistics.median(one.cpus)
            lines.append(
                f"| {name} | {one.what} | {one.wall:.2f} | {cpu:.2f} | {one.peak / 1e6:.0f} | "
                f"{base / one.wall:.1f} | {best / one.wall:.1f} |"
            )
    return lines


def compared(told):
    """Return how far maps of the same weights lie apart."""
    first, *others = (name for name in COMPARED if name in told and told[name].maps)
    maps = np.load(told[first].maps)["maps"]
    lines = [f"| compared with {first} | probabilities within .01 | largest difference |", "|---|---|---|"]
    for name in others:
        apart = np.abs(np.load(told[name].maps)["maps"] - maps)
        inside = maps > 0
        lines.append(f"| {name} | {(apart[inside] < 0.01).mean():.3%} | {apart[inside].max():.3f} |")
    return lines


def drawn(points, x, y, label):
    """Return one chart of several lines: name -> [(x, y)], the first black."""
    chart = Chart(x=x, y=y)
    parts = []
    for number, (name, line) in enumerate(points.items()):
        parts += [chart.line(line, f"line{number}"), chart.dots(line, f"dot{number}", 3)]
        place = chart.at(line[-1]).split(",")
        parts.append(
            f'<text class="line{number}" x="{float(place[0]) - 4:.0f}" y="{float(place[1]) - 6:.0f}" '
            f'text-anchor="end">{name}</text>'
        )
    return chart.drawn(label, *parts)


STYLE = """polyline{fill:none;stroke-width:2} .grid{stroke:#ddd;stroke-width:1} text{font:12px sans-serif;
fill:#333;stroke:none} .line0{stroke:#0072b2} .line1{stroke:#d55e00} .line2{stroke:#009e73}
.dot0{fill:#0072b2} .dot1{fill:#d55e00} .dot2{fill:#009e73} text.line0{fill:#0072b2}
text.line1{fill:#d55e00} text.line2{fill:#009e73}"""


def picture(told, path):
    """Draw seconds and memory against megapixels."""
    sizes = [size for size in SIZES if told.get(f"{size} megapixels", Told(failed="x")).walls]
    if not sizes:
        return
    each = {size: told[f"{size} megapixels"] for size in sizes}
    phases = {
        "looking": [(size, one.seconds["looking"]) for size, one in each.items()],
        "writing": [(size, one.seconds["writing"]) for size, one in each.items()],
        "reading": [(size, one.seconds["reading"]) for size, one in each.items()],
    }
    memory = {"peak": [(size, one.peak / 1e6) for size, one in each.items()]}
    across = Axis(title="megapixels", ticks=[(0, "0"), *[(size, str(size)) for size in sizes]])
    charts = [
        drawn(
            phases, across, _even("seconds", max(y for line in phases.values() for _, y in line)), "Seconds"
        ),
        drawn(memory, across, _even("MB", max(y for _, y in memory["peak"])), "Peak memory"),
    ]
    placed = [
        one.replace("<svg", f'<svg x="{number * WIDTH}" width="{WIDTH}" height="{HEIGHT}"', 1)
        for number, one in enumerate(charts)
    ]
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {HEIGHT}"><style>{STYLE}</style>'
        f"{''.join(placed)}</svg>\n"
    )


def _even(title, most):
    step = 10 ** math.floor(math.log10(most)) / 2
    top = step * math.ceil(most / step)
    return Axis(title=title, ticks=[(top * k / 4, f"{top * k / 4:g}") for k in range(5)])


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("photograph", type=Path)
    arguments.add_argument("--model", default="idrid-lite0")
    arguments.add_argument("--peers", type=Path, default=ROOT / ".venv-peers")
    arguments.add_argument("--out", type=Path, default=ROOT / "speed-out")
    arguments.add_argument("--efforts", default="", help="balanced,fast where the model says where to look")
    arguments.add_argument("--only", default="", help="parts of the names of what is timed, by comma")
    arguments.add_argument("--part", choices=("table", "sizes", "counts"), default="table")
    arguments.add_argument("--counts", default="1,10,100")
    arguments.add_argument("--most", type=int, default=5, help="repetitions at most")
    chosen = arguments.parse_args()
    efforts = [effort for effort in chosen.efforts.split(",") if effort]
    wanted = {
        "table": lambda: candidates(chosen.model, efforts),
        "sizes": lambda: curves(chosen.model),
        "counts": lambda: many(chosen.model, map(int, chosen.counts.split(",")), (*efforts, "full")[0]),
    }[chosen.part]()
    parts = [part for part in chosen.only.split(",") if part]
    wanted = [one for one in wanted if not parts or any(part in one.name for part in parts)]
    wanted = [replace(one, repetitions=min(one.repetitions, chosen.most)) for one in wanted]
    needs = any(one.peer for one in wanted)
    pythons = {False: Path(sys.executable), True: environment(chosen.peers) if needs else None}
    chosen.out.mkdir(parents=True, exist_ok=True)
    told = timed(
        wanted,
        chosen.photograph,
        pythons,
        chosen.out,
        lambda so_far: write(so_far, chosen.out, chosen.part),
    )
    print(write(told, chosen.out, chosen.part))


def write(told, out, part):
    """Write the tables, the picture and all figures; return the tables."""
    lines = table(told)
    if sum(one.maps is not None for one in told.values()) > 1:
        lines += ["", *compared(told)]
    for name, one in told.items():
        if one.seconds:
            phases = ", ".join(f"{phase} {seconds:.2f}" for phase, seconds in one.seconds.items())
            figures = ", ".join(f"{key} {value:.3g}" for key, value in one.figures.items())
            lines += ["", f"{name}: {phases} s; {figures}; peak {one.peak / 1e6:.0f} MB."]
    picture(told, out / "speed.svg")
    text = "\n".join(lines)
    (out / f"{part}.md").write_text(text + "\n")
    kept = {name: {**vars(one), "maps": None} for name, one in told.items()}
    (out / f"{part}.json").write_text(json.dumps(kept, indent=1) + "\n")
    return text


if __name__ == "__main__":
    main()
