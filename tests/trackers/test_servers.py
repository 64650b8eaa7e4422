"""Real servers: MLflow's, also when it is away for a while; and a real sweep, killed and resumed, with all trackers."""

from __future__ import annotations

import queue
import time
from pathlib import Path

import pytest

from energysweep.cli import main
from energysweep.core.runfolder import LEDGER
from energysweep.driver.tracking import Tracking
from energysweep.sweepfile.trackers import Mlflow, Trackers
from tests.driver.test_resume import kill_at, read, start, wait_for
from tests.support.ports import free_port
from tests.support.sweeps import UNTIL, sweep_folder  # noqa: F401
from tests.support.tracked import check_equal, in_mlflow, in_tensorboard, in_wandb, mlflow_server
from tests.trackers.test_contract import SWEEP, TRIALS, Bench, cut, sweep

LONG_SECONDS = 900.0
pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400), pytest.mark.filterwarnings("ignore")]


def test_a_server_that_was_away_in_the_midst_of_a_run_has_all_in_the_end(tmp_path: Path) -> None:
    data, folder, port = sweep(), tmp_path / "run", free_port()
    folder.mkdir()
    settings = Mlflow(tracking_uri=f"http://127.0.0.1:{port}")
    bench = Bench("mlflow", folder, settings, lambda: in_mlflow(str(settings.tracking_uri), SWEEP, data.run["id"]))
    said: queue.SimpleQueue[str] = queue.SimpleQueue()
    bench.write(cut(data, 1))
    with Tracking(Trackers(mlflow=settings), said.put, last_seconds=LONG_SECONDS) as tracking:
        with mlflow_server(tmp_path, port):
            tracking.begin(folder)
            while bench.read().keys() != {*TRIALS, ""}:
                time.sleep(0.2)  # until it is asked again
        bench.write(cut(data, 3))
        assert said.get(timeout=LONG_SECONDS).startswith("MLflow: ")
        assert said.empty()
        with mlflow_server(tmp_path, port):
            bench.write(data)
            tracking.__exit__(None, None, None)
            check_equal(bench.read(), folder)
    assert not any("not all of the run" in said.get() for _ in range(said.qsize()))


@pytest.mark.ray
def test_a_real_sweep_that_was_killed_and_resumed_is_once_in_each_tracker(
    sweep_folder: Path,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (sweep_folder / "work.py").write_text(UNTIL)
    end, folder = sweep_folder / "end", sweep_folder / "results" / "it"
    with mlflow_server(tmp_path_factory.mktemp("server")) as url:
        driver = start(
            sweep_folder,
            f"parameters={{file: {end}, lr: {{grid: [1, 2]}}}}",
            "max_concurrent_trials=2",
            f"trackers={{mlflow: {{tracking_uri: '{url}'}}, wandb: {{mode: offline}}, tensorboard: {{}}}}",
        )
        wait_for((folder / LEDGER).exists)

        def told() -> bool:
            both = {row.trial for row in read(folder).results if row.iteration >= 3}
            return len(both) == 2 and len(in_mlflow(url, "test", "it")) == 3

        kill_at(driver, told, LONG_SECONDS)
        end.touch()
        assert main(["resume", str(folder), "--metrics-port", "0"]) == 0
        err = capsys.readouterr().err
        # Of what had not come in time a person was told how to bring it.
        for name in ("mlflow", "wandb", "tensorboard"):
            if f"--format {name} brings it" in err:
                assert main(["export", str(folder), "--format", name]) == 0
        check_equal(in_mlflow(url, "test", "it"), folder)
    check_equal(in_wandb(folder), folder)
    check_equal(in_tensorboard(folder), folder)
    powers = [row.power_watts for row in read(folder).results]
    assert any(power is not None and 0 < power <= 100.0 for power in powers)
