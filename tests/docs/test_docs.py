"""The pages agree with the code: links, settings, commands, layout and examples."""

import ast
import json
import re
from pathlib import Path

import pytest
import typer

from contracts import JobRequest, parse_event
from tests.mutation.catalogue import MUTATIONS
from worker.entrypoints.cli import command_line
from worker.local.model.script import HELP
from worker.settings import Settings
from worker.webhook_settings import WebhookSettings

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
PAGE_NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
EXAMPLES = [
    json.loads(path.read_text()) for path in (ROOT / "contracts/examples/events").glob("*.json")
]

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")


def blocks(page, language):
    """The fenced code blocks of a language."""
    return [code for name, code in _FENCED.findall(page.read_text()) if name == language]


def prose(page):
    """A page without its fenced code."""
    return _FENCED.sub("", page.read_text())


def anchors(page):
    """The names that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


def cells(row):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip().strip("|"))]


def tables(text):
    """Each table as (header cells, rows of cells)."""
    for found in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        header, _, *rows = found.splitlines()
        yield cells(header), [cells(row) for row in rows]


@pytest.mark.parametrize("page", PAGES, ids=PAGE_NAMES)
def test_relative_links_lead_somewhere(page):
    for link in _LINK.findall(prose(page)):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link}: no such file"
        assert target.is_relative_to(ROOT), f"{link}: outside of the project"
        if anchor:
            assert anchor in anchors(target), f"{link}: no such heading"


def shown(default):
    """A setting's default as the table writes it."""
    match default:
        case None | ():
            return "unset"
        case bool():
            return str(int(default))
        case float():
            return f"{default:g}"
        case tuple():
            return ", ".join(default).replace("*", "\\*")
        case _:
            return str(default)


def test_the_page_of_settings_has_each_setting_with_its_default_and_no_other():
    documented = {
        row[0].strip("`"): row[1]
        for header, rows in tables((ROOT / "docs/configuration.md").read_text())
        if header[0] == "setting"
        for row in rows
    }
    defaults = {
        name.upper(): "required" if field.is_required() else shown(field.default)
        for name, field in {**WebhookSettings.model_fields, **Settings.model_fields}.items()
    }
    assert documented == defaults


def commands():
    """Each command of the command line, those of groups as "group command", with its options."""

    def options(command):
        return {option for parameter in command.params for option in parameter.opts} | {"--help"}

    known = {}
    for name, command in typer.main.get_command(command_line()).commands.items():
        known[name] = options(command)
        for inner, inner_command in getattr(command, "commands", {}).items():
            known[f"{name} {inner}"] = options(inner_command)
    return known


def documented_lines(page):
    """What a reader would type: lines of shell blocks and code within the text."""
    for code in blocks(page, "sh"):
        yield from code.replace("\\\n", " ").splitlines()
    yield from _CODE.findall(prose(page))


@pytest.mark.parametrize("page", PAGES, ids=PAGE_NAMES)
def test_documented_commands_exist(page):
    known = commands()
    for line in documented_lines(page):
        for outer, arguments in re.findall(r"agent-worker (\w[\w-]*)([^|&;]*)", line):
            is_group = any(command.startswith(f"{outer} ") for command in known)
            inner = re.match(r"\s*([a-z][\w-]*)", arguments) if is_group else None
            name = f"{outer} {inner[1]}" if inner else outer
            assert name in known, f"{line!r}: no such command"
            ours = re.sub(r"'[^']*'|\"[^\"]*\"", "", arguments)
            unknown = set(re.findall(r"(?<!\S)--[a-z-]+", ours)) - known[name]
            assert not unknown, f"{line!r}: {name} has no {unknown}"
        for script in re.findall(r"(?<![\w/.])(scripts/[\w-]+)", line):
            assert (ROOT / script).is_file(), f"{line!r}: no such script"


def test_the_options_of_up_are_the_documented_ones():
    listed = re.findall(r"^\| `up ([^`]+)`", (ROOT / "docs/local.md").read_text(), re.MULTILINE)
    options = set(re.findall(r"--[a-z-]+", " ".join(listed)))
    assert options <= commands()["up"]


def test_the_layout_names_what_is_there():
    [rows] = [
        rows
        for header, rows in tables((ROOT / "README.md").read_text())
        if header == ["path", "what"]
    ]
    named = {_LINK.search(row[0])[1] for row in rows}
    assert all((ROOT / path).exists() for path in named)
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert packages <= {Path(path).parts[0] for path in named}


@pytest.mark.parametrize("page", PAGES, ids=PAGE_NAMES)
def test_examples_in_python_can_be_parsed(page):
    for code in blocks(page, "python"):
        ast.parse(code)


@pytest.mark.parametrize("page", PAGES, ids=PAGE_NAMES)
def test_examples_in_json_are_what_the_contract_says(page):
    for code in blocks(page, "json"):
        value = json.loads(code)
        if "specversion" in value:
            parse_event(value)
            assert value in EXAMPLES, "the event is none of contracts/examples/events"
        if "user_message" in value:
            JobRequest.parse(code)


def test_the_grammar_of_the_scripted_model_is_its_own():
    assert HELP in (ROOT / "docs/local.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=PAGE_NAMES)
def test_tests_that_are_named_exist(page):
    """Behind a link to a test file, code names tests in it: their beginning, or `...`."""
    for path, names in re.findall(
        r"\]\((?:\.\./)?(tests/\w+/test_\w+\.py)\)((?:,?\s+`[a-z_.]+`)+)", prose(page)
    ):
        source = (ROOT / path).read_text()
        for name in _CODE.findall(names):
            part = name.removesuffix("...")
            assert re.search(rf"def test_\w*{part}", source), f"{path} has no test like {name}"


def test_what_is_broken_on_purpose_is_listed_by_its_guarantee():
    text = (ROOT / "docs" / "reliability.md").read_text()
    listed = re.findall(r"^\| (G\d [\w ]+) \| (\d+) \| (.+) \|$", text, re.MULTILINE)
    assert {guarantee: _CODE.findall(names) for guarantee, _, names in listed} == {
        guarantee: [m.name for m in MUTATIONS if m.guarantee == guarantee]
        for guarantee in sorted({m.guarantee for m in MUTATIONS})
    }
    assert [int(number) for _, number, _ in listed] == [
        len(_CODE.findall(names)) for *_, names in listed
    ]
