"""The study's sweeps: right for their workloads, also those at full size, which no test runs; and done once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from torch.utils.flop_counter import FlopCounterMode

from energysweep.core.runfolder import LEDGER
from energysweep.report import summarise
from energysweep.report.answers import study_answers
from energysweep.sweepfile import SweepSpec, load_spec, points, stage_spec
from energysweep.sweepfile.distributions import Grid
from energysweep.workloads.prepare import WORKLOADS
from tests.driver.test_resume import in_the_midst_of_a_later_trial, kill_at, read, wait_for

ROOT = Path(__file__).parents[2]
STUDY = ROOT / "sweeps" / "study"
SWEEPS = sorted(STUDY.rglob("*.yaml"))


def parts(spec: SweepSpec) -> list[SweepSpec]:
    return [spec, *(stage_spec(spec, name) for name in spec.stages)]


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: str(path.relative_to(STUDY)))
def test_every_configuration_of_the_study_is_one_of_its_workload(path: Path) -> None:
    spec = load_spec(path)
    settings = WORKLOADS[spec.workload or ""].Settings
    for part in parts(spec):
        for point in points(part):
            settings.from_config(point.parameters | {"seed": point.seed})
    assert spec.repeats >= 3
    tasks = spec.parameters.get("tasks")
    assert isinstance(tasks, Grid | None) or (
        isinstance(tasks, list) and len(tasks) == 1
    )  # several tasks are the multitask part's
    assert spec.objective.stop_at_target
    for name in spec.stages:
        stage = stage_spec(spec, name)
        assert stage.parameters["epochs"] % stage.parameters["checkpoint_every"] == 0  # the last epoch is kept


@pytest.mark.parametrize("path", sorted(STUDY.glob("*.yaml")), ids=lambda path: path.stem)
def test_an_epoch_of_the_study_is_long_for_a_meter_that_is_read_ten_times_a_second(path: Path) -> None:
    # A core of 2020 does some 40 GFLOP a second, so 30 are about 0.8 s; seconds themselves hang on the machine.
    spec = load_spec(path)
    for point in (point for part in parts(spec) for point in points(part) if not point.seed):
        assert epoch_flops(WORKLOADS[spec.workload or ""], point.parameters) > 30e9, point.parameters


def epoch_flops(workload: ModuleType, parameters: dict[str, Any]) -> float:
    """Floating point operations of an epoch's training: forward, and twice as many backward for what learns."""
    settings = workload.Settings.from_config(parameters)
    data = workload.read(settings).of_classes(settings.classes)
    with FlopCounterMode(display=False) as counter:
        workload.encoder(settings, data)(data.train_inputs[:1])
    is_frozen = settings.pretrained is not None and settings.pretrained.freeze_encoder
    return float(counter.get_total_flops() * len(data.train_inputs) * (1 if is_frozen else 3))


def test_every_part_of_the_study_stands_beside_its_full_size_and_in_make_study() -> None:
    small = sorted(path.stem for path in STUDY.glob("*.yaml"))
    assert small == sorted(path.stem for path in (STUDY / "full").glob("*.yaml"))
    [names] = re.findall(r"^STUDY := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert sorted(names.split()) == small


def energysweep(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "energysweep", *arguments]
    done = subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def run_of(name: str, output: str, *settings: str) -> list[str]:
    """The arguments that run, or go on with, a part of the study: one repeat, small digits, one trial at a time."""
    settings = ("repeats=1", "parameters.data=digits", "max_concurrent_trials=1", *settings)
    options = [option for setting in settings for option in ("--set", setting)]
    path = str(STUDY / f"{name}.yaml")
    return ["run", path, "--output", output, "--run-id", name, "--metrics-port", "0", *options]


def outcomes(folder: Path, lost: Mapping[str, int]) -> dict[tuple[str, int | None], tuple[object, ...]]:
    """By configuration and seed, what does not hang on the machine: status, whether the target was reached, accuracy,
    and epochs in all and to the target, without those that were lost."""
    found: dict[tuple[str, int | None], tuple[object, ...]] = {}
    for trial in summarise(read(folder)).trials:
        without = lost.get(trial.config, 0)
        to_target = None if trial.iterations_to_target is None else trial.iterations_to_target - without
        epochs = (trial.iterations or 0) - without
        found[trial.config, trial.seed] = (
            trial.status, trial.reached_target, trial.metrics["accuracy"], epochs, to_target
        )  # fmt: skip
    return found


def answered(*folders: Path) -> list[tuple[str, list[tuple[str, str]]]]:
    """Every question with the runs that answer it; what the pretraining's run answers, in full."""
    return [
        (
            answer.question,
            [(line.run, f"{line.short}: {line.brief}" if "pretraining" in line.run else "") for line in answer.lines],
        )
        for answer in study_answers([summarise(read(folder)) for folder in folders])
    ]


FACTS = {
    "run", "workload", "trials", "reached the target",
    "setting", "reached",
    "use", "tasks", "hardware", "final score from scratch", "score of the worst task, separate", "repeats", "censored",
    "purpose", "component", "source", "uncertainty", "PUE", "g CO2e/kWh",
}  # fmt: skip


def facts(markdown: Path) -> list[tuple[str, ...]]:
    """Headings, and of each table's rows the columns without energy and time; whole rows of the pretraining's run.

    A row that comes twice counts once: the second part of a run has meters of its own.
    """
    found: dict[tuple[str, ...], None] = {}
    head: list[str] = []
    for line in markdown.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            head = []
            if line.startswith("#"):
                found[line,] = None
        elif not head:
            head = [cell.strip() for cell in line.split("|")[1:-1]]
        elif "study-pretraining" in line:
            found[line,] = None
        else:
            cells = (cell.strip() for cell in line.split("|")[1:-1])
            found[tuple(cell for name, cell in zip(head, cells, strict=True) if name in FACTS)] = None
    return list(found)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.variant
def test_a_study_that_is_run_again_gives_the_same_bytes_and_one_that_was_killed_the_same_outcomes(
    tmp_path: Path, agent_home: Path
) -> None:
    slowly = "parameters.learning_rate=2e-3"  # enough epochs to be killed in
    whole = [run_of("pretraining", "study"), run_of("multitask", "study", slowly)]

    def study() -> bytes:
        for arguments in whole:
            energysweep(tmp_path, *arguments)
        energysweep(
            tmp_path, "compare", "study/pretraining", "study/multitask",
            "--html", "study/report.html", "--markdown", "study/report.md",
        )  # fmt: skip
        return (tmp_path / "study" / "report.html").read_bytes()

    first = study()
    assert study() == first

    part = run_of("multitask", "killed", slowly)
    folder = tmp_path / "killed" / "multitask"
    driver = subprocess.Popen(
        [sys.executable, "-m", "energysweep", *part],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    wait_for((folder / LEDGER).exists)

    kill_at(driver, lambda: in_the_midst_of_a_later_trial(folder))
    before = read(folder)
    broken_off = [trial for trial in summarise(before).trials if trial.status != "completed"]
    lost = {trial.config: trial.iterations or 0 for trial in broken_off}
    assert len(before.trials) > len(broken_off) > 0
    assert max(lost.values()) > 0

    energysweep(tmp_path, *part)
    # Without a checkpoint the trial that was broken off begins anew; its lost epochs were paid for, so they count.
    assert outcomes(folder, lost) == outcomes(tmp_path / "study" / "multitask", {})
    assert [reached for _, reached, *_ in outcomes(folder, lost).values()] == [True] * 4
    assert {trial.config for trial in summarise(read(folder)).trials if trial.attempts == 2} == set(lost)
    after = {row[:-1]: row.joules for row in read(folder).energy}
    assert all(after[row[:-1]] >= row.joules for row in before.energy)
    energysweep(
        tmp_path, "compare", "study/pretraining", "killed/multitask",
        "--html", "killed/report.html", "--markdown", "killed/report.md",
    )  # fmt: skip
    # Energy hangs on the machine, and lost epochs are in it; all else of the report is that of the whole study.
    whole_report, again = (facts(tmp_path / output / "report.md") for output in ("study", "killed"))
    assert {("## Pretraining",), ("## Multitask",), ("## Settings",)} < set(whole_report)
    assert sum(row[0] == "study-multitask" for row in whole_report) > 4  # 4 settings, its tasks, its meters
    assert again == whole_report
    pretraining = tmp_path / "study" / "pretraining"
    assert answered(pretraining, folder) == answered(pretraining, tmp_path / "study" / "multitask")
