"""What every tracker does: each trial and the sweep once, the ledger's numbers to the last digit, nothing twice.

MLflow keeps a SQLite file here, without a server; tests/trackers/test_servers.py has one.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from energysweep.core.errors import TrackerError
from energysweep.core.runfolder import LEDGER
from energysweep.ledger.store import Ledger, LedgerData, read_ledger
from energysweep.sweepfile.distributions import Model
from energysweep.sweepfile.trackers import TRACKERS, Mlflow, Tensorboard, Wandb
from energysweep.trackers.following import catch_up
from energysweep.trackers.records import records
from energysweep.trackers.tracker import alone, open_tracker
from tests.support.example import CRASHED, POWER_WATTS, PRUNED, example
from tests.support.tracked import There, check_equal, in_mlflow, in_tensorboard, in_wandb, told

SWEEP = "mnist"
pytestmark = pytest.mark.filterwarnings("ignore")  # of others' libraries


@dataclass
class Bench:
    """A tracker with a run folder.

    Attributes:
        read: what is there, by trial.
    """

    name: str
    folder: Path
    settings: Model
    read: Callable[[], dict[str, list[There]]]

    def write(self, data: LedgerData) -> LedgerData:
        """Bring the run's ledger up to these rows."""
        with Ledger.create(self.folder / LEDGER, **data.run) as ledger:
            ledger.note(**data.run)
            ledger.merge(data.energy, data.meters, data.leases, data.samples)
            ledger.record(data.trials, data.attempts, data.results, data.decisions)
        return read_ledger(self.folder / LEDGER)

    def live(self, data: LedgerData) -> None:
        """What the process beside a driver does, once; it is another one each time, as after a kill."""
        tracker = open_tracker(self.name, self.settings, self.folder)
        tracker.take(records(self.write(data)))
        tracker.forget()

    def export(self, data: LedgerData) -> int:
        return catch_up(self.name, self.settings, self.folder, self.write(data))


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, which take seconds to make."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(params=TRACKERS)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    folder = tmp_path / "run"
    folder.mkdir()
    match request.param:
        case "mlflow":
            store = tmp_path / "mlflow.db"
            shutil.copy(request.getfixturevalue("empty_store"), store)
            uri = f"sqlite:///{store}"
            run = example().run["id"]
            yield Bench("mlflow", folder, Mlflow(tracking_uri=uri), lambda: in_mlflow(uri, SWEEP, run))
        case "wandb":
            yield Bench("wandb", folder, Wandb(mode="offline"), lambda: in_wandb(folder))
        case _:
            yield Bench("tensorboard", folder, Tensorboard(), lambda: in_tensorboard(folder))


TRIALS = (CRASHED, PRUNED, "t-0.1-16-0")


def sweep(source: str = "rapl", extra: dict[str, Any] | None = None, **run: Any) -> LedgerData:
    """Some trials of the example, with the power at each report."""
    data = example(source, extra, name=SWEEP, **run)
    leases = [each for each in data.leases if each.trial in TRIALS]
    known = {each.lease for each in leases} | {""}
    return replace(
        data,
        energy=[each for each in data.energy if each.lease in known],
        leases=leases,
        trials=[each for each in data.trials if each.trial in TRIALS],
        attempts=[each for each in data.attempts if each.trial in TRIALS],
        results=[each._replace(power_watts=POWER_WATTS) for each in data.results if each.trial in TRIALS],
        decisions=[each for each in data.decisions if each.trial in TRIALS],
        samples=(),
    )


def cut(data: LedgerData, reports: int) -> LedgerData:
    """The same run when its driver was killed after so many reports of each trial."""
    return replace(
        data,
        run=data.run | {"status": "running"},
        trials=[each._replace(status="running", ended_at=None) for each in data.trials],
        leases=[each._replace(closed_at=None) for each in data.leases],
        attempts=[each._replace(outcome="running", ended_at=None) for each in data.attempts],
        results=[each for each in data.results if each.iteration <= reports],
    )


def test_every_number_is_the_ledger_s_to_the_last_digit(bench: Bench) -> None:
    assert bench.export(sweep()) == len(TRIALS)
    check_equal(bench.read(), bench.folder)


def test_what_is_there_stays_as_it_is(bench: Bench) -> None:
    bench.export(sweep())
    before = bench.read()
    bench.export(sweep())
    bench.live(sweep())
    assert bench.read() == before


def test_a_run_that_was_killed_and_resumed_is_there_once(bench: Bench) -> None:
    data = sweep()
    for reports in (0, 2, 3):
        bench.live(cut(data, reports))
    bench.live(data)
    check_equal(bench.read(), bench.folder)


def test_final_numbers_of_what_still_runs_come_only_when_they_are_final(bench: Bench) -> None:
    data = sweep()
    bench.live(cut(data, 2))
    assert all(not name.startswith("energy_joules") for runs in bench.read().values() for name in runs[0].final)
    # Exported, it is told as it stands: nobody may ever go on with it.
    bench.export(cut(data, 2))
    (found,) = bench.read()[PRUNED]
    assert found.final["energy_joules"] == float(told(bench.folder)[PRUNED]["energy_joules"])
    assert found.final["status"] == "running"
    bench.live(data)
    (found,) = bench.read()[PRUNED]
    assert found.final["status"] == "pruned"
    check_equal(bench.read(), bench.folder)


def test_it_says_what_is_estimated_and_whose_it_is(bench: Bench) -> None:
    bench.export(sweep("estimate", owner="team a"))
    (found,) = bench.read()[CRASHED]
    assert found.labels["energy"] == "estimated (≈)"
    assert found.labels["source"] == "estimate"
    assert found.labels["owner"] == "team a"
    assert found.labels["configuration"] == "learning_rate=0.01 batch_size=64"
    assert {name: str(value) for name, value in found.parameters.items()}.items() >= {
        ("learning_rate", "0.01"),
        ("seed", "1") if bench.name != "tensorboard" else ("seed", "1.0"),
    }
    assert found.final["lost_joules"] == pytest.approx(11.0)
    (whole,) = bench.read()[""]
    assert whole.labels["energy"] == "estimated (≈)"


HOSTILE: dict[str, Any] = {
    "a[0]": 1.0,
    "a(0)": 2.0,
    "../up": 3.0,
    "/root//x": 4.0,
    "final/energy_joules": 5.0,
    "iteration": 6.0,
    "größe ≈": 7.0,
    "x" * 300: 8.0,
    "a|b\n`c` *d*": 9.0,
    "nan": math.nan,
    "inf": -math.inf,
    "huge": 1e308,
    "yes": True,
    "none": None,
    "text": "<script>\x1b[2J|`\n# no" * 100,
    "": 10.0,
    "_step": 11.0,
}


def test_hostile_names_and_values_are_told_and_end_nothing(bench: Bench) -> None:
    data = sweep(extra={"layers": {"a": [1, 2], "b|c": "x\n" * 50}, "n": None, "inf": math.inf})
    data = replace(data, results=[each._replace(metrics=each.metrics | HOSTILE) for each in data.results])
    bench.export(data)
    there = bench.read()
    assert there.keys() == {row.trial for row in data.trials} | {""}
    (found,) = there[PRUNED]
    values = found.reports[1]
    joules = next(each for each in data.results if each.trial == PRUNED).energy_joules
    assert values["energy_joules"] == [joules]
    assert values["iteration"] == [1.0]
    assert values["metric.iteration"] == [6.0]
    assert [5.0] in values.values()
    assert values["größe ≈" if bench.name != "mlflow" else next(n for n in values if n.startswith("größe _"))] == [7.0]
    of_numbers = [each for name, each in values.items() if name not in ("nan", "inf", "text", "yes", "none")]
    plain = sorted(value for (value,) in of_numbers)
    assert set(plain) >= {1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 1e308}
    before = there
    bench.export(data)
    assert str(bench.read()) == str(before)  # NaN equals nothing


def test_two_do_not_bring_a_run_at_the_same_time(bench: Bench) -> None:
    bench.write(sweep())
    with alone(bench.name, bench.folder) as is_alone:
        assert is_alone
        with pytest.raises(TrackerError, match="another energysweep brings this run there now"):
            bench.export(sweep())
    bench.export(sweep())


def test_a_run_that_goes_on_after_an_interruption_ends_as_the_ledger_says(bench: Bench) -> None:
    data = sweep()
    stopped = replace(
        cut(data, 3),
        run=data.run | {"status": "interrupted"},
        trials=[each._replace(status="interrupted", ended_at=None) for each in data.trials],
    )
    bench.live(stopped)
    (found,) = bench.read()[PRUNED]
    assert found.final["status"] == "interrupted"
    bench.live(cut(data, 4))
    bench.live(data)
    check_equal(bench.read(), bench.folder)
