"""CI installs every program that a test asks for, because there a test fails without it: none is left out."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
CI = TESTS.parent / ".ci"


def strings(node: ast.AST) -> set[str]:
    return {each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)}


def needed(path: Path) -> Iterator[str]:
    """The programs that a file gives to ``need``: by name, from a loop over names, or as a parameter's default."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    variables: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.For) and isinstance(node.target, ast.Name):
            variables.setdefault(node.target.id, set()).update(strings(node.iter))
        elif isinstance(node, ast.FunctionDef):
            for parameter, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
                variables.setdefault(parameter.arg, set()).update(strings(default) if default else ())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "need":
            (argument,) = node.args
            names = variables.get(argument.id, set()) if isinstance(argument, ast.Name) else strings(argument)
            assert names, f"{path}:{node.lineno}: which program it needs cannot be seen here"
            yield from names


def installed(script: Path) -> set[str]:
    """The programs of the script's loop over ``program:package``."""
    loop = re.search(r"^for program in (.*?); do$", script.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert loop is not None
    return {pair.partition(":")[0] for pair in loop.group(1).replace("\\\n", " ").split()}


def skips(path: Path) -> Iterator[str]:
    """Where a file leaves tests out by itself, past ``do_without``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr in {"skip", "skipif", "importorskip", "SkipTest"}:
            yield f"{path.relative_to(TESTS)}: {ast.unparse(node)}"


def test_no_test_is_left_out_where_none_may_be() -> None:
    found = {skip for path in TESTS.rglob("*.py") for skip in skips(path)}
    # One is how to do without; KubeRay's own schemas come with no package, so CI cannot install them.
    assert found == {"conftest.py: pytest.skip", "helm/test_manifests.py: pytest.skip"}


def test_ci_installs_every_program_that_a_test_needs() -> None:
    programs = {program for path in TESTS.rglob("*.py") for program in needed(path)}
    assert programs >= {"prometheus", "ip", "npm", "helm"}  # one of each way to name it
    assert programs <= installed(CI / "run") | {"helm", "helm3"}  # .ci/run fetches these from elsewhere
