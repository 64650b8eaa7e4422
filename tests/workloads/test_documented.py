"""docs/workloads.md beside the code: every parameter with its default, every data set, the layouts that it shows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from energysweep.sweepfile import load_spec, trial_count
from energysweep.sweepfile.distributions import Grid
from energysweep.workloads import images, prepare, sensors, text
from energysweep.workloads.training import TrainingSettings

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "workloads.md").read_text(encoding="utf-8")
SETTINGS: dict[str, type[TrainingSettings]] = {
    "images": images.Settings,
    "sensors": sensors.Settings,
    "text": text.Settings,
}


def rows(section: str) -> dict[str, list[str]]:
    """The table of a section: the other cells by the name in the first one."""
    [body] = re.findall(rf"^## {section}\n(.*?)(?=^## )", DOCUMENT, re.DOTALL | re.MULTILINE)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in body.splitlines() if line[:3] == "| `"]
    return {first.strip("`"): rest for first, *rest in cells}


def default_text(value: Any) -> str:
    return "null" if value is None else f"`{value}`" if isinstance(value, str) else json.dumps(value)


def check(documented: dict[str, list[str]], fields: dict[str, Any]) -> None:
    assert list(documented) == list(fields)
    for name, field in fields.items():
        value, said = documented[name]
        expected = "required" if field.is_required() else default_text(field.default)
        assert said.partition(":")[0] == expected, name
        # every one of a few words that are allowed
        assert [word for word in get_args(field.annotation) if isinstance(word, str) and f"`{word}`" not in value] == []


def test_what_all_workloads_take_is_documented_with_its_default() -> None:
    check(rows("What all take"), dict(TrainingSettings.model_fields))


@pytest.mark.parametrize("name", SETTINGS)
def test_what_a_workload_takes_is_documented_with_its_default(name: str) -> None:
    own = {key: field for key, field in SETTINGS[name].model_fields.items() if key not in TrainingSettings.model_fields}
    check(rows(name), own)


def test_the_default_widths_of_the_image_models_are_those_of_the_code() -> None:
    _, said = rows("images")["width"]
    assert said == "null: 512 for `mlp`, 16 for `cnn`, 64 for `resnet18`"
    data = images.load_small_digits()
    given = {"learning_rate": 1, "batch_size": 1, "epochs": 1}
    for width, model in re.findall(r"(\d+) for `(\w+)`", said):
        default, named = (
            images.encoder(images.Settings.from_config(given | {"model": model} | more), data)
            for more in ({}, {"width": int(width)})
        )
        assert [each.shape for each in default.parameters()] == [each.shape for each in named.parameters()]


def test_the_data_sets_that_packages_ship_have_the_documented_tasks() -> None:
    line = {cells[0]: cells for cells in (row.split(" | ") for row in DOCUMENT.splitlines() if row[:3] == "| `")}
    for name, data in (
        ("mnist", images.load("mnist", 64)),
        ("basic-motions", sensors.load("basic-motions", 50, 10)),
    ):
        assert re.findall(r"`(\w+)`", line[f"| `{name}`"][2]) == list(data.classes)


def test_the_array_file_of_the_document_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [code] = re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ENERGYSWEEP_DATA", raising=False)
    exec(compile(code, "docs/workloads.md", "exec"), {})  # noqa: S102 - our own document
    data = images.load("own.npz", 64)
    assert data.classes == {"label": 2, "odd": 2}
    assert data.train_inputs.shape[1:] == (1, 16, 16)


def test_windows_in_an_array_file_are_read(tmp_path: Path) -> None:
    windows = np.random.default_rng(0).normal(5, 2, (20, 3, 8))
    np.savez(tmp_path / "own.npz", windows=windows, labels=np.arange(20) % 2, labels_who=np.repeat([7, 9], 10))
    data = sensors.load(str(tmp_path / "own.npz"), 50, 10)
    assert data.train_inputs.shape == (16, 3, 8)
    assert data.train_inputs.mean(dim=(0, 2)).abs().max() < 1e-6
    assert data.classes == {"label": 2, "who": 2}


def test_every_workload_is_shown_with_a_sweep_that_fits_it(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = re.findall(r"^\| `(energysweep\.\S+)` \| .*\]\(\.\./(\S+)\) \|$", DOCUMENT, re.MULTILINE)
    assert [name for name, _ in shown] == list(prepare.WORKLOADS)
    monkeypatch.chdir(ROOT)  # where the sweeps are to be run
    monkeypatch.delenv("ENERGYSWEEP_DATA", raising=False)
    for name, sweep in shown:
        assert load_spec(ROOT / sweep).workload == name
        assert prepare.main([str(ROOT / sweep)]) == 0


def test_the_full_study_is_documented_as_it_is() -> None:
    document = (ROOT / "docs" / "study.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([\w-]+)` \| (\w+), .* \| (\d+) \| ", document, re.MULTILINE)
    found = []
    for path in sorted((ROOT / "sweeps" / "study" / "full").glob("*.yaml")):
        spec = load_spec(path)
        assert not isinstance(spec.parameters["data"], Grid)
        found.append((path.stem, str(spec.parameters["data"]), trial_count(spec).trials))
    assert sorted((name, data.lower(), int(count)) for name, data, count in listed) == found
