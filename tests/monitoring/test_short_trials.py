"""A sweep of trials that are shorter than the scrape interval: its own counters miss none of them.

Scrapes every 15 s. Beside a trial of 60 W that goes on all the time, another one of 100 W and 12 s begins every 15 s,
so that it is over before its first scrape; and there are 10 W of overhead.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from energysweep.monitoring import dashboards
from tests.support.grafana import View, numbers, summed, target
from tests.support.prometheus import Prometheus, bring_back

BEGAN = 1_700_000_000
SCRAPE = 15
ENDED = 1800
KEPT = 300  # how long the series of what has ended stay
SHORT_JOULES, LONG_WATTS, OVERHEAD_WATTS = 1200, 60, 10
SHORT_TRIALS = ENDED // SCRAPE
TOTAL = SHORT_TRIALS * SHORT_JOULES + (LONG_WATTS + OVERHEAD_WATTS) * ENDED
SWEEP, CONFIGURATIONS = (
    next(dashboard for dashboard in dashboards() if dashboard["uid"] == uid)
    for uid in ("energysweep-sweep", "energysweep-configurations")
)
POWER = "$measured Power by trial"


def trials() -> Iterator[tuple[str, int, int]]:
    """Each one's name, and when it is scraped for the first and for the last time."""
    yield "long", 0, ENDED + KEPT
    for number in range(SHORT_TRIALS):
        first = (number + 1) * SCRAPE
        yield f"short-{number}", first, first + KEPT


def openmetrics() -> str:
    lines = ["# TYPE energysweep_trial_energy_joules counter"]
    for trial, first, last in trials():
        labels = f'sweep="s",trial="{trial}",node="a",component="cpu",bucket="active",source="rapl"'
        for at in range(first, last + 1, SCRAPE):
            joules = LONG_WATTS * min(at, ENDED) if trial == "long" else SHORT_JOULES
            lines.append(f"energysweep_trial_energy_joules_total{{{labels}}} {joules} {BEGAN + at}")
    lines.append("# TYPE energysweep_trial_info gauge")
    for trial, first, last in trials():
        labels = f'sweep="s",trial="{trial}",node="a",config="kind={trial[:4]}",hardware="cpu"'
        lines += [f"energysweep_trial_info{{{labels}}} 1 {BEGAN + at}" for at in range(first, last + 1, SCRAPE)]
    for name, per_joule in (("energy_joules", 1.0), ("emissions_grams", 1e-4)):
        lines.append(f"# TYPE energysweep_sweep_{name} counter")
        for bucket in ("trials", "overhead"):
            labels = f'sweep="s",bucket="{bucket}"' + (',component="cpu",source="rapl"' if "energy" in name else "")
            for at in range(0, ENDED + KEPT + 1, SCRAPE):
                busy = min(at, ENDED)
                joules = OVERHEAD_WATTS * busy
                if bucket == "trials":
                    joules = LONG_WATTS * busy + busy // SCRAPE * SHORT_JOULES
                lines.append(f"energysweep_sweep_{name}_total{{{labels}}} {joules * per_joule} {BEGAN + at}")
    lines += [
        "# TYPE energysweep_sweep_start_timestamp_seconds gauge",
        *(
            f'energysweep_sweep_start_timestamp_seconds{{sweep="s"}} {BEGAN} {BEGAN + at}'
            for at in range(0, ENDED + KEPT + 1, SCRAPE)
        ),
        "# EOF",
    ]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def view() -> Iterator[View]:
    """The whole sweep."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bring_back(folder, openmetrics())
        with Prometheus(folder) as prometheus:
            yield View(prometheus.url, BEGAN, BEGAN + ENDED + KEPT, SCRAPE)


def lines(view: View, reference: str) -> dict[float, float]:
    """The panel's watts over time, all series of a query together."""
    watts: dict[float, float] = {}
    for series in view.ask(target(SWEEP, POWER, reference), view.choose(SWEEP)):
        for when, value in series["values"]:
            watts[when] = watts.get(when, 0.0) + float(value)
    return watts


def test_the_area_under_the_line_is_the_sweep_s_energy(view: View) -> None:
    line = lines(view, "sweep")
    # The rates of the first minute are of what is there of it.
    assert sum(line.values()) * SCRAPE == pytest.approx(TOTAL, rel=0.02)


def test_the_areas_reach_the_line_although_no_short_trial_is_seen_by_itself(view: View) -> None:
    areas = {reference: lines(view, reference) for reference in ("A", "others", "apart")}
    line = lines(view, "sweep")
    for at in range(300, ENDED, SCRAPE):
        when = BEGAN + at
        assert areas["A"][when] == pytest.approx(LONG_WATTS)
        assert areas["others"][when] == pytest.approx(SHORT_JOULES / SCRAPE)
        assert areas["apart"][when] == pytest.approx(OVERHEAD_WATTS)
        assert sum(area[when] for area in areas.values()) == pytest.approx(line[when])


def test_joules_and_grams_so_far_are_those_of_the_sweep_however_short_the_range_is(view: View) -> None:
    last_minutes = replace(view, start=BEGAN + ENDED - 300, end=BEGAN + ENDED)

    def asked(title: str, reference: str = "A") -> dict[tuple[str, ...], float]:
        query = target(SWEEP, title, reference)
        return numbers(last_minutes.ask(query, last_minutes.choose(SWEEP)))

    assert summed(last_minutes, SWEEP, "$measured Energy") == pytest.approx(TOTAL)
    assert asked("$measured CO2e") == {(): pytest.approx(TOTAL * 1e-4)}
    assert asked("What measured it", "energy") == {(): pytest.approx(TOTAL)}
    # The table says that it is of trials within the range, and it is.
    rows = last_minutes.ask(target(SWEEP, "$measured Trials", "energy"), last_minutes.choose(SWEEP))
    assert 20 < len(rows) < 50
    beside = target(CONFIGURATIONS, "$measured_sweeps Sweeps", "whole")
    assert numbers(last_minutes.ask(beside, last_minutes.choose(CONFIGURATIONS)), "sweep") == {
        ("s",): pytest.approx(TOTAL)
    }


def test_a_sweep_that_has_ended_is_told_of_in_any_range_with_its_series(view: View) -> None:
    later = replace(view, start=BEGAN + ENDED, end=BEGAN + ENDED + 7200)
    assert summed(later, SWEEP, "$measured Energy") == pytest.approx(TOTAL)
