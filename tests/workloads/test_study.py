"""The study's sweeps: right for their workloads, also those at full size, which no test runs; and done once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from torch.utils.flop_counter import FlopCounterMode

from energysweep.spec import SweepSpec, load_spec, points, stage_spec
from energysweep.workloads import image_data, images, sensor_data, sensors
from energysweep.workloads.data import Data
from energysweep.workloads.settings import TrainingSettings

ROOT = Path(__file__).parents[2]
STUDY = ROOT / "sweeps" / "study"
SWEEPS = sorted(STUDY.rglob("*.yaml"))
WORKLOADS: dict[str, ModuleType] = {
    "energysweep.workloads.images:train": images,
    "energysweep.workloads.sensors:train": sensors,
}


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
    data = data_of(settings).of_classes(settings.classes)
    with FlopCounterMode(display=False) as counter:
        workload.encoder(settings, data)(data.train_inputs[:1])
    is_frozen = settings.pretrained is not None and settings.pretrained.freeze_encoder
    return float(counter.get_total_flops() * len(data.train_inputs) * (1 if is_frozen else 3))


def data_of(settings: TrainingSettings) -> Data:
    if isinstance(settings, images.Settings):
        return image_data.load(settings.data, settings.image_size)
    assert isinstance(settings, sensors.Settings)
    return sensor_data.load(settings.data, settings.window, settings.stride)


def test_every_part_of_the_study_stands_beside_its_full_size_and_in_make_study() -> None:
    small = sorted(path.stem for path in STUDY.glob("*.yaml"))
    assert small == sorted(path.stem for path in (STUDY / "full").glob("*.yaml"))
    [names] = re.findall(r"^STUDY := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert sorted(names.split()) == small


@pytest.mark.ray
@pytest.mark.slow
def test_a_study_that_is_run_again_gives_the_same_combined_report(tmp_path: Path, agent_home: Path) -> None:
    def energysweep(*arguments: str) -> None:
        command = [sys.executable, "-m", "energysweep", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def study() -> bytes:
        for name in ("pretraining", "multitask"):
            energysweep(
                "run", str(STUDY / f"{name}.yaml"), "--output", "study", "--run-id", name, "--metrics-port", "0",
                "--set", "repeats=1", "--set", "parameters.epochs=2", "--set", "parameters.data=digits",
            )  # fmt: skip
        energysweep("compare", "study/pretraining", "study/multitask", "--html", "study/report.html")
        return (tmp_path / "study" / "report.html").read_bytes()

    first = study()
    assert study() == first
