"""Importing a workload, and filling in a command."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from energysweep.errors import InputError
from energysweep.spec import check_workload, load_spec, load_workload, render_command

from .broken_specs import Broken, good


def write(folder: Path, program: str, **files: str) -> Path:
    files = {f"{name}.py": text for name, text in files.items()}
    return Broken("", good("workload: work.py:train", program), None, "", files).write(folder)


@pytest.fixture(autouse=True)
def _imports_are_undone():
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def test_a_function_of_a_file_beside_the_sweep_is_loaded(tmp_path: Path) -> None:
    spec = load_spec(
        write(tmp_path, "workload: mine.py:train", mine="from helper import train", helper="def train(c): return 7")
    )
    assert load_workload(spec)({}) == 7
    assert load_workload(spec) is load_workload(spec)


def test_two_files_of_the_same_name_are_two_modules(tmp_path: Path) -> None:
    results = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        path = write(folder, "workload: mine.py:train", mine=f"def train(c): return {folder.name!r}")
        results.append(load_workload(load_spec(path))({}))
    assert results == ["a", "b"]


def test_a_loaded_file_is_registered_as_its_functions_say(tmp_path: Path) -> None:
    train = load_workload(load_spec(write(tmp_path, "workload: work.py:train")))
    assert sys.modules[train.__module__].train is train


def test_a_class_of_a_module_beside_the_sweep_is_loaded(tmp_path: Path) -> None:
    spec = load_spec(
        write(
            tmp_path,
            "workload: module_of_this_test:Outer.Inner",
            module_of_this_test="class Outer:\n class Inner: pass",
        )
    )
    assert load_workload(spec).__name__ == "Inner"


def test_a_written_sweep_finds_the_module_beside_the_first_file(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    path = write(
        tmp_path / "here", "workload: other_module_of_this_test:train", other_module_of_this_test="def train(c): pass"
    )
    copy = tmp_path / "sweep.yaml"
    copy.write_text(load_spec(path).to_yaml())
    check_workload(load_spec(copy))


def test_a_fault_inside_the_workload_is_told_from_a_missing_module(tmp_path: Path) -> None:
    spec = load_spec(write(tmp_path, "workload: needy_module:train", needy_module="import absent_thing"))
    with pytest.raises(
        InputError, match="importing needy_module failed: ModuleNotFoundError: No module named 'absent_thing'"
    ):
        load_workload(spec)


def test_a_file_that_failed_can_be_loaded_once_it_is_mended(tmp_path: Path) -> None:
    spec = load_spec(write(tmp_path, "workload: mine.py:train", mine="1 / 0"))
    with pytest.raises(InputError, match="ZeroDivisionError"):
        load_workload(spec)
    (tmp_path / "mine.py").write_text("def train(config): return 'mended'")
    assert load_workload(spec)({}) == "mended"


def test_a_command_is_filled_in() -> None:
    command = [
        "python",
        "train.py",
        "--lr={lr}",
        "{name}",
        '{{"deep": {deep}}}',
        "--sizes={sizes}",
        "{seed}-{hardware}",
    ]
    values = {"lr": 1e-3, "name": "a b", "deep": True, "sizes": [1, 2], "seed": 0, "hardware": "h100"}
    assert render_command(command, values) == [
        "python",
        "train.py",
        "--lr=0.001",
        "a b",
        '{"deep": true}',
        "--sizes=[1, 2]",
        "0-h100",
    ]


def test_values_with_braces_stay_as_they_are() -> None:
    assert render_command(["{a}"], {"a": "{b}", "b": "no"}) == ["{b}"]


def test_a_placeholder_without_a_value_is_an_error() -> None:
    with pytest.raises(KeyError):
        render_command(["{absent}"], {})


@pytest.mark.parametrize("argument", ["{", "}", "{}", "{a.b}", "{a[0]}", "{a!r}", "{a:>9}"])
def test_only_plain_names_are_placeholders(argument: str) -> None:
    with pytest.raises(ValueError, match=r"brace|expected|Single|encountered"):
        render_command([argument], {"a": 1})


def test_a_program_of_the_path_and_one_of_the_folder_are_found(tmp_path: Path) -> None:
    check_workload(load_spec(write(tmp_path, "command: [sh, -c, exit]")))
    (tmp_path / "program").write_text("#!/bin/sh\n")
    (tmp_path / "program").chmod(0o755)
    check_workload(load_spec(write(tmp_path, "command: [./program]")))
