"""The command line as a person meets it."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import energysweep
from energysweep.cli import _parser, main
from tests.support.broken_specs import BROKEN, GOOD, WORK

SWEEPS = Path(__file__).parents[2] / "sweeps"

# One process for all cases: each would spend a second on importing.
_RUN_ALL = """
import contextlib, io, json, sys
from energysweep.cli import main
answers = []
for arguments in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    answers.append((code, out.getvalue(), err.getvalue()))
print(json.dumps({"answers": answers, "ray": "ray" in sys.modules}))
"""


@pytest.mark.parametrize("command", ["run", "validate"])
def test_every_broken_sweep_gets_one_message_exit_code_2_and_no_ray(command: str, tmp_path: Path) -> None:
    # A workload may import Ray itself; what must not happen is that a broken file starts it.
    cases = [case for case in BROKEN if case.found_by == "load_spec"]
    assert len(cases) >= 30
    lines = []
    for number, case in enumerate(cases):
        folder = tmp_path / str(number)
        folder.mkdir()
        options = [part for option in case.options for part in ("--set", option)]
        lines.append([command, str(case.write(folder)), *options])
    done = subprocess.run(
        [sys.executable, "-c", _RUN_ALL], input=json.dumps(lines), capture_output=True, text=True, check=True
    )
    said = json.loads(done.stdout)
    assert not said["ray"]
    for case, (code, out, err) in zip(cases, said["answers"], strict=True):
        assert code == 2, (case.id, out, err)
        assert out == "", case.id
        assert err.startswith("energysweep: "), case.id
        assert "Traceback" not in err, case.id
        assert case.key is None or case.key in err, (case.id, err)
        assert case.fragment in err, (case.id, err)


def test_a_workload_that_cannot_be_loaded_is_told_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = [case for case in BROKEN if case.found_by == "check_workload"]
    assert cases
    for number, case in enumerate(cases):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert main(["validate", str(case.write(folder))]) == 2, case.id
        err = capsys.readouterr().err
        assert case.fragment in err, (case.id, err)


def test_validate_says_how_many_trials_it_makes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(SWEEPS / "quickstart.yaml"), "--set", "repeats=3"]) == 0
    assert capsys.readouterr().out == "quickstart: 9 configurations x 3 repeats = 27 trials\n"


def test_validate_says_what_a_function_makes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "made.py").write_text(
        "def train(config):\n    pass\n\n\ndef space(trial):\n    return {'a': {'b': 1}}\n"
    )
    (tmp_path / "sweep.yaml").write_text(
        "name: made\nworkload: made.py:train\nspace: made.py:space\nobjective: {metric: accuracy, mode: max}\n"
    )
    assert main(["validate", str(tmp_path / "sweep.yaml")]) == 0
    assert capsys.readouterr().out == "made: 1 configuration = 1 trial\nmade.py:space makes a.b\n"


def test_validate_prints_the_json_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "--schema"]) == 0
    assert "objective" in json.loads(capsys.readouterr().out)["properties"]


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["report", "no/such/folder"], "there is no such folder"),
        (["report", str(SWEEPS)], "this is no run folder"),
        (["compare", str(SWEEPS)], "this is no run folder"),
        (["validate"], "needs a sweep's file"),
    ],
)
def test_what_is_no_run_folder_is_told(arguments: list[str], fragment: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert fragment in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["run"],
        ["run", "x.yaml", "--metrics-port", "99999"],
        ["report", "x", "--carbon"],
        ["run", "x", "-z"],
        ["run", "x.yaml", "--ray-restarts", "-1"],
        ["resume", "x", "--ray-restarts", "²"],
        ["agent", "--linger", "nan"],
        ["agent", "--linger=-5"],
    ],
)
def test_a_wrong_command_line_is_exit_code_2_and_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("energysweep: ")
    assert err.count("\n") == 1


def test_doctor_names_every_kind_of_meter(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    for kind in ("rapl", "nvml", "estimate"):
        assert kind in out


@pytest.fixture
def small_sweep(tmp_path: Path) -> Path:
    """A folder with sweep.yaml, whose workload is imported in no time."""
    (tmp_path / "sweep.yaml").write_text(GOOD)
    (tmp_path / "work.py").write_text(WORK)
    return tmp_path


@pytest.mark.parametrize("command", [["validate", "--schema"], ["doctor"], ["validate", "sweep.yaml"]])
def test_an_output_that_takes_nothing_is_one_line(command: list[str], small_sweep: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "energysweep", *command],
            cwd=small_sweep,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "energysweep: the output: No space left on device\n")


@pytest.mark.parametrize("command", [["report", "no/such/folder"], ["validate", "sweep.yaml"]])
def test_a_command_works_without_an_output(command: list[str], small_sweep: Path) -> None:
    closed = subprocess.run(
        ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", sys.executable, "-m", "energysweep", *command],
        cwd=small_sweep,
        check=False,
    )
    assert closed.returncode == (2 if command[0] == "report" else 0)


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and those of its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from parsers(command)


@pytest.mark.parametrize("parser", list(parsers(_parser())), ids=lambda parser: parser.prog)
def test_what_help_says_is_sentences(parser: argparse.ArgumentParser) -> None:
    assert parser.description is not None
    assert re.fullmatch(r"energysweep .+ [a-z]+s .+\.|Hyperparameter sweeps .+\.", parser.description)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            lines = [choice.help or "" for choice in action._choices_actions]
            assert [line for line in lines if not re.fullmatch(r"[a-z]+s .+\.", line)] == []  # after the command's name
        elif action.dest not in ("help", "version"):
            assert re.fullmatch(r"[A-Z].+ .+\.", action.help or ""), action.dest


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"energysweep {energysweep.__version__}\n"
