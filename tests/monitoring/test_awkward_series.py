"""What a long time with many agents leaves in Prometheus, and what the dashboards make of it.

A trial that moved, an agent that came back at another address, energy that is partly an estimate, trials of a Tuner of
one's own that have neither configuration nor hardware profile. A configuration that was the cheapest for a while, until
a second trial of it needed more.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from energysweep.monitoring import dashboards
from tests.conftest import need
from tests.monitoring.grafana import View, escaped, numbers, target
from tests.prometheus import Prometheus

BEGAN = 1_700_000_000
DASHBOARDS = {dashboard["uid"]: dashboard for dashboard in dashboards()}
ENERGY = {
    # Trial 1 used 100 J on a, whose agent came back at another port with the same account, then 50 J on b.
    ("s", "1", "a", "cpu", "rapl", "a:9770"): [0, 60, 90],
    ("s", "1", "a", "cpu", "rapl", "a:9771"): [None, None, 90, 100],
    ("s", "1", "b", "cpu", "rapl", "b:9770"): [None, None, None, 0, 50],
    # Trial 2 used 30 J that were measured and 10 J by a model.
    ("s", "2", "b", "cpu", "rapl", "b:9770"): [0, 30],
    ("s", "2", "b", "dram", "estimate", "b:9770"): [0, 10],
    # A Tuner of one's own; no driver tells of it.
    ("own", "3", "a", "cpu", "rapl", "a:9771"): [None, None, None, 0, 5],
}
INFO = {"1": ("x=1", "cpu"), "2": ('x=2 name="a b"', "cpu"), "3": ("", "")}


def openmetrics() -> str:
    """The series, with a scrape a minute."""
    lines = ["# TYPE energysweep_trial_energy_joules counter"]
    for (sweep, trial, node, component, source, instance), values in ENERGY.items():
        labels = f'sweep="{sweep}",trial="{trial}",node="{node}",component="{component}",source="{source}"'
        lines += [
            f'energysweep_trial_energy_joules_total{{{labels},bucket="active",instance="{instance}"}} {value} {at}'
            for at, value in zip(range(BEGAN, BEGAN + 600, 60), values, strict=False)
            if value is not None
        ]
    lines.append("# TYPE energysweep_trial_info gauge")
    for sweep, trial, node, instance in dict.fromkeys((*key[:3], key[5]) for key in ENERGY):
        config, hardware = (text.replace('"', '\\"') for text in INFO[trial])
        labels = f'sweep="{sweep}",trial="{trial}",node="{node}",config="{config}",hardware="{hardware}"'
        lines += [
            f'energysweep_trial_info{{{labels},instance="{instance}"}} 1 {at}' for at in range(BEGAN, BEGAN + 300, 60)
        ]
    lines.append("# TYPE energysweep_sweep_cheapest_energy_to_target_joules gauge")
    for config, joules, minutes in (("x=1", 20, range(3)), ("x=2", 30, range(3, 5))):
        labels = f'sweep="s",config="{config}",hardware="cpu",instance="b:9770"'
        lines += [
            f"energysweep_sweep_cheapest_energy_to_target_joules{{{labels}}} {joules} {BEGAN + 60 * minute}"
            for minute in minutes
        ]
    lines += [
        "# TYPE energysweep_sweep_start_timestamp_seconds gauge",
        f'energysweep_sweep_start_timestamp_seconds{{sweep="s",instance="b:9770"}} {BEGAN} {BEGAN}',
        "# EOF",
    ]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def view() -> Iterator[View]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "series.om").write_text(openmetrics())
        command = [need("promtool"), "tsdb", "create-blocks-from", "openmetrics", "series.om", "tsdb"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        with Prometheus(folder) as prometheus:
            yield View(prometheus.url, BEGAN - 60, BEGAN + 86400, 60)


def column(view: View, uid: str, title: str, reference: str, label: str, **chosen: str) -> dict[str, float]:
    dashboard = DASHBOARDS[uid]
    found = view.ask(target(dashboard, title, reference), view.choose(dashboard) | chosen)
    return {value: joules for (value,), joules in numbers(found, label).items()}


def of_configurations(view: View, reference: str, **chosen: str) -> dict[str, float]:
    return column(view, "energysweep-configurations", "All configurations ($measured)", reference, "config", **chosen)


def test_a_joule_counts_once_wherever_its_trial_and_its_agent_were(view: View) -> None:
    assert of_configurations(view, "sum") == {"x=1": 150, INFO["2"][0]: 40, "": 5}


def test_a_node_s_part_can_be_told_apart(view: View) -> None:
    assert of_configurations(view, "sum", node=escaped("a")) == {"x=1": 100, "": 5}
    assert of_configurations(view, "sum", node=escaped("b")) == {"x=1": 50, INFO["2"][0]: 40}


def test_which_part_is_an_estimate_is_told_and_stands_in_the_titles(view: View) -> None:
    assert of_configurations(view, "estimated") == {"x=1": 0, INFO["2"][0]: 0.25, "": 0}
    configurations = DASHBOARDS["energysweep-configurations"]
    (measured,) = (each for each in configurations["templating"]["list"] if each["name"] == "measured")
    chosen = view.choose(configurations)
    assert view.options(measured, chosen)[0] == "≈ partly estimated"
    assert view.options(measured, chosen | {"node": escaped("a")})[0] == "measured"
    assert view.options(measured, chosen | {"node": escaped("elsewhere")})[0] == "nothing metered"


def test_trials_without_hardware_and_configuration_have_a_name_on_the_axis(view: View) -> None:
    hardware = column(view, "energysweep-configurations", "Energy per hardware ($measured)", "A", "hardware")
    assert hardware == {"cpu": 95, "(none)": 5}
    names = column(view, "energysweep-configurations", "Energy per configuration ($measured)", "A", "name")
    assert names == {"x=1 cpu": 150, f"{INFO['2'][0]} cpu": 40, "(none)": 5}


def test_a_value_with_spaces_is_one_value(view: View) -> None:
    title = "Values of $parameter ($measured)"
    values = column(view, "energysweep-configurations", title, "energy", "value", parameter="name")
    assert values == {'"a b"': 40}


def test_sweeps_are_listed_from_the_newest_and_those_that_no_driver_tells_of_at_the_end(view: View) -> None:
    (sweep,) = (each for each in DASHBOARDS["energysweep-sweep"]["templating"]["list"] if each["name"] == "sweep")
    assert view.options(sweep, {}) == ["s", "own"]


def test_the_cheapest_configuration_is_the_one_that_was_named_last_and_not_a_lucky_one_before(view: View) -> None:
    title = "Cheapest at target so far ($measured)"
    assert column(view, "energysweep-sweep", title, "A", "config", sweep="s") == {"x=2": 30}
    assert column(view, "energysweep-configurations", "Sweeps ($measured)", "cheapest", "sweep") == {"s": 30}
