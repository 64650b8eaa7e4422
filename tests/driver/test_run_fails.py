"""However a run fails, the last readings are taken, and there is a report; what can be known before is told before."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from energysweep.cli import main
from energysweep.driver.run import Run
from tests.driver.test_resume import read, start, wait_for
from tests.support.sweeps import UNTIL, end_of_orphans, read_ledger

OPTUNA = ["--set", "search={algorithm: optuna, num_samples: 2}", "--set", "parameters={seconds: {uniform: [0.1, 0.2]}}"]


@pytest.mark.parametrize("command", ["validate", "run"])
def test_a_search_that_is_not_installed_is_told_before_anything_begins(
    sweep_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)  # an import fails as if it were not there
    monkeypatch.chdir(sweep_folder)
    assert main([command, "sweep.yaml", *OPTUNA]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("energysweep: ")
    assert said.endswith("search.algorithm: optuna is not installed: pip install 'energysweep[optuna]'")
    assert not (sweep_folder / "results").exists()


@pytest.mark.slow
@pytest.mark.ray
def test_a_run_that_fails_in_a_way_that_nobody_foresaw_has_its_last_readings_and_a_report(
    sweep_folder: Path, run_sweep: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    from energysweep.driver.run import run
    from energysweep.sweepfile import load_spec

    folder = sweep_folder / "results" / "it"
    folder.mkdir(parents=True)
    (folder / "tune").write_text("a file where Tune's folder would be")
    done = run(load_spec(sweep_folder / "sweep.yaml"), output=sweep_folder / "results", run_id="it", metrics_port=0)
    assert done.problems == (f"Ray Tune gave up: [Errno 17] File exists: '{folder / 'tune'}'",)
    assert done.report == folder / "report.html"
    data = read_ledger(done)
    assert data.run["status"] == "failed"
    (part,) = data.run["parts"]
    assert part["duration_seconds"] > 0
    (meter,) = data.meters
    assert meter.joules >= 0
    assert (folder / "ray.log").read_text().count("FileExistsError") > 0


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_what_tune_has_left_in_pieces_is_one_line_and_the_report_is_written(
    sweep_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sweep_folder / "work.py").write_text(UNTIL)
    folder = sweep_folder / "results" / "it"
    driver = start(sweep_folder, f"parameters={{file: {sweep_folder}/enough}}")
    tuner = folder / "tune" / "it" / "tuner.pkl"
    wait_for(lambda: tuner.exists() and (folder / "ledger.sqlite").exists() and len(read(folder).results) > 3)
    driver.kill()
    driver.wait()
    end_of_orphans()
    tuner.write_bytes(tuner.read_bytes()[:0])
    assert main(["resume", str(folder), "--metrics-port", "0"]) == 1
    told = capsys.readouterr()
    assert told.err.splitlines()[-1] == (
        f"energysweep: what Ray Tune has kept of this run in {folder / 'tune' / 'it'} cannot be read"
        " (EOFError: Ran out of input)"
    )
    assert "Traceback" not in told.err
    assert told.out.splitlines()[-1] == f"report: {folder / 'report.html'}"
    data = read(folder)
    assert data.run["status"] == "interrupted" or data.run["status"] == "failed"
    assert len(data.run["parts"]) == 2
