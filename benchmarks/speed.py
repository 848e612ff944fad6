"""How fast Foveate is, beside what else could run the same photograph: one command, one table.

    python benchmarks/speed.py PHOTOGRAPH [--model NAME|FOLDER] [--out FOLDER] [--only NAME,...]

Run:    on a quiet machine; `pip install '.[train,openvino]'` for Foveate's own engines
Data:   one photograph of 12 megapixels, such as IDRiD's
Expect: docs/results/speed.md
Cost:   ten to twenty minutes of two cores; the peers' environment takes some minutes and 3 GB, once

Each candidate runs in a process of its own and loads once; all are then run again and again in turn, so that
other load of the machine affects all of them equally. Printed are medians. Peers (MONAI,
nnU-Net, segmentation_models_pytorch) run in an environment of their own, which this command makes; a peer
that cannot be imported is reported with its error. Memory is the peak of a candidate's process, what it
held when asked included.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from foveate import models
from foveate.engines import openvino
from foveate.evaluation.charts import HEIGHT, WIDTH, Axis, Chart

ROOT = Path(__file__).resolve().parents[1]

CHILD = Path(__file__).parent / "speed_peers" / "child.py"

TORCH = "torch==2.13.0"
"""As the Makefile has it."""

PEERS = ("monai>=1.4", "nnunetv2>=2.5", "segmentation-models-pytorch>=0.4")

ANSWER_SECONDS = 900
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
class Measurement:
    """The measurements of a candidate."""

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


class CandidateProcess:
    """A candidate's process."""

    def __init__(self, candidate, photograph, python, child=CHILD, variables=None):
        spec = {
            "module": candidate.module,
            "open": candidate.opens,
            "photograph": str(photograph),
            "options": candidate.options,
        }
        self._process = subprocess.Popen(
            [str(python), str(child), json.dumps(spec)],
            env=os.environ | (variables or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.stderr = []
        threading.Thread(target=self._drain, daemon=True).start()
        self.measurement = Measurement()
        self._record(self._read())

    def run_once(self, save=None):
        """Run it once and record its answer; save its maps, if a path is given."""
        self._write(json.dumps({"save": None if save is None else str(save)}))
        answer = self._read()
        if self._record(answer):
            self.measurement.walls.append(answer["wall"])
            self.measurement.cpus.append(answer["cpu"])
            self.measurement.peak = max(self.measurement.peak, self._peak(), answer["ended"])
            self.measurement.seconds, self.measurement.figures = answer["seconds"], answer["figures"]
            self._write("")
            if save is not None and self._record(self._read()):
                self.measurement.maps = save

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

    def _record(self, answer):
        self.measurement.what = answer.get("what", self.measurement.what)
        self.measurement.failed = answer.get("failed", self.measurement.failed)
        return not self.measurement.failed

    def _write(self, line):
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _read(self):
        timer = threading.Timer(ANSWER_SECONDS, self._process.kill)
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
            install = subprocess.run([*pip, TORCH, peer], check=False)
            if install.returncode:
                print(f"{peer} does not install here; its rows will say so", file=sys.stderr)
        stamp.touch()
    return python


def candidates(model, efforts):
    """Return what is timed on one photograph, Foveate's own first."""
    engines = [("onnx", "float32"), *(("openvino", precision) for precision in precisions(model))]
    listed = []
    for engine, precision in engines:
        for effort in ("full", *efforts):
            load = {"where": model, "engine": engine, "precision": precision}
            options = {"load": load, "segment": {"effort": effort}}
            listed.append(
                Candidate(
                    name=f"Foveate {effort}, {engine} {precision}",
                    module="foveate_itself",
                    opens="inference",
                    options=options,
                    repetitions=5,
                )
            )
    for effort in ("full", *efforts):
        options = {"load": {"where": model}, "effort": effort}
        name = f"JPEG to files, {effort}, default engine"
        listed.append(
            Candidate(name=name, module="foveate_itself", opens="to_files", options=options, repetitions=5)
        )
    peer = {"peer": True}
    listed += [
        Candidate(
            name="MONAI with defaults",
            module="monai_windows",
            opens="with_defaults",
            options={"model": model},
            repetitions=2,
            **peer,
        ),
        *monai_at_its_best(model),
        Candidate(
            name="nnU-Net's predictor, plain U-Net of similar cost",
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
            name="SE-ResNeXt50 U-Net, one pass at 1024 px, with defaults",
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
    for engine, precision in engines:
        options = {"model": model, "engine": engine, "precision": precision}
        name = f"arithmetic lower bound, {engine} {precision}"
        listed.append(Candidate(name=name, module="floor", opens="floor", options=options, repetitions=1))
    return listed


def monai_at_its_best(model):
    """Return MONAI at its best in each precision that eager PyTorch computes quickly on this machine."""
    return [
        Candidate(
            name=f"MONAI at its best, {precision}",
            module="monai_windows",
            opens="at_its_best",
            options={"model": model, "batch": 0, "precision": precision},
            peer=True,
        )
        for precision in precisions(model)
        if precision != "int8"
    ]


def precisions(model):
    """Return what OpenVINO computes on this machine: int8 where the package holds such networks."""
    found = ["float32"]
    if openvino.computes_bf16():
        found.append("bf16")
    if openvino.has_int8(models.load(model)):
        found.append("int8")
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


def photograph_counts(model, counts, effort):
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


def measure(selected, photograph, pythons, save, note):
    """Run all candidates in turn, and again; return name -> measurement.

    Args:
        selected: the candidates.
        photograph: that all process.
        pythons: of Foveate and of the peers.
        save: folder of the maps that are compared.
        note: called with all measurements after each answer, so that a stopped run leaves something.
    """
    processes, measurements = {}, {}
    rounds = max(candidate.repetitions for candidate in selected)
    for turn in range(rounds):
        for candidate in selected:
            if turn >= candidate.repetitions or (
                candidate.name in measurements and measurements[candidate.name].failed
            ):
                continue
            if candidate.name not in processes:
                if candidate.options.get("batch") == 0:
                    candidate.options["batch"] = best_batch(candidate, photograph, pythons)
                processes[candidate.name] = CandidateProcess(candidate, photograph, pythons[candidate.peer])
            process = processes[candidate.name]
            measurements[candidate.name] = process.measurement
            if not process.measurement.failed:
                maps = save / f"{len(measurements)}.npz" if turn == 0 and candidate.name in COMPARED else None
                process.run_once(maps)
            last = process.measurement.walls[-1] if process.measurement.walls else math.nan
            print(
                f"{candidate.name}: {process.measurement.failed or f'{last:.2f} s'}",
                file=sys.stderr,
                flush=True,
            )
            note(measurements)
            if turn + 1 == candidate.repetitions or process.measurement.failed:
                process.end()
    return measurements


COMPARED = (
    "Foveate full, onnx float32",
    "Foveate full, openvino bf16",
    "Foveate full, openvino int8",
    "MONAI with defaults",
)
"""Whose maps are compared with those of the first."""


def best_batch(candidate, photograph, pythons):
    """Ask MONAI's search which batch is quickest."""
    options = {key: value for key, value in candidate.options.items() if key != "batch"}
    search = Candidate(name="search", module=candidate.module, opens="search", options=options, peer=True)
    process = CandidateProcess(search, photograph, pythons[True])
    if not process.measurement.failed:
        process.run_once()
    process.end()
    return int(process.measurement.figures.get("batch", 1))


def table(measurements):
    """Return the rows of the main table."""
    base = measurements.get("MONAI with defaults", Measurement()).wall
    best = measurements.get("MONAI at its best, float32", Measurement()).wall
    lines = [
        "| | computes | seconds | of all processors | peak memory, MB | MONAI with defaults / this "
        "| MONAI's best in float32 / this |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, measurement in measurements.items():
        if measurement.failed:
            lines.append(f"| {name} | does not run here: {measurement.failed} | | | | | |")
        elif "floor" in measurement.figures:
            seconds = measurement.figures["floor"]
            adds, rate = measurement.figures["multiply_adds"] / 1e9, measurement.figures["rate"] / 1e9
            what = f"{adds:.0f} G multiply-adds at {rate:.0f} G a second"
            lines.append(f"| {name} | {what} | {seconds:.2f} | | | | |")
        else:
            cpu = statistics.median(measurement.cpus)
            lines.append(
                f"| {name} | {measurement.what} | {measurement.wall:.2f} | {cpu:.2f} "
                f"| {measurement.peak / 1e6:.0f} "
                f"| {base / measurement.wall:.1f} | {best / measurement.wall:.1f} |"
            )
    return lines


def comparison_table(measurements):
    """Return how much maps of the same weights differ."""
    first, *later = (name for name in COMPARED if name in measurements and measurements[name].maps)
    maps = np.load(measurements[first].maps)["maps"]
    lines = [f"| compared with {first} | probabilities within .01 | largest difference |", "|---|---|---|"]
    for name in later:
        differences = np.abs(np.load(measurements[name].maps)["maps"] - maps)
        inside = maps > 0
        lines.append(
            f"| {name} | {(differences[inside] < 0.01).mean():.3%} | {differences[inside].max():.3f} |"
        )
    return lines


def draw_chart(points, x, y, label):
    """Return one chart of several lines: name -> [(x, y)], the first black."""
    chart = Chart(x=x, y=y)
    parts = []
    for number, (name, line) in enumerate(points.items()):
        parts += [chart.line(line, f"line{number}"), chart.dots(line, f"dot{number}", 3)]
        x_end, y_end = chart.at(line[-1]).split(",")
        parts.append(
            f'<text class="line{number}" x="{float(x_end) - 4:.0f}" y="{float(y_end) - 6:.0f}" '
            f'text-anchor="end">{name}</text>'
        )
    return chart.render(label, *parts)


STYLE = """polyline{fill:none;stroke-width:2} .grid{stroke:#ddd;stroke-width:1} text{font:12px sans-serif;
fill:#333;stroke:none} .line0{stroke:#0072b2} .line1{stroke:#d55e00} .line2{stroke:#009e73}
.dot0{fill:#0072b2} .dot1{fill:#d55e00} .dot2{fill:#009e73} text.line0{fill:#0072b2}
text.line1{fill:#d55e00} text.line2{fill:#009e73} text{stroke:none !important}"""


def picture(measurements, path):
    """Draw seconds and memory against megapixels."""
    sizes = [size for size in SIZES if measurements.get(f"{size} megapixels", Measurement(failed="x")).walls]
    if not sizes:
        return
    each = {size: measurements[f"{size} megapixels"] for size in sizes}
    phases = {
        "inference": [(size, measurement.seconds["inference"]) for size, measurement in each.items()],
        "writing": [(size, measurement.seconds["writing"]) for size, measurement in each.items()],
        "reading": [(size, measurement.seconds["reading"]) for size, measurement in each.items()],
    }
    memory = {"peak": [(size, measurement.peak / 1e6) for size, measurement in each.items()]}
    across = Axis(title="megapixels", ticks=[(0, "0"), *[(size, str(size)) for size in sizes]])
    charts = [
        draw_chart(
            phases, across, _axis("seconds", max(y for line in phases.values() for _, y in line)), "Seconds"
        ),
        draw_chart(memory, across, _axis("MB", max(y for _, y in memory["peak"])), "Peak memory"),
    ]
    positioned = [
        chart.replace("<svg", f'<svg x="{number * WIDTH}" width="{WIDTH}" height="{HEIGHT}"', 1)
        for number, chart in enumerate(charts)
    ]
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {HEIGHT}"><style>{STYLE}</style>'
        f"{''.join(positioned)}</svg>\n"
    )


def _axis(title, largest):
    step = 10 ** math.floor(math.log10(largest)) / 2
    top = step * math.ceil(largest / step)
    return Axis(title=title, ticks=[(top * k / 4, f"{top * k / 4:g}") for k in range(5)])


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("photograph", type=Path)
    arguments.add_argument("--model", default="idrid")
    arguments.add_argument("--peers", type=Path, default=ROOT / ".venv-peers")
    arguments.add_argument("--out", type=Path, default=ROOT / "speed-out")
    arguments.add_argument(
        "--efforts", default="", help="best; balanced,fast where the model says where to look"
    )
    arguments.add_argument("--only", default="", help="parts of the names of what is timed, by comma")
    arguments.add_argument("--part", choices=("table", "sizes", "counts"), default="table")
    arguments.add_argument("--counts", default="1,10,100")
    arguments.add_argument("--most", type=int, default=5, help="repetitions at most")
    options = arguments.parse_args()
    efforts = [effort for effort in options.efforts.split(",") if effort]
    selected = {
        "table": lambda: candidates(options.model, efforts),
        "sizes": lambda: curves(options.model),
        "counts": lambda: photograph_counts(
            options.model, map(int, options.counts.split(",")), (*efforts, "full")[0]
        ),
    }[options.part]()
    parts = [part for part in options.only.split(",") if part]
    selected = [
        candidate for candidate in selected if not parts or any(part in candidate.name for part in parts)
    ]
    selected = [
        replace(candidate, repetitions=min(candidate.repetitions, options.most)) for candidate in selected
    ]
    needs_peers = any(candidate.peer for candidate in selected)
    pythons = {False: Path(sys.executable), True: environment(options.peers) if needs_peers else None}
    options.out.mkdir(parents=True, exist_ok=True)
    measurements = measure(
        selected,
        options.photograph,
        pythons,
        options.out,
        lambda partial: write(partial, options.out, options.part),
    )
    print(write(measurements, options.out, options.part))


def write(measurements, out, part):
    """Write the tables, the picture and all figures; return the tables."""
    lines = table(measurements)
    if sum(measurement.maps is not None for measurement in measurements.values()) > 1:
        lines += ["", *comparison_table(measurements)]
    for name, measurement in measurements.items():
        if measurement.seconds:
            phases = ", ".join(f"{phase} {seconds:.2f}" for phase, seconds in measurement.seconds.items())
            figures = ", ".join(f"{key} {value:.3g}" for key, value in measurement.figures.items())
            lines += ["", f"{name}: {phases} s; {figures}; peak {measurement.peak / 1e6:.0f} MB."]
    picture(measurements, out / "speed.svg")
    text = "\n".join(lines)
    (out / f"{part}.md").write_text(text + "\n")
    record = {name: {**vars(measurement), "maps": None} for name, measurement in measurements.items()}
    (out / f"{part}.json").write_text(json.dumps(record, indent=1) + "\n")
    return text


if __name__ == "__main__":
    main()
