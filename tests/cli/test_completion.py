"""Shells complete command lines with what ``energysweep completion`` prints."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from energysweep.cli import main
from tests.conftest import need

# Bash calls the function that the script has registered, with the words of the line and which one is completed.
_BASH = """
source "$1"
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
[[ $(complete -p energysweep) =~ -F\\ ([^ ]+) ]]
"${BASH_REMATCH[1]}" energysweep "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}" 2>/dev/null
printf '%s\\n' "${COMPREPLY[@]}"
"""


def script(shell: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["completion", shell]) == 0
    file = folder / f"energysweep.{shell}"
    file.write_text(capsys.readouterr().out)
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a sweep's file, and a run's folder."""
    inside = tmp_path / "here"
    (inside / "some-run").mkdir(parents=True)
    (inside / "some-sweep.yaml").touch()
    return inside


def bash(file: Path, folder: Path) -> Callable[..., set[str]]:
    def completed(*words: str) -> set[str]:
        command = [need("bash"), "--norc", "-c", _BASH, "bash", str(file), "energysweep", *words]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        return {line.rstrip("/ ") for line in done.stdout.splitlines() if line}

    return completed


def fish(file: Path, folder: Path) -> Callable[..., set[str]]:
    def completed(*words: str) -> set[str]:
        line = shlex.join(["energysweep", *words[:-1]]) + f" {words[-1]}"
        program = f"source {shlex.quote(str(file))}; complete --do-complete {shlex.quote(line)}"
        environment = {"HOME": str(folder.parent), "PATH": "/usr/bin:/bin"}
        command = [need("fish"), "--no-config", "--command", program]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
        return {line.partition("\t")[0].rstrip("/ ") for line in done.stdout.splitlines()}

    return completed


@pytest.mark.parametrize("shell", [bash, fish])
def test_a_shell_completes_commands_options_choices_files_and_folders(
    shell: Callable[[Path, Path], Callable[..., set[str]]],
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    completed = shell(script(shell.__name__, tmp_path, capsys), folder)
    assert completed("re") == {"resume", "report", "rehearse"}
    assert completed("account", "--b") == {"--by"}
    assert completed("account", "--by", "") == {"owner", "tag", "name", "month", "hardware"}
    assert completed("validate", "some") == {"some-run", "some-sweep.yaml"}
    assert completed("report", "some") == {"some-run"}
    assert completed("list", "some") == {"some-run"}
    assert completed("run", "some-sweep.yaml", "--output", "some") == {"some-run"}
    assert completed("dashboards", "ex") == {"export"}
    assert completed("completion", "") == {"bash", "zsh", "fish"}


def test_zsh_takes_the_script_from_its_folder_of_functions_and_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = script("zsh", tmp_path, capsys).rename(tmp_path / "_energysweep")
    begin = f"fpath=({tmp_path} $fpath); autoload -Uz compinit; compinit -u -d {tmp_path / 'dump'}"
    program = f'{begin}; print $_comps[energysweep]; eval "$(<{file})"; print $_comps[energysweep]'
    done = subprocess.run([need("zsh"), "-f", "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("_energysweep\n_shtab_energysweep\n", "")


def test_a_shell_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["completion", "tcsh"])
    assert ended.value.code == 2
    assert "choose from" in capsys.readouterr().err
