"""People's own Tuners, with what `metered` makes of their trainables, on one Ray with one agent."""

from __future__ import annotations

import functools
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from ray import tune

import energysweep
from energysweep.agent.lifecycle import connect
from energysweep.agent.protocol import Hello
from energysweep.core.records import EnergyRow, MeterRow
from energysweep.tune.command import program
from energysweep.tune.metering import Metering
from energysweep.tune.trial import metered_class
from tests.conftest import home_of_an_agent
from tests.driver.test_resume import wait_for
from tests.support.sweeps import TRACE, plain_ray
from tests.support.web import get

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A Ray of this process, and the home of an agent that its workers know, with a trace of 100 W."""
    with home_of_an_agent() as folder, plain_ray():
        (folder / "trace.csv").write_text(TRACE)
        yield folder


@pytest.fixture
def meters(home: Path) -> tuple[str, ...]:
    """What measures a test's trials, by an agent of its own: that of the test before has gone."""
    wait_for(lambda: not (home / "agent.sock").exists())
    return (f"replay:{home}/trace.csv",)


def burn(config: dict[str, float]) -> None:
    import time

    for report in range(3):
        end = time.monotonic() + config["seconds"]
        while time.monotonic() < end:
            pass
        tune.report({"score": report, "cpu_seconds": time.process_time()})


def burn_again(config: dict[str, float]) -> None:
    """A function of its own for each reservation: Tune notes them on the function itself."""
    burn(config)


class Counts(tune.Trainable):
    """A class that cannot be reset."""

    def setup(self, config: dict[str, float], data: list[int] | None = None) -> None:
        self.data = data

    def step(self) -> dict[str, float]:
        assert self.data == [1, 2, 3]
        sum(range(20_000_000))  # longer than the agent takes from one reading to the next
        return {"score": self.iteration, "done": self.iteration == 2}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to save."""


@pytest.mark.parametrize("reuse", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_results_of_ones_own_tuner_carry_the_energy(meters: tuple[str, ...], tmp_path: Path, reuse: bool) -> None:
    trainable = energysweep.metered(
        tune.with_resources(burn, {"cpu": 1}),
        meters=meters,
        grams_per_kwh=360,
    )
    tuner = tune.Tuner(
        trainable,
        param_space={"seconds": tune.grid_search([0.1, 0.5])},
        tune_config=tune.TuneConfig(reuse_actors=reuse, max_concurrent_trials=1),
        run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0),
    )
    began = time.monotonic()
    results = sorted(tuner.fit(), key=lambda result: result.config["seconds"])
    elapsed = time.monotonic() - began

    short, long = (result.metrics for result in results)
    assert short["energy_joules"] > 0
    assert short["energy_joules"] + long["energy_joules"] <= 100 * elapsed
    # No floor is known: all that a CPU draws is active. Between a trial's first report, when the agent knows of it, and
    # its last it gets at least what its CPU time is of all that there is. A reading may be a tenth of a second old.
    for result in results:
        first, *_, last = result.metrics_dataframe[["energy_joules", "cpu_seconds"]].values.tolist()
        energy, cpu_seconds = last[0] - first[0], last[1] - first[1]
        assert energy > 100 * (cpu_seconds - 0.1) / (os.cpu_count() or 1) * 0.5
    assert long["active_energy_joules"] == pytest.approx(long["energy_joules"])
    assert long["emissions_grams"] == pytest.approx(long["energy_joules"] * 1e-4)
    assert long["power_watts"] > 0
    energies = results[1].metrics_dataframe["energy_joules"].tolist()
    assert energies == sorted(energies)
    assert results[0].metrics["trial_id"] != results[1].metrics["trial_id"]


def ask_and_report(config: dict[str, float]) -> None:
    import time

    for _ in range(4):
        asked = []
        for _ in range(3):
            end = time.process_time() + 0.05
            while time.process_time() < end:
                pass
            asked.append(energysweep.spent())
        joules = [math.nan if each is None else each.energy_joules for each in asked]
        name, source = ("", "") if asked[-1] is None else (asked[-1].name, asked[-1].source)
        tune.report({"asked": json.dumps(joules), "name": name, "source": source})


def test_a_trial_is_told_what_it_has_spent_and_its_next_report_says_no_less(
    meters: tuple[str, ...], tmp_path: Path
) -> None:
    trainable = energysweep.metered(ask_and_report, meters=meters, grams_per_kwh=360)
    run_config = tune.RunConfig(storage_path=str(tmp_path), verbose=0)
    (result,) = tune.Tuner(trainable, run_config=run_config).fit()
    assert result.error is None
    assert result.metrics["name"] == result.metrics["trial_id"]
    assert result.metrics["source"].startswith("meters: cpu by replay")
    in_order = [
        joules
        for asked, reported in result.metrics_dataframe[["asked", "energy_joules"]].values.tolist()
        for joules in (*json.loads(asked), reported)
    ]
    known = [joules for joules in in_order if not math.isnan(joules)]
    assert in_order[-4:] == known[-4:]  # at the beginning no meter may have told anything
    assert known == sorted(known)
    assert known[-1] > 0
    assert energysweep.spent() is None


ASKING_PROGRAM = """
import json, time, energysweep
for _ in range(3):
    end = time.process_time() + 0.15
    while time.process_time() < end:
        pass
    measured = energysweep.spent()
    if measured is not None:
        print(json.dumps(dict(asked=measured.energy_joules, name=measured.name)), flush=True)
"""


@pytest.mark.slow
def test_a_trial_s_program_is_told_what_the_trial_has_spent(meters: tuple[str, ...], tmp_path: Path) -> None:
    trainable = energysweep.metered(program([sys.executable, "-c", ASKING_PROGRAM], None), meters=meters)
    (result,) = tune.Tuner(trainable, run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0)).fit()
    assert result.error is None
    assert result.metrics["name"] == result.metrics["trial_id"]
    rows = result.metrics_dataframe[["asked", "energy_joules"]].values.tolist()
    assert rows[-1][0] > 0
    assert all(asked <= reported for asked, reported in rows)


def report_much(config: dict[str, float]) -> None:
    others = {f"other{number}": number for number in range(9)}
    for report in range(2):
        tune.report({"loss": config["lr"] / (report + 1), "phase": "warm-up"} | others)


def trial_samples(url: str, sweep: str, reports: int) -> list[Sample]:
    """What an agent's scrape shows of a sweep, once it shows that many reports: with the next tick."""
    deadline = time.monotonic() + 60
    while True:
        families = text_string_to_metric_families(get(f"{url}/metrics"))
        samples = [each for family in families for each in family.samples if each.labels.get("sweep") == sweep]
        if sum(each.value for each in samples if each.name == "energysweep_trial_reports_total") == reports:
            return samples
        assert time.monotonic() < deadline, samples
        time.sleep(0.1)


@pytest.mark.slow
def test_trials_of_ones_own_tuner_are_named_and_show_their_metrics(meters: tuple[str, ...], tmp_path: Path) -> None:
    watching = connect(Hello(run="watching"), meters, port=0)  # keeps the agent until its series are read
    tune.Tuner(
        energysweep.metered(report_much, meters=meters),
        param_space={"lr": tune.grid_search([0.5, 2.0]), "layers": [3, 4], "seed": 1},
        tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=1),
        run_config=tune.RunConfig(name="own", storage_path=str(tmp_path), verbose=0),
    ).fit()
    samples = trial_samples(watching.agent["url"], "own", reports=4)
    watching.close()

    config = {each.labels["trial"]: each.labels["config"] for each in samples if each.name == "energysweep_trial_info"}
    assert sorted(config.values()) == ["lr=0.5 layers=[3,4]", "lr=2.0 layers=[3,4]"]
    shown: dict[str, dict[str, float]] = {}
    for each in samples:
        if each.name == "energysweep_trial_result":
            shown.setdefault(config[each.labels["trial"]], {})[each.labels["metric"]] = each.value
    others = {f"other{number}": number for number in range(7)}  # eight in all, none of them Tune's or ours
    assert shown == {"lr=0.5 layers=[3,4]": {"loss": 0.25} | others, "lr=2.0 layers=[3,4]": {"loss": 1.0} | others}


def test_a_class_with_parameters_is_metered_too(meters: tuple[str, ...], tmp_path: Path) -> None:
    trainable = tune.with_parameters(energysweep.metered(Counts, meters=meters), data=[1, 2, 3])
    (result,) = tune.Tuner(trainable, run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0)).fit()

    assert result.error is None
    assert result.metrics["energy_joules"] > 0
    assert result.metrics["score"] == 2


def scale(config: dict[str, Any], data: Any, *, by: int = 1) -> None:
    """Has parameters that Tune keeps in its object store."""
    for step in range(2):
        tune.report({"score": float(data[step]) * by * config["gain"]})


def scale_and_yield(config: dict[str, Any], data: Any, *, by: int = 1) -> Iterator[dict[str, float]]:
    """The same as a generator of results."""
    for step in range(2):
        yield {"score": float(data[step]) * by * config["gain"]}


def meter(meters: tuple[str, ...], trainable: Any) -> Any:
    return energysweep.metered(trainable, meters=meters)


@pytest.mark.slow
@pytest.mark.variant
def test_parameters_and_resources_may_be_given_before_or_after_the_metering(
    meters: tuple[str, ...], tmp_path: Path
) -> None:
    data = np.arange(1, 1_000_001, dtype=float)  # 8 MB: more than Tune takes in a function's closure without a warning
    cpu = {"cpu": 1}
    trainables = {
        "after": tune.with_parameters(meter(meters, scale), data=data, by=2),
        "before": meter(meters, tune.with_parameters(scale, data=data, by=2)),
        "resources inside": tune.with_parameters(meter(meters, tune.with_resources(scale, cpu)), data=data, by=2),
        "resources outside": tune.with_resources(tune.with_parameters(meter(meters, scale), data=data, by=2), cpu),
        "parameters outside": tune.with_parameters(tune.with_resources(meter(meters, scale), cpu), data=data, by=2),
        "generator": tune.with_parameters(meter(meters, scale_and_yield), data=data, by=2),
        "partial": meter(meters, functools.partial(scale, data=data[:2], by=2)),
    }
    for name, trainable in trainables.items():
        results = tune.Tuner(
            trainable,
            param_space={"gain": tune.grid_search([1.0, 10.0])},
            tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=1),
            run_config=tune.RunConfig(storage_path=str(tmp_path), name=name, verbose=0),
        ).fit()
        assert [result.error for result in results] == [None, None], name
        assert sorted(result.metrics["score"] for result in results) == [4.0, 40.0], name
        assert all(math.isfinite(result.metrics["energy_joules"]) for result in results), name


def test_a_trial_of_several_bundles_is_refused_with_the_reason(meters: tuple[str, ...], tmp_path: Path) -> None:
    bundles = tune.PlacementGroupFactory([{"CPU": 1}, {"CPU": 1}])
    function = tune.with_resources(burn_again, bundles)
    trainable = energysweep.metered(function, meters=meters)
    (result,) = tune.Tuner(
        trainable,
        param_space={"seconds": 0.1},
        run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0),
    ).fit()

    assert "several resource bundles" in str(result.error)


def test_a_meter_that_does_not_exist_is_the_error_of_the_trial(meters: tuple[str, ...], tmp_path: Path) -> None:
    trainable = energysweep.metered(burn, meters=("replay:/no/such/trace.csv",))
    (result,) = tune.Tuner(
        trainable,
        param_space={"seconds": 0.01},
        run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0),
    ).fit()

    assert "no/such/trace.csv" in str(result.error)


@pytest.mark.slow
def test_trials_that_clone_each_other_add_up_to_what_was_spent(meters: tuple[str, ...], tmp_path: Path) -> None:
    from ray.tune.examples.pbt_function import pbt_function
    from ray.tune.schedulers import PopulationBasedTraining

    watching = connect(Hello(run="watching"), meters, port=0)  # keeps the agent until its books are read
    name = "clones"
    metering = Metering(meters=meters)  # as metered() makes one; its key opens the books
    results = tune.Tuner(
        metered_class(pbt_function, metering),
        param_space={"lr": tune.uniform(0.0001, 0.02), "checkpoint_interval": 2},
        tune_config=tune.TuneConfig(
            num_samples=4,
            scheduler=PopulationBasedTraining(
                time_attr="training_iteration",
                metric="mean_accuracy",
                mode="max",
                perturbation_interval=4,
                synch=True,  # each pauses there until the others have come so far, whatever each took
                hyperparam_mutations={"lr": tune.uniform(0.0001, 0.02)},
                log_config=False,
            ),
        ),
        run_config=tune.RunConfig(name=name, storage_path=str(tmp_path), stop={"training_iteration": 12}, verbose=0),
    ).fit()

    totals = json.loads(get(f"{watching.agent['url']}/v1/totals?run={name}", Authorization=f"Bearer {metering.key}"))
    watching.close()
    trial_of = {lease[0]: lease[4] for lease in totals["leases"]}
    spent: dict[str, float] = {}
    for row in map(EnergyRow._make, totals["energy"]):
        if row.lease:
            spent[trial_of[row.lease]] = spent.get(trial_of[row.lease], 0.0) + row.joules
    booked = sum(row.joules for row in map(EnergyRow._make, totals["energy"]))
    assert booked == pytest.approx(sum(row.joules for row in map(MeterRow._make, totals["meters"])), rel=1e-6)
    assert len(totals["leases"]) > 4  # trials were paused, cloned and continued
    for result in results:
        assert result.error is None
        energy = result.metrics_dataframe["energy_joules"].tolist()
        assert energy == sorted(energy)
        # What it reported last is what its leases add up to, but for what came after the report. To one that was so
        # quick that no reading fell into its leases nothing was booked.
        assert energy[-1] <= spent.get(result.metrics["trial_id"], 0.0) + 1e-6
    # One whose last report came within 0.1 s of its first reading has none yet, but not all of them are so quick.
    assert max(result.metrics["energy_joules"] for result in results) > 0
