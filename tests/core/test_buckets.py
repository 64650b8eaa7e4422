"""The table of buckets: each is booked, balanced, told, drawn and written down wherever people look for it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from energysweep.analysis import study_energy
from energysweep.core import metrics
from energysweep.core.buckets import BUCKETS, CHARGED, CHARGED_APART, HOST_ACCOUNT, TRIALS, Bucket
from energysweep.core.records import EnergyRow
from energysweep.ledger.receipt import explain
from energysweep.ledger.store import LedgerData
from energysweep.ledger.summary import summarise
from energysweep.monitoring.openmetrics import openmetrics
from energysweep.report.answers import purposes
from energysweep.report.charts.energy import energy_by_purpose
from tests.support.example import HOST, WINDOW, example
from tests.support.fake_host import CPU, FakeHost

ROOT = Path(__file__).parents[2]
every_bucket = pytest.mark.parametrize("bucket", BUCKETS, ids=lambda bucket: bucket.name)

# Of one trial's lease or of the host: 1, 2, 4, ... J, so that no two sums of them are equal.
JOULES = {bucket.name: 2.0**place for place, bucket in enumerate(BUCKETS)}


def ledger() -> LedgerData:
    """A run whose one window has each bucket's joules, all seen by one counter."""
    data = example()
    lease = data.leases[0]
    rows = [
        EnergyRow(HOST, WINDOW, lease.lease if of.of == "lease" else "", "package-0", "cpu", of.name, "rapl", joules)
        for of, joules in zip(BUCKETS, JOULES.values(), strict=True)
    ]
    meter = data.meters[0]._replace(device="package-0", component="cpu", joules=sum(JOULES.values()))
    return replace(data, energy=rows, meters=[meter], samples=[])


def dashboard(name: str, folder: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((ROOT / folder / f"energysweep-{name}.json").read_text(encoding="utf-8"))
    return content


def shown_names(content: dict[str, Any], panel: str) -> dict[str, str]:
    """By series, the name that a panel shows it by."""
    (found,) = (each for each in content["panels"] if each["title"].endswith(panel))
    return {
        each["matcher"]["options"]: of["value"]
        for each in found["fieldConfig"]["overrides"]
        for of in each["properties"]
        if of["id"] == "displayName"
    }


def test_names_colours_and_keys_are_told_apart() -> None:
    for of in ("name", "title", "color", "total"):
        assert len({getattr(bucket, of) for bucket in BUCKETS}) == len(BUCKETS)
    assert all(re.fullmatch(r"[a-z_]+", bucket.name) for bucket in BUCKETS)
    assert all(re.fullmatch(r"#[0-9A-Fa-f]{6}", bucket.color) for bucket in BUCKETS)


def test_what_is_a_trial_s_energy_is_a_lease_s_charged_and_in_the_account_of_the_host() -> None:
    work = [bucket for bucket in BUCKETS if bucket.is_work]
    assert work
    assert all((each.of, each.is_charged, each.is_in_host_account) == ("lease", True, True) for each in work)
    assert TRIALS not in {bucket.name for bucket in BUCKETS}


def test_a_host_on_which_everything_happens_books_every_bucket(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, {CPU: 100.0})
    driver, trial, other, stranger = (host.tree.fork() for _ in range(4))
    host.agent.open_window("r", {"cpu": 20})
    host.agent.open_window("s")
    host.agent.join("r", host.tree.of(driver))
    host.agent.open_lease("r", "l", "t", host.tree.of(trial), 2, {}, in_startup=True)
    host.open("u", other, run="s")
    host.work(1.0, {trial: 0.5, driver: 0.5, other: 0.5, stranger: 0.5})
    host.agent.change_phase("l", in_startup=False)
    host.work(1.0, {trial: 0.5, driver: 0.5, other: 0.5, stranger: 0.5})
    host.agent.tick()
    booked = {key.rpartition(" ")[2] for key in host.buckets()}
    assert booked == {bucket.name for bucket in BUCKETS}, "a bucket of the table is booked by nobody"
    assert {bucket for _, bucket in host.agent.node.joules} == set(HOST_ACCOUNT)
    assert sum(host.buckets().values()) == pytest.approx(200)


def test_all_buckets_together_are_what_the_counter_saw() -> None:
    summary = summarise(ledger())
    assert dict(summary.totals.buckets) == JOULES
    assert sum(JOULES.values()) == summary.totals.energy_joules == 2.0 ** len(BUCKETS) - 1
    assert summary.totals.conservation_error_ratio == 0
    parts = dict(purposes(study_energy([summary.totals])))
    assert sum(joules or 0 for joules in parts.values()) == summary.totals.energy_joules


@every_bucket
def test_a_report_has_every_bucket(bucket: Bucket) -> None:
    data = ledger()
    summary = summarise(data)
    assert summary.to_dict()["totals"][bucket.total] == JOULES[bucket.name]
    figure = energy_by_purpose(summary)
    assert figure is not None
    (bar,) = (each for each in figure.plot.data)
    (place,) = (number for number, name in enumerate(bar.y) if name.endswith(bucket.title) and name[:2] != "of")
    assert bar.marker.color[place] == bucket.color
    assert bucket.is_work or f"{bucket.title} is {bucket.about}" in figure.caption


@every_bucket
def test_a_receipt_has_every_bucket(bucket: Bucket) -> None:
    data = ledger()
    (device,) = explain(data, data.leases[0].trial).windows[0].devices
    told = dict(device.buckets)
    if bucket.is_work:
        assert told["this trial"] == sum(JOULES[each.name] for each in BUCKETS if each.is_work)
    else:
        assert told[f"its {bucket.title}" if bucket.of == "lease" else bucket.title] == JOULES[bucket.name]
    assert device.difference_joules == 0


def test_a_finished_run_shows_what_it_is_charged_with() -> None:
    found = re.findall(
        r'^energysweep_sweep_energy_joules_total{.*bucket="(\w+)".*} (\S+) \S+$', openmetrics(ledger()), re.MULTILINE
    )
    work = sum(JOULES[bucket.name] for bucket in BUCKETS if bucket.is_work)
    last = {bucket: float(value) for bucket, value in found}
    assert last == pytest.approx({TRIALS: work} | {bucket: JOULES[bucket] for bucket in CHARGED_APART})


@every_bucket
def test_the_documents_have_every_bucket(bucket: Bucket) -> None:
    architecture = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    in_window = architecture.partition("In the window of a run:")[2].partition("The host's own account")[0]
    assert re.search(rf"^\| (`\w+`, )?`{bucket.name}`.* \| .+ \|$", in_window, re.MULTILINE)
    glossary = re.search(r"^\| bucket \| .*$", architecture, re.MULTILINE)
    assert glossary is not None
    assert f"`{bucket.name}`" in glossary[0]
    assert re.search(rf"`(totals)?\.?{bucket.total}`", architecture), "its key in summary.json"
    told = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    assert f"| `{bucket.name}` | {bucket.about} | {bucket.of} |" in told


@every_bucket
@pytest.mark.parametrize("folder", ["deploy/grafana/dashboards", "helm/energysweep/files/dashboards"])
def test_the_dashboards_have_every_bucket_of_a_host_and_of_a_sweep(bucket: Bucket, folder: str) -> None:
    name = "Trials" if bucket.is_work else bucket.title.capitalize()
    if bucket.is_in_host_account:
        nodes = dashboard("nodes", folder)
        assert shown_names(nodes, "Power by owner, and the meters")[bucket.account] == name
        assert shown_names(nodes, "Energy by owner")[bucket.account] == name
        (table,) = (each for each in nodes["panels"] if each["title"].endswith("Energy by owner against the meters"))
        assert f'bucket="{bucket.account}"' in " ".join(target["expr"] for target in table["targets"])
    if bucket.name in CHARGED_APART:
        assert shown_names(dashboard("sweep", folder), "Power by trial")[bucket.name] == name


@every_bucket
def test_a_trial_s_bucket_has_series_and_a_rule_that_adds_it_to_its_sweep(bucket: Bucket) -> None:
    told = {family.name: family for family in metrics.FAMILIES}
    if bucket.of == "lease" and not bucket.is_work:
        rules = (ROOT / "deploy/prometheus/rules/recording.yml").read_text(encoding="utf-8")
        for unit in ("energy_joules", "emissions_grams"):
            name = f"energysweep_trial_{bucket.name}_{unit}_total"
            assert name in told
            assert not bucket.is_charged or name in rules
    else:
        assert f"energysweep_trial_{bucket.name}_energy_joules_total" not in told
    assert (bucket.name in metrics.TRIAL_ENERGY.help) == bucket.is_work
    assert (bucket.account in metrics.SWEEP_ENERGY.help) == (bucket.account in CHARGED)
    assert (bucket.account in metrics.NODE_BUCKETS.help) == (bucket.account in HOST_ACCOUNT)
