"""`make study` as a person types it, shortened: to its combined report; at full size on small files; and the text."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from energysweep.report import summarise
from tests.driver.test_resume import read
from tests.support import published

ROOT = Path(__file__).parents[2]
# One repeat, small models, a target that is soon reached.
SHORTER = "repeats=1 parameters.width=8 parameters.epochs=3 objective.target=0.5"
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1800)]


def make_study(**variables: str) -> str:
    """What it printed."""
    settings = {"BIN": str(Path(sys.executable).parent), "STUDY_OPTIONS": "--metrics-port 0", **variables}
    # What is installed is not installed again.
    command = ["make", "--old-file=.venv/.installed", "study", *(f"{name}={value}" for name, value in settings.items())]
    # Two threads that spin for each other are slow where something else has one of the cores.
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def answered(said: str) -> dict[str, list[str]]:
    """The runs that answer, by the question: the first screen of the combined report."""
    answers: dict[str, list[str]] = {}
    runs: list[str] = []
    for line in said.splitlines():
        if re.fullmatch(r"[A-Z].*\?", line):
            runs = answers.setdefault(line, [])
        elif found := re.match(r"  ((?:study|full)-[\w-]+): ", line):
            runs.append(found[1])
    return {question: sorted(set(found)) for question, found in answers.items()}


def expected(*grids: str) -> dict[str, list[str]]:
    questions = ("Which setting is cheapest at equal accuracy, and by how much?", "Why: epochs, or joules per epoch?")
    return {question: list(grids) for question in questions}


# The one test has two of the study's five sweeps, the other the rest.


def test_make_study_ends_with_a_combined_report_that_answers_its_questions(tmp_path: Path, agent_home: Path) -> None:
    said = make_study(
        STUDY="pretraining hardware",
        STUDY_RESULTS=str(tmp_path / "study"),
        STUDY_SET=f"{SHORTER} parameters.batch_size=16",
    )
    found = answered(said)
    assert found == expected("study-hardware") | {
        "Does pretraining pay?": ["study-pretraining"],
        "Does multitask training pay?": [],
        "On which hardware?": ["study-hardware"],
        "What has all this cost?": [],
    }
    report = (tmp_path / "study" / "report.html").read_text(encoding="utf-8")
    assert [question for question in found if question not in report] == []


@pytest.mark.variant
def test_the_full_size_study_runs_on_small_files_in_the_published_layouts(
    tmp_path: Path, agent_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENERGYSWEEP_DATA", str(tmp_path))
    published.celeba(tmp_path, more=("Eyeglasses",))
    published.pamap2(tmp_path, readings=3000).rename(tmp_path / "pamap2")
    # No GPU here: the profile of that name has one CPU, and is the only one; two profiles are in the test above.
    hardware = 'hardware={"gpu":{"resources":{"cpu":1}}}'
    grids = ["baseline-images", "baseline-sensors"]
    said = make_study(
        STUDY=" ".join([*grids, "multitask"]),
        STUDY_FOLDER="sweeps/study/full",
        STUDY_RESULTS=str(tmp_path / "study"),
        STUDY_SET=f"{SHORTER} parameters.batch_size=4 {hardware}",
    )
    found = answered(said)
    assert set(expected()) < set(found)
    assert found["Does multitask training pay?"] == ["full-multitask"]
    decoded = sorted(path.parent.parent.name for path in tmp_path.rglob("data.json"))
    assert decoded == ["celeba-64", "pamap2-512-100"]  # once, before the trials, for all of them
    trials = [trial for name in grids for trial in read(tmp_path / "study" / name).trials]
    assert len(trials) == 4 + 4
    assert {trial.status for trial in trials} == {"completed"}


@pytest.mark.variant
def test_the_sweep_on_a_text_runs_as_it_is_documented(
    tmp_path: Path, agent_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ENERGYSWEEP_DATA", raising=False)
    command = ["run", "sweeps/text.yaml", "--output", str(tmp_path), "--run-id", "text", "--metrics-port", "0"]
    subprocess.run([sys.executable, "-m", "energysweep", *command], cwd=ROOT, env=os.environ, check=True)
    trials = summarise(read(tmp_path / "text")).trials
    assert [trial.status for trial in trials] == ["completed"] * 6
    assert any(trial.reached_target for trial in trials)
