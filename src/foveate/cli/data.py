"""`foveate data`: check a set of photographs, and assign them to folds.

Knows:   how the answers of `check` and `split` are shown.
Ignores: what is wrong with a set, and how photographs are assigned to folds.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from foveate import atomic_files
from foveate.cli.options import parse_codes
from foveate.cli.options.data import CheckOptions, SplitOptions
from foveate.cli.progress import reading_bar
from foveate.datasets import annotated, checks, facts, layouts, splits
from foveate.datasets.checks import CheckedCase, CheckReport, DataProblem, SaveSheet, Totals
from foveate.datasets.facts import CaseFacts
from foveate.lesions import select as select_lesions
from foveate.version import version
from foveate.wording import quantity
from foveate.writers.tables import without_formula

CHECK_FILES = ("check.json", "check.csv", "contact-*.jpg")
"""Files that a check writes, as patterns."""


def check_set(folder: Path, options: CheckOptions) -> int:
    """Check a set, print the report and return the exit code.

    Raises:
        FoveateError: the folder is not laid out as named, or a file cannot be written.
    """
    out = options.out
    if out is None:
        report = _checked(folder, options, lambda number, jpeg: None)
        _print_report(report, checks.lesion_totals(report))
    else:
        with atomic_files.reserve(out) as leftover_age:
            atomic_files.require_free(out, CHECK_FILES, results="check", replace=options.replace)
            atomic_files.remove_leftovers(out, deep=False, min_age=leftover_age)
            report = _write_check(folder, options, out)
        print(f"Look at {out / 'contact-1.jpg'}")
    return 0 if report.is_sound else 1


def _checked(folder: Path, options: CheckOptions, save_sheet: SaveSheet) -> CheckReport:
    """Check a set, with a bar for its progress."""
    selected = () if options.split is None else (options.split,)
    with reading_bar() as show:
        return checks.check(
            folder, layouts.named(options.layout), selected, save_sheet=save_sheet, progress=show
        )


def _write_check(folder: Path, options: CheckOptions, out: Path) -> CheckReport:
    """Check a set, write all files together, print the report and return it.

    Raises:
        FoveateError: as `check_set`; the files of an earlier check stay.
    """
    names = ["check.json", "check.csv"]
    with atomic_files.replace_files(out) as write:
        for name in names:
            write(name, b"")  # the first file gets its name last

        def save_sheet(number: int, jpeg: bytes) -> None:
            names.append(f"contact-{number}.jpg")
            write(names[-1], jpeg)

        report = _checked(folder, options, save_sheet)
        sums = checks.lesion_totals(report)
        write("check.json", _check_json(report, sums))
        write("check.csv", _check_csv(report))
    atomic_files.remove_others(out, CHECK_FILES, names)
    _print_report(report, sums)
    return report


def split_set(folder: Path, options: SplitOptions) -> None:
    """Assign photographs to folds, write the file and print the folds.

    Raises:
        UsageError: an option is misspelt.
        FoveateError: a photograph or mask cannot be read, or the file cannot be written.
    """
    splits.require_new(options.out)  # before all photographs are read
    layout = layouts.named(options.layout)
    requested = parse_codes(options.lesions)
    codes = layout.lesions if requested is None else select_lesions(requested, layout.lesions)
    split = options.split or next(iter(layout.splits))
    cases = layouts.cases(folder, layout, split)
    if requested is not None:
        cases = annotated(cases, codes)
    splits.require_divisible(len(cases), options.folds, options.seed)
    atomic_files.require_writable(options.out.parent)
    case_facts = []
    with reading_bar() as show:
        for number, case in enumerate(cases, 1):
            case_facts.append(facts.read(case, codes))
            show(number, len(cases), case.name)
    groups = splits.group_photographs(case_facts)
    folds = splits.assign_folds(groups, options.folds, options.seed)
    about = (
        f"{options.folds} folds of the {len(folds)} photographs of {layout.name}, split {split}, stratified "
        f"by presence of {', '.join(codes)}, then by their areas; {len(groups)} groups that must stay "
        f"together; foveate {version()}, data split --folds {options.folds} --seed {options.seed}"
    )
    splits.write(options.out, folds, about)
    _print_folds(case_facts, folds, codes)
    print(
        f"{quantity(len(folds), 'photograph')} in {quantity(len(groups), 'group')}, each of which "
        f"stays in one fold; saved in {options.out}"
    )


def _console() -> Console:
    return Console(highlight=False, markup=False)


def _print_report(report: CheckReport, sums: Mapping[str, Totals]) -> None:
    """Print the totals as a table, then the problems line by line."""
    console = _console()
    console.print(_totals_table(sums))
    sizes = checks.size_counts(report).most_common()
    console.print(
        f"{len(report.checked)} photographs of {', '.join(report.splits)}: "
        + ", ".join(f"{count} of {width} x {height} px" for (height, width), count in sizes[:5])
        + (f" and {len(sizes) - 5} other sizes" if len(sizes) > 5 else ""),
        soft_wrap=True,
    )
    for problem in report.problems:
        console.print(f"{'wrong' if problem.is_wrong else 'look'}: {problem.message}", soft_wrap=True)
    wrong = sum(problem.is_wrong for problem in report.problems)
    console.print(f"{wrong} wrong, {len(report.problems) - wrong} to look at", soft_wrap=True)


def _totals_table(sums: Mapping[str, Totals]) -> Table:
    heads = (
        "annotated",
        "with the\nlesion",
        "with an\nempty mask",
        "regions",
        "area, px",
        "share",
        "largest\nshare",
    )
    table = Table("lesion", *heads)
    for column in table.columns[1:]:
        column.justify = "right"
    for code, total in sums.items():
        table.add_row(
            code,
            *(f"{number:,}" for number in (total.annotated, total.present, total.empty)),
            *(f"{number:,}" for number in (total.regions, total.pixels)),
            f"{total.share:.3%}",
            f"{total.largest:.2%}",
        )
    return table


def _print_folds(case_facts: Sequence[CaseFacts], folds: Mapping[str, int], codes: Sequence[str]) -> None:
    """Print how many photographs of each fold have each lesion, and the fold's share of all its pixels."""
    table = Table("fold", "photographs", *codes)
    for column in table.columns:
        column.justify = "right"
    assigned = [(folds[case.name], case.areas) for case in case_facts]
    pixel_sums = {code: sum(areas[code].pixels for _, areas in assigned if code in areas) for code in codes}
    for fold in sorted(set(folds.values())):
        fold_areas = [areas for number, areas in assigned if number == fold]
        cells = []
        for code in codes:
            pixels = [areas[code].pixels for areas in fold_areas if code in areas]
            share = sum(pixels) / pixel_sums[code] if pixel_sums[code] else 0.0
            cells.append(f"{sum(count > 0 for count in pixels)} ({share:.0%})")
        table.add_row(str(fold), str(len(fold_areas)), *cells)
    console = _console()
    console.print(table)
    console.print(
        "In a cell: photographs of the fold with the lesion, and the fold's share of all its pixels."
    )


def _check_json(report: CheckReport, sums: Mapping[str, Totals]) -> bytes:
    content = {
        "foveate": version(),
        "layout": report.layout.name,
        "splits": report.splits,
        "photographs": len(report.checked),
        "sizes": [
            {"width": width, "height": height, "photographs": count}
            for (height, width), count in checks.size_counts(report).most_common()
        ],
        "lesions": {
            code: {
                "looked_for_in": total.annotated,
                "found_in": total.present,
                "mask_empty": total.empty,
                "regions": total.regions,
                "area_px": total.pixels,
                "area_share": total.share,
                "largest_share": total.largest,
            }
            for code, total in sums.items()
        },
        "wrong": _messages(report.problems, is_wrong=True),
        "look": _messages(report.problems, is_wrong=False),
    }
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def _messages(problems: Sequence[DataProblem], *, is_wrong: bool) -> list[str]:
    """Return the messages of what is wrong, or of what a person should look at."""
    return [problem.message for problem in problems if problem.is_wrong == is_wrong]


def _check_csv(report: CheckReport) -> bytes:
    """Return a line for each photograph; a cell is empty where nothing is known."""
    codes = report.layout.lesions
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    area_columns = [f"{code}_{quantity}" for code in codes for quantity in ("regions", "area_px")]
    writer.writerow(
        ["split", "photograph", "eye", "width", "height", "sha256", *area_columns, "wrong", "look"]
    )
    for checked in report.checked:
        cells = [
            checked.split,
            checked.case.name,
            checked.case.eye or "",
            *_fact_cells(checked, codes),
            *("; ".join(_messages(checked.problems, is_wrong=is_wrong)) for is_wrong in (True, False)),
        ]
        writer.writerow([without_formula(cell) for cell in cells])
    return file.getvalue().encode("utf-8", "backslashreplace")


def _fact_cells(checked: CheckedCase, codes: Sequence[str]) -> list[str]:
    if checked.facts is None:
        return [""] * (3 + 2 * len(codes))
    cells = [str(checked.facts.shape[1]), str(checked.facts.shape[0]), checked.facts.digest]
    for code in codes:
        area = checked.facts.areas.get(code)
        cells += ["", ""] if area is None else [str(area.regions), str(area.pixels)]
    return cells
