"""Imports go one way, and heavy libraries stay where they belong."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import energysweep

PACKAGE = Path(energysweep.__file__).parent

MOST_LINES = 450

# The layers from the bottom up. A part may import what stands in a lower layer, and itself.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"core"}),
    frozenset({"meters", "hourly"}),
    frozenset({"sweepfile"}),
    frozenset({"accounting", "analysis"}),
    frozenset({"agent", "ledger"}),
    frozenset({"report", "tune", "workloads"}),
    frozenset({"searching", "trackers"}),
    frozenset({"monitoring", "driver", "simulation", "export", "lightning", "huggingface"}),
    frozenset({"jobs"}),
    frozenset({"cli"}),
    frozenset({"__init__", "__main__"}),  # nobody imports these but a program's user
)
HOMES = {
    "ray": {"tune", "searching", "driver", "jobs", "workloads"},
    "optuna": {"searching"},
    "pathspec": {"jobs"},
    "pyarrow": {"driver", "jobs", "export"},
    "aiohttp": {"jobs"},
    "torch": {"workloads", "lightning"},
    "pytorch_lightning": {"lightning"},
    "transformers": {"huggingface"},
    "numpy": {"analysis", "workloads"},
    "scipy": {"analysis"},
    "mlxtend": {"workloads"},
    "PIL": {"workloads"},
    "pynvml": {"meters"},
    "codecarbon": {"meters", "core", "export"},
    "plotly": {"report"},
    "prometheus_client": {"agent", "monitoring"},
    "grafana_api": {"monitoring"},
    "packaging": {"monitoring"},
    "requests": {"monitoring", "jobs", "hourly"},
    "sqlite3": {"ledger"},
    "mlflow": {"trackers"},
    "wandb": {"trackers"},
    "tensorboard": {"trackers"},
}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part_of(module: str) -> str:
    _, _, rest = module.partition(".")
    return rest.split(".")[0] or "__init__"


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@functools.cache
def imported(path: Path) -> tuple[str, ...]:
    """Everything that a file imports, also inside functions: modules, and names inside of modules."""
    return tuple(_imported(path))


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_modules(path: Path) -> set[str]:
    """The modules of this package that a file imports."""
    names = {name for name in imported(path) if name.split(".")[0] == "energysweep"}
    return {name if name in MODULES else name.rpartition(".")[0] for name in names}


def layer(part: str) -> int:
    return next(number for number, parts in enumerate(LAYERS) if part in parts)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module: str) -> None:
    part = part_of(module)
    wrong = [
        name
        for name in imported_modules(MODULES[module])
        # the package itself holds the version
        if name != "energysweep" and part_of(name) != part and layer(part_of(name)) >= layer(part)
    ]
    assert wrong == []


def test_the_document_says_which_way_imports_go() -> None:
    text = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    sentence = text.partition("Imports go one way:")[2].partition(".\n")[0]
    said = [frozenset(re.findall(r"`(\w+)`", layer)) for layer in sentence.split("←")]
    assert said == [*LAYERS[:-1]]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_can_be_read_at_a_sitting(module: str) -> None:
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_no_module_imports_itself_over_others() -> None:
    # Python's own rule: a package's __init__ is run before its modules, which is no import of theirs.
    graph = {module: imported_modules(path) - {"energysweep"} for module, path in MODULES.items()}
    graph["energysweep"] = set()  # imports its names when they are first used
    TopologicalSorter(graph).prepare()  # raises CycleError and names the cycle


@pytest.mark.parametrize("library", HOMES)
def test_a_library_is_imported_only_in_its_home(library: str) -> None:
    users = {
        part_of(module)
        for module, path in MODULES.items()
        if any(name.split(".")[0] == library for name in imported(path))
    }
    assert users <= HOMES[library]


def test_nvidia_s_library_is_imported_by_one_module() -> None:
    users = [module for module, path in MODULES.items() if any(name.startswith("pynvml") for name in imported(path))]
    assert users == ["energysweep.meters.nvml_library"]


def test_the_exported_names_are_those_that_can_be_had() -> None:
    assert sorted(energysweep.__all__) == sorted([*energysweep._HOMES, "__version__"])
    assert dir(energysweep) == sorted(energysweep.__all__)
    for name in energysweep.__all__:
        assert getattr(energysweep, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = energysweep.nonsense


@pytest.mark.parametrize("name", energysweep._HOMES)
def test_no_module_hides_an_exported_name(name: str) -> None:
    # Importing a module binds it to its package, where it would take the place of a name of the same spelling.
    assert not (PACKAGE / name).exists()
    assert not (PACKAGE / f"{name}.py").exists()


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("energysweep", {"ray", "torch", "codecarbon", "plotly", "pydantic", "prometheus_client"}),
        ("energysweep.agent.training", {"ray", "torch", "plotly", "optuna", "transformers", "pytorch_lightning"}),
        ("energysweep.cli", {"ray", "torch", "codecarbon", "plotly"}),
        ("energysweep.agent.lifecycle", {"ray", "torch", "plotly", "optuna"}),
        ("energysweep.agent.tracking", {"ray", "torch", "plotly", "optuna"}),
        ("energysweep.sweepfile", {"ray", "torch", "plotly", "optuna"}),
    ],
)
def test_importing_a_module_loads_nothing_heavy(module: str, heavy: set[str]) -> None:
    loaded = run(f"import sys, {module}; print(*(name for name in sys.modules if '.' not in name))").split()
    assert heavy.isdisjoint(loaded)


# What the agent's image does without (docker/agent-requirements.txt), by the names that are imported.
_NOT_IN_THE_AGENT_S_IMAGE = ("jinja2", "numpy", "pandas", "plotly", "pyarrow", "ray", "rich", "scipy", "torch", "yaml")


def test_an_agent_starts_with_what_its_image_has() -> None:
    listed = (PACKAGE.parent / "docker" / "agent-requirements.txt").read_text(encoding="utf-8").casefold()
    assert [name for name in _NOT_IN_THE_AGENT_S_IMAGE if re.search(rf"^{name}\b", listed, re.MULTILINE)] == []
    modules = ("energysweep.cli", "energysweep.agent.agent", "energysweep.agent.server", "energysweep.agent.web")
    run(
        f"import sys; sys.modules.update(dict.fromkeys({_NOT_IN_THE_AGENT_S_IMAGE}));"
        f" import {', '.join(modules)}; energysweep.cli._parser()"
    )


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.strip()


# Names: what begins with an underscore is its module's own, and what a module alone uses begins with one -------------


def test_a_name_with_an_underscore_is_used_by_its_module_alone() -> None:
    taken = [
        f"{module}: {name}"
        for module, path in MODULES.items()
        for name in imported(path)
        if name.startswith("energysweep.") and re.match(r"_[^_]", name.rpartition(".")[2])
    ]
    assert taken == []


def test_what_a_module_alone_uses_begins_with_an_underscore() -> None:
    root = PACKAGE.parent
    others = [path for folder in ("tests", "benchmarks", "study") for path in sorted((root / folder).rglob("*.py"))]
    mentioned = {path: set(_mentioned(path)) for path in [*MODULES.values(), *others]}
    alone = [
        f"{module}: {name}"
        for module, path in MODULES.items()
        for name in _defined(path)
        if not any(name in names for other, names in mentioned.items() if other != path)
    ]
    assert alone == []


def _defined(path: Path) -> set[str]:
    """The functions and classes without an underscore, but for types that others may get, give or catch."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    types = {each.id for node in ast.walk(tree) for each in _types_in(node) if isinstance(each, ast.Name)}
    return {name for name in defined - types if not name.startswith("_")}


def _types_in(node: ast.AST) -> Iterator[ast.AST]:
    found: list[ast.expr | None] = []
    match node:
        case ast.arg(annotation=annotation) | ast.AnnAssign(annotation=annotation):
            found = [annotation]
        case ast.FunctionDef(returns=returns):
            found = [returns]
        case ast.ClassDef(bases=bases):
            found = [*bases]
        case ast.Raise(exc=error):
            found = [error]
        case ast.Assign(targets=[ast.Attribute(attr=attribute)], value=value) if not attribute.startswith("_"):
            found = [value]
    for each in found:
        yield from ast.walk(each) if each is not None else ()


def _mentioned(path: Path) -> Iterator[str]:
    """Every name in a file, also in a text that is a program, or that says where something is: ``"...asha:make"``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                yield name
            case ast.alias(name=name):
                yield name.rpartition(".")[2]
            case ast.Constant(value=str(text)):
                yield from re.findall(r"\w+", text) if "import " in text else [text.rpartition(":")[2]]
