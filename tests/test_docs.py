"""The documentation is complete: every option, column, key and error is in it, and links lead somewhere."""

import functools
import inspect
import io
import json
import re
import unicodedata
from pathlib import Path

import pytest
import tiny_package
from rich.console import Console

import foveate
from foveate import cli, errors

ROOT = Path(__file__).parent.parent

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")])

DECISIONS = sorted(ROOT.glob("docs/decisions/[0-9]*.md"))

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")

FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def anchors(page):
    """Return the anchors of a page's headings, as hosts of Markdown make them."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", page.read_text()), re.MULTILINE)
    letters = (
        "".join(c for c in heading.lower() if c in " -_" or unicodedata.category(c)[0] in "LN")
        for heading in headings
    )
    return {heading.replace(" ", "-") for heading in letters}


def quoted(page):
    """Return the words in backticks on a page."""
    return {
        word
        for span in re.findall(r"`([^`\n]+)`", (ROOT / page).read_text())
        for word in re.split(r"[\s|\\]+", span)
    }


def keys(content):
    """Return all keys of a JSON value, at whatever depth."""
    if isinstance(content, dict):
        return set(content).union(*map(keys, content.values()))
    return set().union(*map(keys, content)) if isinstance(content, list) else set()


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """Make results of two photographs, one of which cannot be read."""
    folder = tmp_path_factory.mktemp("outputs")
    tiny_package.photograph(folder / "eyes" / "eye.png")
    (folder / "eyes" / "broken.jpg").write_bytes(b"")
    model = foveate.load(tiny_package.build(folder / "tiny"), threads=1)
    model.predict([folder / "eyes"], folder / "out")
    return folder / "out"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    for target in LINK.findall(FENCED.sub("", page.read_text())):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(linked), f"{page.name} links to {target}"


def test_every_page_is_reached_from_the_first():
    reached, queue = set(), [ROOT / "README.md"]
    while queue:
        page = queue.pop()
        reached.add(page)
        targets = {
            (page.parent / target.partition("#")[0]).resolve() for target in LINK.findall(page.read_text())
        }
        queue += [
            linked
            for linked in targets
            if linked.suffix == ".md" and linked.exists() and linked not in reached
        ]

    assert set(PAGES) <= reached


def commands(app, parents=()):
    """Return every command below an app, as tuples of words."""
    names = [name for name in app if not name.startswith("-")]
    return [
        command for name in names for command in [(*parents, name), *commands(app[name], (*parents, name))]
    ]


def documented_options(command, pages):
    """Return the options in the first column of all tables whose head names a command."""
    tables = re.findall(r"^\| options? of .*?(?=\n\n|\Z)", pages, re.MULTILINE | re.DOTALL)
    rows = [
        row
        for head, *rows in (table.splitlines() for table in tables)
        for row in rows
        if re.search(rf"`foveate {' '.join(command)}(?: [A-Z. ]+)?`", head)
    ]
    return {option for row in rows for option in re.findall(r"`(--[a-z0-9-]+)", row.split(" | ")[0])}


def shown_options(app):
    """Return the options that a command's help shows; a mere group of commands has none."""
    if app.default_command is None:
        return set()
    shown = [argument for argument in app.assemble_argument_collection() if argument.show]
    return {name for argument in shown for name in argument.names if name.startswith("--")}


@pytest.mark.parametrize("command", commands(cli.app), ids=" ".join)
def test_every_command_and_option_is_documented_and_no_other(command, capsys):
    assert cli.run([*command, "--help"]) == 0
    assert f"foveate {' '.join(command)}" in capsys.readouterr().out
    app = functools.reduce(lambda parent, word: parent[word], command, cli.app)
    pages = "\n\n".join(page.read_text() for page in sorted(ROOT.glob("docs/*.md")))

    assert documented_options(command, pages) == shown_options(app)
    assert f"foveate {' '.join(command)}" in pages


def letters(text):
    """Return a text without its spaces."""
    return "".join(text.split())


@pytest.mark.parametrize("command", commands(cli.app), ids=" ".join)
def test_a_help_page_shows_all_of_its_texts(command):
    console = Console(file=io.StringIO(), width=1000)  # so wide that no text is wrapped
    app = functools.reduce(lambda parent, word: parent[word], command, cli.app)
    arguments = app.assemble_argument_collection(parse_docstring=True) if app.default_command else ()
    texts = [argument.parameter.help for argument in arguments if argument.show]
    texts.append(inspect.getdoc(app.default_command).split("\nParameters\n")[0] if arguments else app.help)

    cli.app.help_print(command, console=console)
    page = letters(console.file.getvalue())

    assert all(texts), "an option has no help"
    assert [text for text in texts if letters(text.replace("`", "")) not in page] == []
    assert "[default:()]" not in page
    assert "[default:False]" not in page


def test_the_tree_of_commands_has_leaves():
    assert {("predict",), ("models", "show"), ("data", "split"), ("dicom", "watch")} <= set(commands(cli.app))


def test_every_file_and_folder_of_the_output_is_documented(out):
    page = (ROOT / "docs/outputs.md").read_text()

    for path in out.iterdir():
        assert path.name + "/" * path.is_dir() in page


def test_every_column_and_key_of_the_output_is_documented(out):
    documented = {word.strip(",;:") for word in quoted("docs/outputs.md")}
    region_columns = (out / "regions/eye.csv").read_text().splitlines()[0].split(",")
    summary_columns = (out / "summary.csv").read_text().splitlines()[0].split(",")
    photograph = json.loads((out / "regions/eye.json").read_text())
    run = json.loads((out / "run.json").read_text())

    assert photograph["regions"], "without a region its keys would go unseen"
    assert {name for name in summary_columns if not name.startswith("MA_")} <= documented
    assert set(region_columns) <= documented
    assert keys(photograph) - {"EX", "MA"} <= documented
    assert keys(run) - {"EX", "MA"} <= documented


def test_every_error_is_documented():
    error_names = {
        name for name, value in vars(errors).items() if isinstance(value, type) and name != "FoveateError"
    }

    assert error_names <= quoted("docs/api.md")


def test_every_public_name_is_documented():
    page = (ROOT / "docs/api.md").read_text()

    for name in set(foveate.__all__) - {"__version__"}:
        assert re.search(rf"\b{name}\b", page), name


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_every_decision_has_its_four_parts_on_one_page(page):
    text = page.read_text()

    assert text.startswith(f"# {page.stem[:4]} ")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Context", "Choice", "Rejected", "How to undo"]
    assert len(text.splitlines()) <= 60
    assert f"[{page.stem[:4]}]({page.name})" in (ROOT / "docs/decisions/README.md").read_text()


def test_decisions_are_numbered_without_a_gap():
    assert [int(page.stem[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))


def test_every_page_that_the_code_names_exists():
    mentions = {
        (path, name)
        for path in ROOT.glob("src/foveate/**/*.py")
        for name in re.findall(r"docs/[\w/.-]+\.md", path.read_text())
    }

    assert mentions
    for path, name in mentions:
        assert (ROOT / name).is_file(), f"{path.name} names {name}"
