"""Importing a workload, and filling in a command."""

from __future__ import annotations

import importlib.util
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from energysweep.core.errors import InputError
from energysweep.sweepfile import check_workload, find_workload, load_spec, load_workload, render_command
from energysweep.sweepfile.workload import Imported
from tests.support.broken_specs import Broken, good


def write(folder: Path, program: str, **files: str) -> Path:
    files = {f"{name}.py": text for name, text in files.items()}
    return Broken("", good("workload: work.py:train", program), None, "", files).write(folder)


@pytest.fixture(autouse=True)
def _imports_are_undone() -> Iterator[None]:
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


def test_files_beside_two_files_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    results = []
    for name in ("a", "b", "a"):
        (tmp_path / name).mkdir(exist_ok=True)
        path = write(
            tmp_path / name,
            "workload: mine.py:train",
            mine="import helper\ndef train(c): return helper.NAME",
            helper=f"NAME = {name!r}",
        )
        results.append(load_workload(load_spec(path))({}))
    assert results == ["a", "b", "a"]


def test_a_file_is_imported_under_its_own_name(tmp_path: Path) -> None:
    path = write(tmp_path, "workload: mine.py:Net", mine="class Net: pass\nif __name__ == '__main__': 1 / 0")
    net = load_workload(load_spec(path))
    assert (net.__module__, sys.modules["mine"].Net) == ("mine", net)
    program = "import sys, pickle; print(type(pickle.load(sys.stdin.buffer)).__module__)"
    read = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, input=pickle.dumps(net()), capture_output=True, check=True
    )
    assert read.stdout == b"mine\n"


def test_a_file_of_a_package_is_a_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "pack" / "inner").mkdir(parents=True)
    (tmp_path / "pack" / "__init__.py").write_text("")
    (tmp_path / "pack" / "inner" / "__init__.py").write_text("from .train import train")
    (tmp_path / "pack" / "inner" / "beside.py").write_text("WORD = 'found'")
    (tmp_path / "pack" / "inner" / "train.py").write_text(
        "from . import beside\nimport beside as same_folder\ndef train(c): return beside.WORD"
    )
    for where in ("pack/inner/train.py", "pack/inner/__init__.py", "pack.inner", "pack.inner.train"):
        train = load_workload(load_spec(write(tmp_path, f"workload: {where}:train")))
        assert (train({}), train.__module__) == ("found", "pack.inner.train")


@pytest.mark.parametrize("name", ["my-train", "my train", "zug_ü", "test", "class"])
def test_names_that_a_program_can_import_somehow_are_taken(tmp_path: Path, name: str) -> None:
    spec = load_spec(write(tmp_path, f"workload: '{name}.py:train'", **{name: "def train(c): return __name__"}))
    assert load_workload(spec)({}) == name


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("random", "random is the name of a module of Python's own, whose place it would take: rename it"),
        ("json", "json is the name of a module of Python's own"),
        ("pytest", r"pytest.py has the name of the module pytest in .*, which is imported already: rename it"),
        ("my.train", r"no program could import my.train.py by its name: rename it"),
        ("__main__", r"no program could import __main__.py by its name: rename it"),
    ],
)
def test_a_name_that_is_another_module_s_is_refused_in_one_line(tmp_path: Path, name: str, said: str) -> None:
    spec = load_spec(write(tmp_path, f"workload: {name}.py:train", **{name: "def train(c): return 1"}))
    with pytest.raises(InputError, match=said) as refused:
        load_workload(spec)
    assert (refused.value.key, "\n" in str(refused.value)) == ("workload", False)


def test_a_host_with_a_newer_file_or_none_runs_what_the_driver_has_imported(tmp_path: Path) -> None:
    source = "class Net: pass\ndef train(c): return 'as it was', Net.__module__"
    path = write(tmp_path, "workload: mine.py:train", mine=source)
    _, imported = find_workload(load_spec(path))
    sent = pickle.dumps(imported)
    program = "import sys, pickle; print(pickle.load(sys.stdin.buffer).load()({}))"

    def run_elsewhere() -> str:
        done = subprocess.run([sys.executable, "-c", program], input=sent, capture_output=True, check=True)
        return done.stdout.decode().strip()

    assert run_elsewhere() == "('as it was', 'mine')"
    (tmp_path / "mine.py").write_text("def train(c): return 'newer'")
    assert run_elsewhere() == "('as it was', 'mine')"
    (tmp_path / "mine.py").unlink()
    assert run_elsewhere() == "('as it was', 'mine')"
    tmp_path.joinpath("mine.py").write_text("def train(c): return 'newer'")
    assert load_workload(load_spec(path))({}) == "newer"


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


def test_an_argument_of_a_parameter_that_does_not_exist_is_left_out() -> None:
    command = ["train", "--lr={optimizer.lr}", "--momentum={optimizer.momentum}", "--width={layers.0}", "{a}"]
    config = {"optimizer": {"lr": 0.1}, "layers": [8]}
    assert render_command(command, config) == ["train", "--lr=0.1", "--width=8"]


@pytest.mark.parametrize("argument", ["{", "}", "{}", "{a..b}", "{a[0]}", "{a!r}", "{a:>9}"])
def test_only_plain_names_are_placeholders(argument: str) -> None:
    with pytest.raises(ValueError, match=r"brace|expected|Single|encountered"):
        render_command([argument], {"a": 1})


def test_a_program_of_the_path_and_one_of_the_folder_are_found(tmp_path: Path) -> None:
    check_workload(load_spec(write(tmp_path, "command: [sh, -c, exit]")))
    (tmp_path / "program").write_text("#!/bin/sh\n")
    (tmp_path / "program").chmod(0o755)
    check_workload(load_spec(write(tmp_path, "command: [./program]")))


def test_a_file_that_is_changed_in_the_second_in_which_it_was_compiled_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file = tmp_path / "changes_at_once.py"
    found = []
    for number in (1, 2):
        file.write_text(f"NUMBER = {number}\n")
        os.utime(file, (1e9 + 0.1 * number, 1e9 + 0.1 * number))
        found.append(Imported.of_file(file, "NUMBER").load())
        compiled = Path(importlib.util.cache_from_source(str(file)))
        os.utime(compiled, (1e9 + 0.1 * number + 0.05, 1e9 + 0.1 * number + 0.05))
    assert found == [1, 2]
