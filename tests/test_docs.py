"""What the documents say is so."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from energysweep.cli import _parser
from energysweep.core import metrics
from energysweep.sweepfile import SweepSpec, load_spec

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
PROSE = sorted([*DOCUMENTS, *ROOT.glob("helm/*/README.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")
CLUSTER = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")


def blocks(language: str, text: str = README) -> list[str]:
    """The fenced code blocks of a language in the README, or in another text."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    """Every ``energysweep ...`` command line of the README and of docs/cluster.md, without its comment."""
    both = [*blocks("sh"), *blocks("sh", CLUSTER)]
    lines = [line.partition("#")[0].strip() for block in both for line in block.splitlines()]
    return [line for line in lines if line.startswith("energysweep ")]


def relative_links(document: Path) -> list[str]:
    """Targets of links and pictures that are files of this project, without their anchors."""
    targets = re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8"))
    return [target.partition("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]


def test_the_document_of_the_metrics_is_made_from_the_table_as_it_is() -> None:
    assert (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8") == metrics.markdown(), "run `make docs`"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_relative_link_leads_to_a_file(document: Path) -> None:
    assert [link for link in relative_links(document) if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", PROSE, ids=lambda path: str(path.relative_to(ROOT)))
def test_prose_is_wrapped_where_it_is_read_beside_its_changes(document: Path) -> None:
    # Tables and code have the lines that they need.
    text = document.read_text(encoding="utf-8")
    lines = text.splitlines()
    paragraphs = [
        token.map for token in MarkdownIt().enable("table").parse(text) if token.type == "paragraph_open" and token.map
    ]
    assert [number + 1 for begin, end in paragraphs for number in range(begin, end) if len(lines[number]) > 120] == []


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "docs/architecture.md", "docs/security.md"])
def test_every_module_that_a_document_names_is_there(document: str) -> None:
    named = set(re.findall(r"`([a-z_]+/[a-z_/]*\.py)`", (ROOT / document).read_text(encoding="utf-8")))
    assert len(named) > 3
    assert [name for name in named if not any((base / name).exists() for base in (ROOT, ROOT / "energysweep"))] == []


def nouns() -> list[tuple[str, list[Path]]]:
    """The classes in the table of docs/architecture.md, each with the modules that its row names."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| ([^|]+) \| [^|]+ \| ([^|]+) \|$", text.partition("| noun |")[2].partition("\n\n")[0], re.MULTILINE
    )
    found = []
    for names, where in rows:
        places = [ROOT / "energysweep" / place for place in re.findall(r"`([a-z_/.]+)`", where)]
        modules = [module for place in places for module in (place.rglob("*.py") if place.is_dir() else [place])]
        found += [(name, modules) for name in names.split(", ") if name[:1].isupper()]
    return found


@pytest.mark.parametrize(("noun", "modules"), nouns())
def test_every_noun_of_the_architecture_is_defined_where_it_says(noun: str, modules: list[Path]) -> None:
    assert any(re.search(rf"^ *class {noun}\b", module.read_text(encoding="utf-8"), re.MULTILINE) for module in modules)


def test_every_test_that_a_document_names_is_there() -> None:
    named = {name for path in DOCUMENTS for name in re.findall(r"`(test_\w+)`", path.read_text(encoding="utf-8"))}
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(named) > 20
    assert [name for name in named if f"def {name}(" not in tests] == []


def test_the_readme_shows_commands() -> None:
    assert len(commands()) >= 5


@pytest.mark.parametrize("line", commands())
def test_every_command_line_of_the_documents_is_one(line: str) -> None:
    _parser().parse_args(shlex.split(line)[1:])  # exits if it is wrong


@pytest.mark.parametrize("line", [line for line in commands() if line.split()[1] in ("run", "validate")])
def test_every_sweep_that_the_documents_run_makes_trials(line: str) -> None:
    arguments = _parser().parse_args(shlex.split(line)[1:])
    assert load_spec(ROOT / arguments.sweep, arguments.overrides).objective.metric == "accuracy"


@pytest.mark.parametrize("code", blocks("python"))
def test_the_python_of_the_readme_compiles(code: str) -> None:
    compile(code, "README.md", "exec")


@pytest.mark.parametrize("text", [block for block in blocks("yaml") if block.startswith("name:")])
def test_the_sweeps_in_the_readme_load(text: str, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(text)
    assert load_spec(tmp_path / "sweep.yaml").name.startswith("my-")


def test_every_key_of_a_sweep_is_documented() -> None:
    documented = (ROOT / "docs" / "sweep-yaml.md").read_text(encoding="utf-8")
    assert [key for key in SweepSpec.model_fields if f"| `{key}` |" not in documented] == []


def subcommands() -> list[str]:
    """The names of the commands."""
    actions: list[Any] = _parser()._actions
    return [name for action in actions if isinstance(action.choices, dict) for name in action.choices]


@pytest.mark.parametrize("document", ["README.md", "docs/architecture.md"])
def test_every_command_is_named(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    assert [name for name in subcommands() if not re.search(rf"`(energysweep )?{name}`|energysweep {name}", text)] == []


def section(title: str) -> str:
    """Of docs/architecture.md, up to the next title."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    return text.partition(f"### {title}\n")[2].partition("\n#")[0]


def test_the_list_of_commands_is_the_programs() -> None:
    listed = re.findall(r"`([a-z]+)`", section("Command line").partition(";")[0])
    assert sorted(listed) == sorted(subcommands())


def strings(node: ast.AST) -> set[str]:
    return {each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)}


def looked_up(node: ast.AST) -> tuple[ast.expr, ast.expr] | None:
    """A mapping and the key that is read of it here, if any is."""
    match node:
        case ast.Call(func=ast.Attribute(value=mapping, attr="get" | "pop"), args=[key, *_]):
            return mapping, key
        case ast.Subscript(value=mapping, slice=key, ctx=ast.Load()):
            return mapping, key
        case ast.Compare(left=key, ops=[ast.In() | ast.NotIn()], comparators=[mapping]):
            return mapping, key
    return None


def variables_read(code: str) -> set[str]:
    """The variables that a module reads of ``os.environ``, or of a mapping of texts that it was given in its place.

    A name may stand in a constant, or in a variable. Our own are found wherever they stand.
    """
    tree = ast.parse(code)
    named: dict[str, set[str]] = {}
    given = {"os.environ"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                named.setdefault(ast.unparse(target), set()).update(strings(node.value))
        elif isinstance(node, ast.arg) and node.annotation is not None:
            given |= {node.arg} if ast.unparse(node.annotation) == "Mapping[str, str]" else set()
    found = set(re.findall(r"\b(?:ENERGYSWEEP_[A-Z_]+|RAY_[A-Z_]*ADDRESS|[A-Z]+_TOKEN)\b", code))
    for node in ast.walk(tree):
        mapping, key = looked_up(node) or (None, None)
        if mapping is not None and key is not None and ast.unparse(mapping) in given:
            found |= strings(key) | named.get(ast.unparse(key), set())
    return {name for name in found if re.fullmatch("[A-Z][A-Z0-9_]+", name)}


@pytest.mark.parametrize(
    ("code", "read"),
    [
        ("os.environ.get('HOME', 'X') or os.environ['PATH']", {"HOME", "PATH"}),
        ("NAME = 'TZ'\nif NAME in os.environ: pass", {"TZ"}),
        ("def f(given: Mapping[str, str]): return given.get('TERM')", {"TERM"}),
        ("def f(given: dict[str, int]): return given.get('TERM')", set()),
        ("which = 'A_B' if x else 'C_D'\nos.environ.get(which)", {"A_B", "C_D"}),
        ("os.environ['SET'] = 'VALUE'", set()),
        ("seconds_of('ENERGYSWEEP_LINGER', 5)", {"ENERGYSWEEP_LINGER"}),
    ],
)
def test_variables_are_seen_however_they_are_read(code: str, read: set[str]) -> None:
    assert variables_read(code) == read


def test_every_variable_that_is_read_is_in_the_list_of_variables_and_every_other_is_not() -> None:
    read = {
        name
        for path in (ROOT / "energysweep").rglob("*.py")
        for name in variables_read(path.read_text(encoding="utf-8"))
    }
    assert read >= {"ENERGYSWEEP_LINGER", "CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES", "RAY_ADDRESS"}
    rows = re.findall(r"^\| (`.*?`) \|", section("Environment"), re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == read


def test_every_field_of_the_totals_is_documented() -> None:
    from energysweep.ledger.balance import Totals

    documented = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert [name for name in Totals.__dataclass_fields__ if name not in documented] == []
