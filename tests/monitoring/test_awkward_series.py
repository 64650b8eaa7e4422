"""What a long time with many agents leaves in Prometheus, and what the dashboards make of it.

A trial that moved, an agent that came back at another address, energy that is partly an estimate, trials of a Tuner of
one's own that have neither configuration nor hardware profile. Several agents on a node. A configuration that was the
cheapest for a while, until a second trial of it needed more.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from energysweep.core.metrics import EXPRESSIONS
from energysweep.core.naming import configuration_text
from energysweep.monitoring import dashboards
from tests.support.grafana import View, cells, escaped, numbers, target
from tests.support.prometheus import Prometheus, bring_back

BEGAN = 1_700_000_000
DASHBOARDS = {dashboard["uid"]: dashboard for dashboard in dashboards()}
ENERGY: dict[tuple[str, ...], list[int | None]] = {
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
# The start-up of trials of that Tuner, one of which has not begun to work.
STARTUP: dict[tuple[str, ...], list[int | None]] = {
    ("own", "3", "a", "cpu", "rapl", "a:9771"): [None, None, None, 0, 12],
    ("own", "3", "a", "cpu", "rapl", "a:9772"): [None, None, None, None, 12],
    ("own", "4", "b", "cpu", "estimate", "b:9770"): [None, None, None, 0, 3],
}
GRAMS_PER_JOULE = 0.1
ODD = {"x": 2, "name": 'a x=7 "b\\', "a.b+(c d": "1", "axb": {"k": [1.0, "y z"]}}
INFO = {"1": ("x=1", "cpu"), "2": (configuration_text(ODD), "cpu"), "3": ("", "")}
# Agents, by node and instance, of nodes that draw 10 W all the time: the first and last minute, what they had counted
# before, and how many of the 10 W they book to trials. The rest is background.
AGENTS = {
    # One that is scraped under two instances.
    ("twice", "t:9770"): (0, 20, 0, 7),
    ("twice", "localhost:9770"): (0, 20, 0, 7),
    # Two users': the second one's sweep began later, and ended earlier.
    ("shared", "s:9770"): (0, 20, 5000, 7),
    ("shared", "s:9771"): (5, 15, 0, 2),
    # One that went on at another port, and one that began anew at a third.
    ("moved", "m:9770"): (0, 9, 0, 7),
    ("moved", "m:9771"): (20, 29, 5400, 7),
    ("moved", "m:9772"): (40, 49, 0, 7),
    # Two users': the second one's went on when the first one's had ended.
    ("overlapping", "o:9770"): (0, 20, 5000, 7),
    ("overlapping", "o:9771"): (10, 50, 0, 2),
}


def of_nodes() -> Iterator[str]:
    """The series of the agents, with a scrape a minute."""
    for metric in ("energy", "bucket_energy"):
        yield f"# TYPE energysweep_node_{metric}_joules counter"
        for (node, instance), (first, last, before, trials) in AGENTS.items():
            labels = f'node="{node}",component="cpu",instance="{instance}"'
            parts = {
                "energy": {'device="package-0",source="rapl"': (before, 10)},
                "bucket_energy": {
                    'bucket="trials"': (before * trials // 10, trials),
                    'bucket="background"': (before - before * trials // 10, 10 - trials),
                },
            }
            for own, (began, watts) in parts[metric].items():
                for minute in range(first, last + 1):
                    joules = began + watts * 60 * (minute - first)
                    at = BEGAN + 60 * minute
                    yield f"energysweep_node_{metric}_joules_total{{{labels},{own}}} {joules} {at}"


def of_agents() -> Iterator[str]:
    """Each agent has two open leases, as long as it is there."""
    yield "# TYPE energysweep_agent_open_leases gauge"
    for (node, instance), (first, last, _, _) in AGENTS.items():
        for minute in range(first, last + 1):
            labels = f'node="{node}",instance="{instance}"'
            yield f"energysweep_agent_open_leases{{{labels}}} 2 {BEGAN + 60 * minute}"


def of_parts() -> Iterator[str]:
    """A sweep that was interrupted and resumed: another agent tells of its second part."""
    parts = (("b:9770", 0, 3, 0.5, 12), ("b:9771", 10, 14, 0.3, 7))
    yield "# TYPE energysweep_sweep_start_timestamp_seconds gauge"
    for instance, first, last, _, _ in parts:
        for minute in range(first, last + 1):
            labels = f'sweep="s",instance="{instance}"'
            yield f"energysweep_sweep_start_timestamp_seconds{{{labels}}} {BEGAN + 60 * first} {BEGAN + 60 * minute}"
    yield "# TYPE energysweep_sweep_end_timestamp_seconds gauge"
    yield f'energysweep_sweep_end_timestamp_seconds{{sweep="s",instance="b:9770"}} {BEGAN + 180} {BEGAN + 180}'
    for name, place, labels in (("best", 3, 'metric="loss",'), ("saved_energy_joules", 4, "")):
        yield f"# TYPE energysweep_sweep_{name} gauge"
        for part in parts:
            for minute in range(part[1], part[2] + 1):
                own = f'sweep="s",{labels}instance="{part[0]}"'
                yield f"energysweep_sweep_{name}{{{own}}} {part[place]} {BEGAN + 60 * minute}"


def of_trials(which: str, energy: Mapping[tuple[str, ...], Sequence[int | None]], bucket: str) -> Iterator[str]:
    """Joules of trials, and the grams of those of a Tuner of one's own."""
    joules = [f"# TYPE energysweep_{which}_energy_joules counter"]
    grams = [f"# TYPE energysweep_{which}_emissions_grams counter"]
    for (sweep, trial, node, component, source, instance), values in energy.items():
        labels = f'sweep="{sweep}",trial="{trial}",node="{node}",instance="{instance}"'
        of_joules = f'{labels},component="{component}",source="{source}"{bucket}'
        for at, value in zip(range(BEGAN, BEGAN + 600, 60), values, strict=False):
            if value is not None:
                joules.append(f"energysweep_{which}_energy_joules_total{{{of_joules}}} {value} {at}")
                if sweep == "own":
                    emitted = value * GRAMS_PER_JOULE
                    grams.append(f"energysweep_{which}_emissions_grams_total{{{labels}}} {emitted} {at}")
    yield from joules
    yield from grams


def openmetrics() -> str:
    """The series, with a scrape a minute."""
    lines = ["# TYPE energysweep_trial_info gauge"]
    for sweep, trial, node, instance in dict.fromkeys((*key[:3], key[5]) for key in ENERGY):
        config, hardware = (text.replace("\\", "\\\\").replace('"', '\\"') for text in INFO[trial])
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
        *of_trials("trial", ENERGY, ',bucket="active"'),
        *of_trials("trial_startup", STARTUP, ""),
        *of_nodes(),
        *of_agents(),
        *of_parts(),
        "# EOF",
    ]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def view() -> Iterator[View]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bring_back(folder, openmetrics())
        with Prometheus(folder) as prometheus:
            yield View(prometheus.url, BEGAN - 60, BEGAN + 86400, 60)


def column(view: View, uid: str, title: str, name: str, by: str, **chosen: str) -> dict[str, float]:
    return {value: number for (value,), number in cells(view, DASHBOARDS[uid], title, name, by, **chosen).items()}


def asked(view: View, uid: str, title: str, reference: str, label: str, **chosen: str) -> dict[str, float]:
    """What a query of a panel finds, by a label."""
    dashboard = DASHBOARDS[uid]
    found = view.ask(target(dashboard, title, reference), view.choose(dashboard) | chosen)
    return {value: joules for (value,), joules in numbers(found, label).items()}


def of_configurations(view: View, name: str, **chosen: str) -> dict[str, float]:
    title = "$measured All configurations"
    return column(view, "energysweep-configurations", title, name, "Configuration", **chosen)


def test_a_joule_counts_once_wherever_its_trial_and_its_agent_were(view: View) -> None:
    assert of_configurations(view, "Energy of all") == {"x=1": 150, INFO["2"][0]: 40, "(none)": 5}


def test_a_node_s_part_can_be_told_apart(view: View) -> None:
    assert of_configurations(view, "Energy of all", node=escaped("a")) == {"x=1": 100, "(none)": 5}
    assert of_configurations(view, "Energy of all", node=escaped("b")) == {"x=1": 50, INFO["2"][0]: 40}


def test_which_part_is_an_estimate_is_told_and_stands_in_the_titles(view: View) -> None:
    assert of_configurations(view, "Estimated") == {"x=1": 0, INFO["2"][0]: 0.25, "(none)": 0}
    configurations = DASHBOARDS["energysweep-configurations"]
    (measured,) = (each for each in configurations["templating"]["list"] if each["name"] == "measured")
    chosen = view.choose(configurations)

    def told(chosen: dict[str, str]) -> tuple[str, str]:
        """What is chosen: the sign of titles, the words of headings."""
        return next(iter(view.options(measured, chosen).items()))

    assert told(chosen) == ("≈", "≈ partly estimated")
    assert told(chosen | {"node": escaped("a")}) == (" ", "measured")
    assert told(chosen | {"node": escaped("elsewhere")}) == (" ", "nothing metered")


def test_trials_without_hardware_and_configuration_have_a_name_on_the_axis(view: View) -> None:
    hardware = column(view, "energysweep-configurations", "$measured Energy per hardware", "Energy (mean)", "Hardware")
    assert hardware == {"cpu": 95, "(none)": 5}
    title, by = "$measured Energy per configuration", ("Configuration", "Hardware")
    names = cells(view, DASHBOARDS["energysweep-configurations"], title, "Energy (mean)", *by)
    assert names == {("x=1", "cpu"): 150, (INFO["2"][0], "cpu"): 40, ("(none)", "(none)"): 5}


def test_every_parameter_is_found_with_its_value_whatever_stands_in_them(view: View) -> None:
    configurations = DASHBOARDS["energysweep-configurations"]
    (parameter,) = (each for each in configurations["templating"]["list"] if each["name"] == "parameter")
    listed = list(view.options(parameter, view.choose(configurations)))
    assert sorted(listed) == sorted(["x", "name", '"a.b+(c d"', "axb"])

    def told(name: str) -> dict[str, float]:
        return column(view, "energysweep-configurations", "$measured Values", "Mean energy", "Value", parameter=name)

    assert told("x") == {"1": 150, "2": 40}
    assert told("name") == {r'"a x=7 \"b\\"': 40}
    assert told('"a.b+(c d"') == {'"1"': 40}
    assert told("axb") == {'{k:[1.0,"y z"]}': 40}


def test_sweeps_are_listed_from_the_newest_and_those_that_no_driver_tells_of_at_the_end(view: View) -> None:
    (sweep,) = (each for each in DASHBOARDS["energysweep-sweep"]["templating"]["list"] if each["name"] == "sweep")
    assert list(view.options(sweep, {})) == ["s", "own"]


def test_of_a_tuner_of_one_s_own_so_far_is_work_and_start_up_once_and_the_estimated_part_of_both(view: View) -> None:
    # Trial 3: 5 J of work and 12 J of start-up, told twice. Trial 4: 3 J of start-up, by a model.
    by_source = asked(view, "energysweep-sweep", "What measured it", "energy", "source", sweep="own")
    assert by_source == {"rapl": 17, "estimate": 3}
    grams = asked(view, "energysweep-sweep", "$measured CO2e", "A", "sweep", sweep="own")
    assert grams == {"": pytest.approx(20 * GRAMS_PER_JOULE)}
    sweeps = {
        name: column(view, "energysweep-configurations", "$measured_sweeps Sweeps", name, "Sweep")
        for name in ("Energy", "CO2e", "Estimated")
    }
    assert sweeps["Energy"] == {"s": 190, "own": 20}
    assert sweeps["CO2e"] == {"own": pytest.approx(20 * GRAMS_PER_JOULE)}
    assert sweeps["Estimated"] == {"s": pytest.approx(10 / 190), "own": pytest.approx(3 / 20)}
    sweep = DASHBOARDS["energysweep-sweep"]
    (measured,) = (each for each in sweep["templating"]["list"] if each["name"] == "measured")
    assert list(view.options(measured, view.choose(sweep) | {"sweep": "own"})) == ["≈"]


def test_of_a_tuner_of_one_s_own_power_has_start_up_beside_the_trials(view: View) -> None:
    while_it_ran, sweep = replace(view, start=BEGAN, end=BEGAN + 240), DASHBOARDS["energysweep-sweep"]
    chosen = while_it_ran.choose(sweep) | {"sweep": "own"}
    (startup,) = while_it_ran.ask(target(sweep, "$measured Power by trial", "apart"), chosen)
    # Both began at 0 within the four minutes over which Prometheus takes a rate.
    assert startup["metric"] == {"bucket": "startup"}
    assert float(startup["values"][-1][1]) == pytest.approx((12 + 3) / 240)


def of_nodes_dashboard(view: View, reference: str, minutes: int) -> dict[str, float]:
    """A column of the table of owners, by node, over the first minutes."""
    title = "$measured Energy by owner against the meters"
    return asked(replace(view, end=BEGAN + 60 * minutes), "energysweep-nodes", title, reference, "node")


def test_of_agents_that_share_a_node_the_longest_there_counts_and_no_joule_twice(view: View) -> None:
    metered, trials = (of_nodes_dashboard(view, reference, 60) for reference in ("metered", "trials"))
    assert {node: metered[node] for node in ("twice", "shared")} == {"twice": 12000, "shared": 12000}
    assert {node: trials[node] for node in ("twice", "shared")} == {"twice": 8400, "shared": 8400}


def test_agents_that_followed_each_other_are_added(view: View) -> None:
    assert of_nodes_dashboard(view, "metered", 60)["moved"] == 3 * 5400
    assert of_nodes_dashboard(view, "trials", 60)["moved"] == 3 * 3780


def test_agents_that_overlapped_are_divided_by_time(view: View) -> None:
    metered, trials = (of_nodes_dashboard(view, reference, 60)["overlapping"] for reference in ("metered", "trials"))
    # The first one 20 minutes at 10 W. The second one 30 minutes of its 40, less what the first one's last scrape is
    # looked back for: four minutes.
    assert 12000 + 26 * 600 - 1 <= metered <= 12000 + 30 * 600
    assert trials == pytest.approx(8400 + (metered - 12000) * 0.2)


def test_two_users_agents_on_a_node_are_two_agents_with_the_leases_of_both(view: View) -> None:
    dashboard = DASHBOARDS["energysweep-nodes"]
    then = replace(view, end=BEGAN + 60 * 10)

    def number(title: str, node: str) -> float:
        asked = then.ask(target(dashboard, title, "A"), then.choose(dashboard) | {"node": escaped(node)})
        (series,) = asked
        return float(series["value"][1])

    assert (number("Agents that answer", "shared"), number("Open leases", "shared")) == (2, 4)
    assert (number("Agents that answer", "overlapping"), number("Open leases", "overlapping")) == (2, 4)


@pytest.mark.parametrize("minutes", [12, 18, 30, 60, 1440])
def test_owners_sum_up_to_the_meters_however_many_agents_a_node_has(view: View, minutes: int) -> None:
    owners = [of_nodes_dashboard(view, reference, minutes) for reference in ("trials", "background")]
    booked, metered = (of_nodes_dashboard(view, reference, minutes) for reference in ("booked", "metered"))
    assert {node for node, _ in AGENTS} == set(metered)
    for node, joules in metered.items():
        assert sum(owner[node] for owner in owners) == pytest.approx(booked[node], rel=1e-9)
        assert booked[node] == pytest.approx(joules, rel=1e-9)
    assert of_nodes_dashboard(view, "difference", minutes) == pytest.approx(dict.fromkeys(metered, 0), abs=1e-6)


@pytest.mark.parametrize("node", ["twice", "shared", "overlapping"])
def test_the_areas_of_a_shared_node_reach_the_meters_line_and_not_beyond(view: View, node: str) -> None:
    dashboard, title = DASHBOARDS["energysweep-nodes"], "$measured Power by owner, and the meters"
    hour = replace(view, end=BEGAN + 3600)
    areas, (meters,) = (
        hour.ask(target(dashboard, title, reference), hour.choose(dashboard) | {"node": escaped(node)})
        for reference in ("A", "meters")
    )
    watts: dict[str, dict[float, float]] = {
        series["metric"]["bucket"]: {when: float(value) for when, value in series["values"]} for series in areas
    }
    line = {when: float(value) for when, value in meters["values"]}
    assert watts["trials"].keys() == watts["background"].keys() == line.keys()
    for when, value in line.items():
        assert watts["trials"][when] + watts["background"][when] == pytest.approx(value)
        assert value < 10.001
        if BEGAN + 240 <= when <= BEGAN + 1200:  # while the longest is there, it is its books
            assert value == pytest.approx(10)
            assert watts["trials"][when] == pytest.approx(0.7 * value)


def test_the_document_s_queries_count_a_joule_once(view: View) -> None:
    hour, queries = replace(view, end=BEGAN + 3600), dict(EXPRESSIONS)
    assert numbers(hour.instant(queries["joules of each trial, ended or not"]), "trial") == {
        ("1",): 150,
        ("2",): 40,
        ("3",): 5,
    }
    of_configurations = numbers(hour.instant(queries["joules per configuration"]), "config")
    assert of_configurations == {("x=1",): 150, (INFO["2"][0],): 40, ("",): 5}
    metered = numbers(hour.instant(queries["joules drawn within the last hour, by node"]), "node")
    owners = numbers(hour.instant(queries["who drew them"]), "node", "bucket")
    for node in ("twice", "shared"):
        # increase() carries a series on by half a scrape interval at most.
        assert 12000 <= metered[node,] <= 12601
        assert owners[node, "trials"] == pytest.approx(0.7 * metered[node,])
        assert owners[node, "background"] == pytest.approx(0.3 * metered[node,])


def test_the_cheapest_configuration_is_the_one_that_was_named_last_and_not_a_lucky_one_before(view: View) -> None:
    title = "$measured Cheapest at target so far"
    assert column(view, "energysweep-sweep", title, "Energy", "Configuration", sweep="s") == {"x=2": 30}
    assert column(view, "energysweep-configurations", "$measured_sweeps Sweeps", "Least to target", "Sweep") == {
        "s": 30
    }


def test_a_sweep_that_was_resumed_shows_what_its_last_part_told(view: View) -> None:
    """Also where the first part had told of more, and of an end."""
    assert asked(view, "energysweep-sweep", "Best so far", "A", "metric", sweep="s") == {"loss": 0.3}
    assert list(asked(view, "energysweep-sweep", "≈ Saved", "A", "sweep", sweep="s").values()) == [7]
    when = "When they ran, and whose they are"
    assert column(view, "energysweep-configurations", when, "Begins", "Sweep") == {"s": 1000 * BEGAN}
    assert column(view, "energysweep-configurations", when, "Ends", "Sweep") == {}
