from __future__ import annotations

import math
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser

from energysweep.accounting.accounts import Sweep, SweepSample
from energysweep.agent.exporter import Snapshot, TrialSnapshot, exposition
from energysweep.core.metrics import (
    FAMILIES,
    SWEEP_BEST,
    SWEEP_CHEAPEST,
    SWEEP_ENERGY,
    SWEEP_INFO,
    SWEEP_SAVED,
    SWEEP_START,
    SWEEP_TRIALS,
    Family,
)
from energysweep.meters import Device
from tests.conftest import need
from tests.support.fake_host import CPU, GPU, FakeHost

# Of an invented device the agent remembers no floor: in the host's own account all of its energy is active.
INVENTED = Device("package-0", "cpu", "replay")


class Scrape:
    """What a scrape of the agent says."""

    def __init__(self, host: FakeHost) -> None:
        host.clock.advance(0.2)  # the state is saved at most every 0.1 s, and a scrape shows nothing newer
        host.agent.save()
        self.text = exposition(host.agent.telling.snapshot(), "").text
        self.samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in parser.text_string_to_metric_families(self.text)
            for sample in family.samples
        }

    def __call__(self, name: str, labels: Mapping[str, str]) -> float | None:
        return self.of_cluster(name, {"node": "node-a", **labels})

    def of_cluster(self, name: str, labels: Mapping[str, str]) -> float | None:
        """A series that belongs to no node."""
        return self.samples.get((f"energysweep_{name}", frozenset(labels.items())))


def told(family: Family, value: float, *labels: str) -> SweepSample:
    return SweepSample(family.name, labels, value)


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """One trial has computed alone for ten seconds: 1000 J, 200 J of them idle, of which it reserved a quarter."""
    host = FakeHost(tmp_path, {INVENTED: 100.0})
    pid = host.tree.fork()
    host.agent.tick()
    window = host.agent.open_window("r", {"cpu": 20})
    window.sweep = Sweep(
        grams_per_kwh=360.0,
        zone="FRA",
        carbon_source="given",
        pue=2.0,
        samples=[
            told(SWEEP_INFO, 1.0, "mnist", "me", "nlp, urgent"),
            told(SWEEP_TRIALS, 1.0, "running"),
            told(SWEEP_BEST, 0.5, "accuracy"),
            told(SWEEP_CHEAPEST, 812.5, "lr=0.1", "cpu"),
            told(SWEEP_ENERGY, 900.0, "cpu", "trials", "rapl"),
            told(SWEEP_ENERGY, 100.0, "dram", "trials", "estimate"),
            told(SWEEP_SAVED, 0.0),
            told(SWEEP_START, 1e9),
        ],
    )
    root = host.tree.of(pid)
    host.agent.open_lease("r", "l", "t", root, 1, {}, config='lr=1e-3, name="<x>"\n', hardware="cpu")
    for _ in range(10):
        host.work(1.0, {pid: 1.0})
        host.agent.tick()
    host.agent.report("l", {"accuracy": 0.5})
    return host


def test_a_scrape_shows_trials_and_their_sweep(host: FakeHost) -> None:
    scrape = Scrape(host)
    trial = {"sweep": "r", "trial": "t"}
    energy = {**trial, "component": "cpu", "source": "replay"}
    assert scrape("trial_energy_joules_total", {**energy, "bucket": "active"}) == pytest.approx(800)
    assert scrape("trial_energy_joules_total", {**energy, "bucket": "idle"}) == pytest.approx(50)
    assert scrape("trial_power_watts", {**trial, "component": "cpu"}) == pytest.approx(85)
    # 850 J x 2 x 360 g/kWh / 3.6 MJ
    assert scrape("trial_emissions_grams_total", trial) == pytest.approx(0.17)
    assert scrape("trial_startup_emissions_grams_total", trial) == 0
    assert scrape("trial_info", {**trial, "config": 'lr=1e-3, name="<x>"\n', "hardware": "cpu"}) == 1
    assert scrape("trial_result", {**trial, "metric": "accuracy"}) == 0.5
    assert scrape("trial_reports_total", trial) == 1
    value = scrape.of_cluster
    assert value("sweep_info", {"sweep": "r", "name": "mnist", "owner": "me", "tags": "nlp, urgent"}) == 1
    assert value("sweep_trials", {"sweep": "r", "state": "running"}) == 1
    assert value("sweep_best", {"sweep": "r", "metric": "accuracy"}) == 0.5
    cheapest = {"sweep": "r", "config": "lr=0.1", "hardware": "cpu"}
    assert value("sweep_cheapest_energy_to_target_joules", cheapest) == 812.5
    of_sweep = {"sweep": "r", "bucket": "trials"}
    assert value("sweep_energy_joules_total", {**of_sweep, "component": "cpu", "source": "rapl"}) == 900
    assert value("sweep_energy_joules_total", {**of_sweep, "component": "dram", "source": "estimate"}) == 100
    assert value("sweep_saved_energy_joules", {"sweep": "r"}) == 0  # known, and nothing so far
    assert value("sweep_start_timestamp_seconds", {"sweep": "r"}) == 1e9
    assert value("sweep_end_timestamp_seconds", {"sweep": "r"}) is None
    assert value("grid_intensity_grams_per_kwh", {"zone": "FRA", "source": "given"}) == 360


def test_a_scrape_shows_the_node_and_its_balance(host: FakeHost) -> None:
    scrape = Scrape(host)
    device = {"device": "package-0", "component": "cpu"}
    assert scrape("node_energy_joules_total", {**device, "source": "replay"}) == pytest.approx(1000)
    assert scrape("node_power_watts", device) == pytest.approx(100)
    assert scrape("node_bucket_energy_joules_total", {"component": "cpu", "bucket": "trials"}) == pytest.approx(1000)
    assert scrape("node_conservation_error_ratio", {}) == pytest.approx(0, abs=1e-12)
    assert scrape("meter_read_failures_total", {"meter": "replay"}) == 0
    assert scrape("meter_events_total", {"meter": "replay", "event": "wrap"}) == 0
    assert scrape("agent_open_leases", {}) == 1
    cpu_seconds = scrape("agent_cpu_seconds_total", {})
    assert cpu_seconds is not None
    assert cpu_seconds > 0


def test_a_new_trial_s_series_are_at_zero_and_have_no_power_yet(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, {CPU: 100.0, GPU: 300.0})
    host.agent.open_window("r")
    host.open("t", host.tree.fork(), GPU_1=0.5)
    scrape = Scrape(host)
    for component, source in (("cpu", "rapl"), ("gpu", "nvml_counter")):
        for bucket in ("active", "idle"):
            labels = {"sweep": "r", "trial": "t", "component": component, "bucket": bucket, "source": source}
            assert scrape("trial_energy_joules_total", labels) == 0
    assert scrape("trial_emissions_grams_total", {"sweep": "r", "trial": "t"}) is None  # nobody said which grid
    assert scrape("trial_startup_emissions_grams_total", {"sweep": "r", "trial": "t"}) is None


def test_every_family_of_the_table_is_exported_and_no_other(host: FakeHost) -> None:
    text = Scrape(host).text
    families = list(parser.text_string_to_metric_families(text))
    assert [family.name + ("_total" if family.type == "counter" else "") for family in families] == [
        family.name for family in FAMILIES
    ]
    for family, of_table in zip(families, FAMILIES, strict=True):
        assert (family.type, family.documentation) == (of_table.kind, of_table.help)
        assert {frozenset(sample.labels) for sample in family.samples} <= {frozenset(of_table.labels)}


def test_openmetrics_says_the_same(host: FakeHost) -> None:
    host.agent.save()
    snapshot = host.agent.telling.snapshot()
    plain, openmetrics = (exposition(snapshot, accept) for accept in ("text/plain", "application/openmetrics-text"))
    assert plain.content_type.startswith("text/plain; version=0.0.4")
    assert openmetrics.content_type.startswith("application/openmetrics-text; version=1.0.0")
    says = [
        {
            (family.name, family.type, family.documentation): [
                (sample.name, sample.labels, sample.value) for sample in family.samples
            ]
            for family in parse(text)
        }
        for parse, text in (
            (parser.text_string_to_metric_families, plain.text),
            (openmetrics_parser.text_string_to_metric_families, openmetrics.text),
        )
    ]
    assert says[0] == says[1]
    assert openmetrics.text.endswith("# EOF\n")


def test_start_up_has_joules_and_grams_of_its_own(host: FakeHost) -> None:
    pid = host.tree.fork()
    host.agent.open_lease("r", "m", "u", host.tree.of(pid), 1, {}, in_startup=True)
    host.work(3.0, {pid: 1.0})
    host.agent.change_phase("m", in_startup=False)
    host.work(1.0, {pid: 1.0})
    host.agent.tick()
    trial = {"sweep": "r", "trial": "u"}
    energy = {**trial, "component": "cpu", "source": "replay"}
    scrape = Scrape(host)
    # 80 W active and a quarter of the floor of 20 W; x 2 x 360 g/kWh / 3.6 MJ
    assert scrape("trial_startup_energy_joules_total", energy) == pytest.approx(255)
    assert scrape("trial_startup_emissions_grams_total", trial) == pytest.approx(0.051)
    assert scrape("trial_energy_joules_total", {**energy, "bucket": "active"}) == pytest.approx(80)
    assert scrape("trial_emissions_grams_total", trial) == pytest.approx(0.017)


@given(st.text(max_size=400), st.floats(), st.floats(min_value=0))
def test_any_text_and_number_can_be_read_again(text: str, number: float, joules: float) -> None:
    trial = TrialSnapshot("r", text, text, "cpu", {("cpu", "active", "rapl"): joules}, {}, None, {}, 0, {text: number})
    for accept, parse in (
        ("", parser.text_string_to_metric_families),
        ("application/openmetrics-text", openmetrics_parser.text_string_to_metric_families),
    ):
        said = exposition(Snapshot(0.0, "node-a", (), (trial,)), accept).text
        samples = {sample.name: sample for family in parse(said) for sample in family.samples}
        shown = text[:300].encode("utf-8", "replace").decode()
        assert samples["energysweep_trial_info"].labels["config"] == shown
        assert samples["energysweep_trial_result"].labels["metric"] == shown
        assert samples["energysweep_trial_energy_joules_total"].value == joules
        value = samples["energysweep_trial_result"].value
        assert value == number or (math.isnan(value) and math.isnan(number))


def test_of_a_trial_s_metrics_a_few_are_shown(host: FakeHost) -> None:
    host.agent.report("l", {f"metric-{number}": number for number in range(20)} | {"x" * 201: 1.0, "accuracy": 0.75})
    scrape = Scrape(host)
    shown = [labels for name, labels in scrape.samples if name == "energysweep_trial_result"]
    assert len(shown) == 8
    assert scrape("trial_result", {"sweep": "r", "trial": "t", "metric": "accuracy"}) == 0.75


def wrong_by_promtool(text: str) -> list[str]:
    """What promtool has to say against a scrape."""
    command = [need("promtool"), "check", "metrics"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    # It reads "counter" as a type; here it is what was reset.
    name = "energysweep_meter_counter_resets_total"
    lines = [*done.stdout.splitlines(), *done.stderr.splitlines()]
    return [line for line in lines if not line.startswith(name)]


def test_promtool_finds_nothing_wrong(host: FakeHost) -> None:
    assert wrong_by_promtool(Scrape(host).text) == []


def test_what_cannot_be_written_is_left_out_and_counted_and_the_rest_is_shown(host: FakeHost) -> None:
    sweep = host.agent.windows["r"].sweep
    # As no client may say it: of a state that was kept before.
    sweep.samples += [told(SWEEP_TRIALS, 10**400, "RUNNING"), told(SWEEP_TRIALS, 2.0, "ENDED"), sweep.samples[0]]
    scrape = Scrape(host)
    assert scrape.of_cluster("sweep_trials", {"sweep": "r", "state": "ENDED"}) == 2
    assert scrape.of_cluster("sweep_trials", {"sweep": "r", "state": "RUNNING"}) is None
    assert scrape("trial_result", {"sweep": "r", "trial": "t", "metric": "accuracy"}) == 0.5
    assert scrape("agent_left_out_samples", {}) == 2
    assert wrong_by_promtool(scrape.text) == []


def test_any_text_is_written_so_that_prometheus_reads_it(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, {INVENTED: 100.0})
    host.agent.open_window("r\0\n").sweep = Sweep(samples=[told(SWEEP_INFO, 1.0, "\ud800", "\r\x1b[31m\u2028", "\0")])
    host.agent.open_lease("r\0\n", "l", 't"\\', host.tree.of(host.tree.fork()), 0, {}, config="\0" * 400)
    scrape = Scrape(host)
    assert scrape("agent_left_out_samples", {}) == 0
    assert wrong_by_promtool(scrape.text) == []
