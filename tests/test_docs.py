"""What the documents say is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from energysweep import metrics
from energysweep.cli import _parser
from energysweep.spec import SweepSpec, load_spec

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
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


def test_every_variable_that_is_read_is_in_the_list_of_variables_and_every_other_is_not() -> None:
    read = {
        name
        for path in (ROOT / "energysweep").rglob("*.py")
        for name in re.findall(
            r"\b(?:ENERGYSWEEP_[A-Z_]+|RAY_[A-Z_]*ADDRESS|[A-Z]+_TOKEN)\b", path.read_text(encoding="utf-8")
        )
    }
    assert len(read) > 10
    assert set(re.findall(r"^\| `(\w+)`", section("Environment"), re.MULTILINE)) == read


def test_every_field_of_the_totals_is_documented() -> None:
    from energysweep.reporting.balance import Totals

    documented = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert [name for name in Totals.__dataclass_fields__ if name not in documented] == []
