"""`foveate data`: is a set sound, and which of its photographs are held back?

Knows:   the options of `check` and `split`, and how their answers are shown.
Ignores: what is wrong with a set, and how photographs are dealt.
"""

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from foveate.version import version

if TYPE_CHECKING:
    from foveate.datasets.checks import Checked, Report, Total
    from foveate.datasets.facts import Facts

data = App(name="data", help="Check a set of photographs and masks, and divide it into folds.")

Folder = Annotated[Path, Parameter(metavar="DIR")]
Tell = Callable[[int, int, str], None]


@data.command(usage="Usage: foveate data check DIR [OPTIONS]")
def check(
    folder: Folder,
    /,
    *,
    layout: Annotated[str, Parameter(metavar="L")] = "idrid",
    split: Annotated[str | None, Parameter(metavar="S")] = None,
    out: Annotated[Path | None, Parameter(metavar="FOLDER")] = None,
) -> int:
    """Read every photograph and mask of a set and say what is wrong; the exit code is 1 where something is.

    Parameters
    ----------
    folder
        The folder that the set was unpacked to.
    layout
        How it lies there: idrid, ddr, fgadr, e-ophtha, or a .toml file that describes it.
    split
        Check this split only; all that are there, if not given.
    out
        Folder for contact sheets, check.json and check.csv; nothing is written, if not given.
    """
    # What computes is imported here, so that --help need not wait for it.
    from foveate.datasets import checks, layouts  # noqa: PLC0415
    from foveate.writers import files  # noqa: PLC0415

    if out is not None:
        files.prove(out)

    def keep(number: int, sheet: bytes) -> None:
        if out is not None:
            files.write(out / f"contact-{number}.jpg", sheet)

    with _shown() as tell:
        wanted = () if split is None else (split,)
        report = checks.check(folder, layouts.named(layout), wanted, keep=keep, tell=tell)
    totals = checks.totals(report)
    if out is not None:
        files.write(out / "check.json", _json(report, totals))
        files.write(out / "check.csv", _csv(report))
    _print_report(report, totals)
    if out is not None:
        print(f"Look at {out / 'contact-1.jpg'}")
    return 0 if report.is_sound else 1


@data.command(usage="Usage: foveate data split DIR --out FILE [OPTIONS]")
def split(
    folder: Folder,
    /,
    *,
    out: Annotated[Path, Parameter(metavar="FILE")],
    layout: Annotated[str, Parameter(metavar="L")] = "idrid",
    folds: Annotated[int, Parameter(metavar="N")] = 5,
    seed: Annotated[int, Parameter(metavar="N")] = 0,
    split: Annotated[str | None, Parameter(metavar="S")] = None,
    lesions: Annotated[str | None, Parameter(metavar="EX,MA")] = None,
) -> None:
    """Deal the photographs of a split to folds, so that each has every lesion, and save who is where.

    Photographs of one eye, as far as names or likeness tell it, share a fold.

    Parameters
    ----------
    folder
        The folder that the set was unpacked to.
    out
        JSON file to write; one that is there is not replaced.
    layout
        How it lies there: idrid, ddr, fgadr, e-ophtha, or a .toml file that describes it.
    folds
        Number of folds.
    seed
        Fixes the deal.
    split
        Which split to divide; the one to train on, if not given.
    lesions
        Stratify by these, and leave out photographs that were not looked through for all of them; by all that
        the set knows, none left out, if not given.
    """
    from foveate.cli import options  # noqa: PLC0415
    from foveate.datasets import annotated, facts, layouts, splits  # noqa: PLC0415
    from foveate.lesions import chosen  # noqa: PLC0415

    splits.require_new(out)  # before all photographs are read
    kind = layouts.named(layout)
    wanted = options.codes(lesions)
    codes = kind.lesions if wanted is None else chosen(wanted, kind.lesions)
    where = split or next(iter(kind.splits))
    cases = layouts.cases(folder, kind, where)
    cases = cases if wanted is None else annotated(cases, codes)
    with _shown() as tell:
        known = []
        for number, case in enumerate(cases, 1):
            known.append(facts.of(case, codes))
            tell(number, len(cases), case.name)
    together = splits.hands(known)
    dealt = splits.deal_hands(together, folds, seed)
    about = (
        f"{folds} folds of the {len(dealt)} photographs of {kind.name}, split {where}, stratified by "
        f"presence of {', '.join(codes)}, then by their areas; {len(together)} groups that must stay "
        f"together; "
        f"foveate {version()}, data split --folds {folds} --seed {seed}"
    )
    splits.write(out, dealt, about)
    _print_folds(known, dealt, codes)
    print(f"{len(dealt)} photographs, {len(together)} groups that must stay together; saved in {out}")


@contextmanager
def _shown() -> Iterator[Tell]:
    """Yield what is told how far it is: a bar on a terminal, else nothing; on stderr."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("reading", total=None)
        yield lambda done, total, name: bar.update(task, total=total, completed=done)


def _print_report(report: "Report", totals: Mapping[str, "Total"]) -> None:
    """Print what was found as tables, then what is wrong, line by line."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from foveate.datasets import checks  # noqa: PLC0415

    console = Console(highlight=False, markup=False)
    heads = ("looked\nfor in", "found\nin", "mask\nempty", "regions", "px", "share", "largest")
    table = Table("lesion", *heads)
    for column in table.columns[1:]:
        column.justify = "right"
    for code, total in totals.items():
        table.add_row(
            code,
            *(f"{number:,}" for number in (total.annotated, total.having, total.empty)),
            *(f"{number:,}" for number in (total.regions, total.pixels)),
            f"{total.share:.3%}",
            f"{total.largest:.2%}",
        )
    console.print(table)
    many = checks.sizes(report).most_common()
    console.print(
        f"{len(report.checked)} photographs of {', '.join(report.splits)}: "
        + ", ".join(f"{count} of {width} x {height} px" for (height, width), count in many[:5])
        + (f" and {len(many) - 5} other sizes" if len(many) > 5 else ""),
        soft_wrap=True,
    )
    for trouble in report.troubles:
        console.print(f"{'wrong' if trouble.is_wrong else 'look'}: {trouble.what}", soft_wrap=True)
    wrong = sum(trouble.is_wrong for trouble in report.troubles)
    console.print(f"{wrong} wrong, {len(report.troubles) - wrong} to be looked at", soft_wrap=True)


def _print_folds(known: Sequence["Facts"], dealt: Mapping[str, int], codes: Sequence[str]) -> None:
    """Print how many photographs of each fold have each lesion, and its share of all such pixels."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table("fold", "photographs", *codes)
    for column in table.columns:
        column.justify = "right"
    drawn = [(dealt[one.name], one.amounts) for one in known]
    sums = {code: sum(amounts[code].pixels for _, amounts in drawn if code in amounts) for code in codes}
    for fold in sorted(set(dealt.values())):
        here = [amounts for number, amounts in drawn if number == fold]
        cells = []
        for code in codes:
            pixels = [amounts[code].pixels for amounts in here if code in amounts]
            share = sum(pixels) / sums[code] if sums[code] else 0.0
            cells.append(f"{sum(one > 0 for one in pixels)} ({share:.0%})")
        table.add_row(str(fold), str(len(here)), *cells)
    console = Console(highlight=False, markup=False)
    console.print(table)
    console.print("Photographs with the lesion, and the fold's share of all its pixels.")


def _json(report: "Report", totals: Mapping[str, "Total"]) -> bytes:
    from foveate.datasets import checks  # noqa: PLC0415

    content = {
        "foveate": version(),
        "layout": report.layout.name,
        "splits": report.splits,
        "photographs": len(report.checked),
        "sizes": [
            {"width": width, "height": height, "photographs": count}
            for (height, width), count in checks.sizes(report).most_common()
        ],
        "lesions": {
            code: {
                "looked_for_in": total.annotated,
                "found_in": total.having,
                "mask_empty": total.empty,
                "regions": total.regions,
                "area_px": total.pixels,
                "area_share": total.share,
                "largest_share": total.largest,
            }
            for code, total in totals.items()
        },
        "wrong": [trouble.what for trouble in report.troubles if trouble.is_wrong],
        "look": [trouble.what for trouble in report.troubles if not trouble.is_wrong],
    }
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def _csv(report: "Report") -> bytes:
    """Return a line a photograph; a cell is empty where nothing is known."""
    from foveate.writers.tables import guarded  # noqa: PLC0415

    codes = report.layout.lesions
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    counted = [f"{code}_{what}" for code in codes for what in ("regions", "area_px")]
    writer.writerow(["split", "photograph", "eye", "width", "height", "sha256", *counted, "wrong"])
    for one in report.checked:
        wrong = "; ".join(trouble.what for trouble in one.troubles)
        cells = [one.split, one.case.name, one.case.eye or "", *_known(one, codes), wrong]
        writer.writerow([guarded(cell) for cell in cells])
    return file.getvalue().encode("utf-8", "backslashreplace")


def _known(one: "Checked", codes: Sequence[str]) -> list[str]:
    if one.facts is None:
        return [""] * (3 + 2 * len(codes))
    cells = [str(one.facts.shape[1]), str(one.facts.shape[0]), one.facts.digest]
    for code in codes:
        amount = one.facts.amounts.get(code)
        cells += ["", ""] if amount is None else [str(amount.regions), str(amount.pixels)]
    return cells
