"""What a sweep's file may say of its trackers, and that it holds no secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from energysweep.cli import main
from energysweep.core.errors import InputError
from energysweep.export.formats import FORMATS
from energysweep.sweepfile import SweepSpec, check_trackers, load_spec
from energysweep.sweepfile.load import load_trackers
from energysweep.sweepfile.trackers import ADDRESS_VARIABLE, TRACKERS, Wandb, why_not

ROOT = Path(__file__).parents[2]
SWEEP = """
name: it
command: [echo, "{lr}"]
parameters: {lr: {grid: [1, 2]}}
objective: {metric: accuracy, mode: max}
"""
SECRET = "geheim"  # noqa: S105 - none


def loaded(tmp_path: Path, *options: str) -> SweepSpec:
    path = tmp_path / "sweep.yaml"
    path.write_text(SWEEP)
    return load_spec(path, [f"trackers{option}" for option in options])


def test_they_come_through_the_run_folder_s_copy(tmp_path: Path) -> None:
    spec = loaded(
        tmp_path, ".mlflow={tracking_uri: 'http://h:5000', experiment: e}", ".wandb.mode=offline", ".tensorboard="
    )
    assert spec.trackers is not None
    assert [*spec.trackers.named] == ["mlflow", "wandb", "tensorboard"]
    (tmp_path / "copy.yaml").write_text(spec.to_yaml())
    assert load_spec(tmp_path / "copy.yaml").trackers == spec.trackers


def test_a_file_starts_from_the_folder_of_the_sweep(tmp_path: Path) -> None:
    spec = loaded(tmp_path, ".mlflow.tracking_uri=sqlite:///below/m.db")
    assert spec.trackers is not None
    assert spec.trackers.mlflow is not None
    assert spec.trackers.mlflow.tracking_uri == f"sqlite:///{tmp_path}/below/m.db"


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("={}", "trackers: names none: give one or more of mlflow, wandb, tensorboard"),
        (".aim={}", "trackers.aim: unknown key (allowed: mlflow, tensorboard, wandb)"),
        (".tensorboard.folder=x", "trackers.tensorboard.folder: unknown key (allowed: none)"),
        (".wandb.mode=disabled", "trackers.wandb.mode: must be one of 'online' or 'offline', not \"disabled\""),
        ('.wandb.project="a\\nb"', "trackers.wandb.project: must be 1 to 100 printable characters"),
        (".wandb.entity=" + "x" * 101, "trackers.wandb.entity: must be 1 to 100 printable characters"),
        (".mlflow.experiment=1", "trackers.mlflow.experiment: must be text, not 1"),
        (".mlflow=http://h", 'trackers.mlflow: must be a mapping, not "http://h"'),
        (".mlflow.tracking_uri=mlruns", "is no address of an MLflow: http://HOST:PORT, https://HOST, sqlite:///FILE"),
        (".mlflow.tracking_uri=file:///tmp/x", "is no address of an MLflow"),
        (".mlflow.tracking_uri=postgresql://h/d", "is no address of an MLflow"),
        (".mlflow.tracking_uri=http://", "is no address of an MLflow"),
        (".mlflow.tracking_uri=http://h:99999", "is no address of an MLflow"),
        (".mlflow.tracking_uri=sqlite:///", "names no file: sqlite:///FILE"),
        (".mlflow.tracking_uri=sqlite:////" + "x" * 300, "the path is too long"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_place(tmp_path: Path, option: str, says: str) -> None:
    with pytest.raises(InputError) as error:
        loaded(tmp_path, option)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("--set trackers")


@pytest.mark.parametrize(
    ("option", "variable"),
    [
        (f".mlflow.tracking_uri=http://me:{SECRET}@h:5000", "MLFLOW_TRACKING_PASSWORD"),
        (f".mlflow.tracking_uri=https://{SECRET}@h", "MLFLOW_TRACKING_TOKEN"),
        (f".mlflow.tracking_uri=http://h/?token={SECRET}", "MLFLOW_TRACKING_TOKEN"),
        (f".mlflow.token={SECRET}", "MLFLOW_TRACKING_TOKEN"),
        (f".mlflow.MLFLOW_TRACKING_PASSWORD={SECRET}", "MLFLOW_TRACKING_PASSWORD"),
        (f".wandb.api_key={SECRET}", "WANDB_API_KEY"),
        (f".wandb={{apiKey: {SECRET}}}", "WANDB_API_KEY"),
        (f".password={SECRET}", "WANDB_API_KEY"),
        (f"={{wandb: {{key: {SECRET}}}}}", "WANDB_API_KEY"),
    ],
)
def test_a_secret_is_refused_with_the_variable_that_may_hold_it(tmp_path: Path, option: str, variable: str) -> None:
    with pytest.raises(InputError) as error:
        loaded(tmp_path, option)
    said = str(error.value)
    assert variable in said
    assert "\n" not in said
    shown = said.partition("http://h/?token=")[0] if "?token" in option else said
    assert SECRET not in shown


def test_a_secret_in_the_file_is_told_with_its_line_and_not_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(SWEEP + f"trackers:\n  mlflow: {{tracking_uri: 'http://u:{SECRET}@h', user: {SECRET}}}\n")
    assert main(["validate", str(path)]) == 2
    said = capsys.readouterr().err
    assert f"{path}:7: trackers.mlflow.user: " in said
    assert SECRET not in said


def test_what_is_not_installed_is_told_with_the_extra_that_brings_it(tmp_path: Path) -> None:
    # A package that no tracker here has: what find_spec does not find.
    assert why_not("wandb", Wandb()) is None
    kind = TRACKERS["wandb"]
    assert FORMATS[kind.name].package == ("wandb", "'energysweep[wandb]'")


def test_an_mlflow_without_an_address_needs_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ADDRESS_VARIABLE, raising=False)
    spec = loaded(tmp_path, ".mlflow={}")
    with pytest.raises(InputError, match=r"trackers.mlflow: nobody says where it is: give tracking_uri .* or set MLFL"):
        check_trackers(spec)
    monkeypatch.setenv(ADDRESS_VARIABLE, "http://h:5000")
    check_trackers(spec)


def test_a_run_can_be_exported_elsewhere() -> None:
    noted = {"mlflow": {"tracking_uri": "http://a", "experiment": "e"}}
    there = load_trackers(noted, ["trackers.mlflow.tracking_uri=http://b"])
    assert there.mlflow is not None
    assert (there.mlflow.tracking_uri, there.mlflow.experiment) == ("http://b", "e")
    with pytest.raises(InputError, match="only trackers can be others"):
        load_trackers(noted, ["repeats=3"])
    with pytest.raises(InputError, match="leave user, password and token out"):
        load_trackers({"mlflow": {"tracking_uri": "http://u:p@h"}}, [])


@pytest.mark.parametrize("name", TRACKERS)
def test_the_documents_name_it(name: str) -> None:
    assert f"| `{name}` |" in (ROOT / "docs" / "trackers.md").read_text(encoding="utf-8")
    assert f"{name} = [" in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert FORMATS[name].made_by.endswith(f"to_{name}")


def test_a_file_of_this_machine_is_none_of_a_cluster_s(tmp_path: Path) -> None:
    from energysweep.jobs.submit import submit

    spec = loaded(tmp_path, ".mlflow.tracking_uri=sqlite:///m.db")
    with pytest.raises(InputError, match=r"trackers\.mlflow\.tracking_uri: is a file of this machine, and the"):
        submit(spec, "http://127.0.0.1:1", None, print)
