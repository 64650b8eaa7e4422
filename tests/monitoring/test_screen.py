"""What a person sees of the dashboards: Grafana's own code draws them over a real Prometheus, Chromium measures.

At three widths of windows, with series that are awkward to show (seen_sweeps.py).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from energysweep.monitoring import Json, dashboards
from tests.conftest import need
from tests.support import seen_sweeps
from tests.support.grafana import View, panels, rows, summed
from tests.support.prometheus import Prometheus, bring_back
from tests.support.screen import WIDTHS, bundle, measured, page
from tests.support.seen_sweeps import METRIC, PARAMETER

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SWEEP, CONFIGURATIONS, NODES, ACCOUNT = dashboards()
ALL = {dashboard["uid"]: dashboard for dashboard in dashboards()}
every_dashboard = pytest.mark.parametrize("uid", ALL)

_SI = "(?:f|p|n|µ|m|k|M|G|T)?"
_NUMBER = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"
LOOKS_LIKE = {
    "joule": rf"{_NUMBER} {_SI}J",
    "kwatth": rf"{_NUMBER} {_SI}Wh",
    "watt": rf"{_NUMBER} {_SI}W",
    "massg": rf"{_NUMBER} {_SI}g",
    "percentunit": r"\d+%",
    "none": _NUMBER,
    "dateTimeAsIso": r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d",
}


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> Iterator[View]:
    need("chromium")
    bundle()
    folder = tmp_path_factory.mktemp("screen")
    bring_back(folder, seen_sweeps.openmetrics())
    with Prometheus(folder) as prometheus:
        yield View(prometheus.url, seen_sweeps.BEGAN, seen_sweeps.ENDED, seen_sweeps.STEP)


def look(folder: Path, view: View, dashboard: Json, *widths: int) -> list[Json]:
    """What there is to see of a dashboard's panels, with each panel."""
    file = folder / "page.html"
    file.write_text(page(dashboard, view, widths), encoding="utf-8")
    of = {panel["id"]: panel for panel in dashboard["panels"]}
    return [seen | {"panel": of[seen["panel"]]} for seen in measured(file, max(widths))]


@pytest.fixture(scope="module")
def screens(view: View, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Json]]:
    """All dashboards at all widths."""
    widths = sorted(WIDTHS.values())
    return {uid: look(tmp_path_factory.mktemp(uid), view, dashboard, *widths) for uid, dashboard in ALL.items()}


def cut(seen: list[Json]) -> list[tuple[int, str, list[str], int]]:
    """Where a text is cut, or a table goes on beyond its panel."""
    return [
        (each["width"], each["panel"]["title"], each["cut"], each["beyond"])
        for each in seen
        if each["cut"] or each["beyond"] > 0
    ]


def wrong_cells(seen: list[Json]) -> list[tuple[str, str, str]]:
    """Cells whose text is not in the unit of what their column holds: panel, heading, text. Empty ones are right."""
    found = []
    for each in seen:
        if each["panel"]["type"] == "table":
            headings, *rows = each["rows"]
            units = UNITS[each["panel"]["id"], each["panel"]["description"]]
            for row in rows:
                for heading, text in zip(headings, row, strict=True):
                    unit = units[heading]
                    known = unit != "string" and re.fullmatch(LOOKS_LIKE[unit], text)
                    if text and not (known or (unit == "string" and text in WORDS)):
                        found.append((each["panel"]["title"], heading, text))
    return found


def units_of(panel: Json) -> dict[str, str]:
    """What each column is in, by the heading that is shown."""
    units = {}
    for override in panel["fieldConfig"]["overrides"]:
        properties = {each["id"]: each["value"] for each in override["properties"]}
        if "unit" in properties:
            heading = properties.get("displayName", override["matcher"]["options"])
            units[heading.replace("$metric", METRIC).replace("$parameter", PARAMETER)] = properties["unit"]
    return units


UNITS = {(panel["id"], panel["description"]): units_of(panel) for each in dashboards() for panel in panels(each)}


def repeated_ticks(seen: list[Json]) -> list[tuple[str, list[str]]]:
    return [(each["panel"]["title"], ticks) for each in seen for ticks in each["ticks"] if len(set(ticks)) < len(ticks)]


# Every text that Prometheus has, and so a cell may have.
WORDS = {label for _, labels, _ in seen_sweeps.series() for label in labels} | {"16", "64", "256", "(none)"}


@every_dashboard
def test_no_text_is_cut_and_no_column_falls_off(screens: dict[str, list[Json]], uid: str) -> None:
    assert {each["width"] for each in screens[uid]} == set(WIDTHS.values())
    assert cut(screens[uid]) == []


@every_dashboard
def test_every_cell_is_in_its_own_unit_or_empty(screens: dict[str, list[Json]], uid: str) -> None:
    """And what a whole panel says when it is empty stands in no cell: that is in no unit, and no label."""
    assert wrong_cells(screens[uid]) == []


@every_dashboard
def test_no_axis_says_the_same_at_two_ticks(screens: dict[str, list[Json]], uid: str) -> None:
    assert repeated_ticks(screens[uid]) == []


@every_dashboard
def test_every_panel_shows_something(screens: dict[str, list[Json]], uid: str) -> None:
    for each in screens[uid]:
        if each["panel"]["type"] != "row":
            assert each["panel"]["fieldConfig"]["defaults"]["noValue"] not in each["texts"]


def the(screens: Mapping[str, list[Json]], dashboard: Json, title: str) -> Json:
    return next(each for each in screens[dashboard["uid"]] if each["panel"]["title"] == title)


def test_bars_have_the_names_of_values_and_the_unit_of_the_panel(screens: dict[str, list[Json]]) -> None:
    seen = the(screens, CONFIGURATIONS, "$measured Energy per value")
    # The mean of each is more: trials with 256 draw 26, 47 and 68 W for 1500 s, and 89 W for 1400 s.
    assert [text for text in seen["texts"] if text in {"16", "64", "256"}] == ["256", "64", "16"]
    assert seen["bars"][0] == "84.0 kJ"
    assert all(re.fullmatch(LOOKS_LIKE["joule"], text) for text in seen["bars"])


def test_axes_and_headings_have_the_name_of_the_metric(screens: dict[str, list[Json]]) -> None:
    assert {METRIC, "Energy"} <= set(the(screens, SWEEP, "$measured Energy against the metric")["texts"])
    assert METRIC in the(screens, SWEEP, "$measured Trials")["rows"][0]
    assert f"Mean {METRIC}" in the(screens, CONFIGURATIONS, "$measured All configurations")["rows"][0]


def test_numbers_that_are_tiny_or_huge_stay_numbers(screens: dict[str, list[Json]]) -> None:
    rows = the(screens, CONFIGURATIONS, "$measured All configurations")["rows"]
    place = rows[0].index(f"Mean {METRIC}")
    assert [row[place] for row in rows if row[0] == "layers=10"] == ["1.25e-9"]


def test_books_that_balance_differ_by_0_joules(screens: dict[str, list[Json]]) -> None:
    headings, *rows = the(screens, NODES, "$measured Energy by owner against the meters")["rows"]
    assert [row[headings.index("Difference")] for row in rows] == ["0 J", "0 J"]
    assert headings[1:6] == ["Trials", "Start-up", "Overhead", "Background", "Unreserved idle"]


def test_the_parts_of_an_account_differ_by_0_joules_from_the_meters(screens: dict[str, list[Json]]) -> None:
    headings, *rows = the(screens, ACCOUNT, "$measured Parts and meters")["rows"]
    assert [row[headings.index("Difference")] for row in rows] == ["0 J", "0 J"]
    assert headings[1:7] == ["Trials", "Start-up", "Overhead", "Background", "Unreserved idle", "Other"]
    assert the(screens, ACCOUNT, "$measured Parts less meters")["texts"][-2:] == ["0", "%"]


def test_a_sweep_of_the_account_leads_to_its_dashboard() -> None:
    (panel,) = (panel for panel in panels(ACCOUNT) if panel["title"] == "$measured Sweeps")
    links = [
        each["value"] for of in panel["fieldConfig"]["overrides"] for each in of["properties"] if each["id"] == "links"
    ]
    ((link,),) = links
    assert link["url"].startswith(f"/d/{SWEEP['uid']}?")
    assert "var-sweep=${__value.raw}" in link["url"]


def test_owners_have_the_same_names_wherever_they_stand(screens: dict[str, list[Json]]) -> None:
    for title in ("$measured Power by owner, and the meters", "$measured Energy by owner"):
        texts = the(screens, NODES, title)["texts"]
        assert {"Trials", "Start-up", "Overhead", "Background", "Unreserved idle"} <= set(texts)
        assert "unreserved_idle" not in texts


def test_the_legend_of_power_begins_with_the_sweep_and_its_overhead(screens: dict[str, list[Json]]) -> None:
    assert the(screens, SWEEP, "$measured Power by trial")["texts"][1:4] == ["The sweep", "Overhead", "Start-up"]


@pytest.mark.parametrize(
    ("dashboard", "title", "by"),
    [
        (SWEEP, "$measured Configurations", ("Configuration", "Hardware")),
        (CONFIGURATIONS, "$measured All configurations", ("Configuration", "Hardware")),
        (CONFIGURATIONS, "$measured Values", ("Value",)),
        (CONFIGURATIONS, "$measured Hardware", ("Hardware",)),
        (CONFIGURATIONS, "$measured Their sweeps", ("Sweep",)),
    ],
)
def test_groups_of_trials_are_those_that_the_other_tests_work_out(
    view: View, screens: dict[str, list[Json]], dashboard: Json, title: str, by: tuple[str, ...]
) -> None:
    headings, *cells = the(screens, dashboard, title)["rows"]
    seen = {tuple(row[: len(by)]): row[headings.index("Trials")] for row in cells}
    found = rows(view, dashboard, title)
    assert seen == {tuple(row[name] for name in by): f"{row['Trials']:.0f}" for row in found}
    for row in cells if "Estimated" in headings else ():
        (same,) = (other for other in found if [other[name] for name in by] == row[: len(by)])
        assert row[headings.index("Estimated")] == f"{100 * same['Estimated']:.0f}%"


def test_what_is_shown_of_a_table_s_column_is_its_sum(view: View, screens: dict[str, list[Json]]) -> None:
    joules, watts = (summed(view, SWEEP, f"$measured {name}") for name in ("Energy", "Power now"))
    assert joules is not None
    _, number, unit = the(screens, SWEEP, "$measured Energy")["texts"]
    assert (float(number), unit) == (pytest.approx(joules / 1000, abs=0.501), " kJ")
    assert watts == pytest.approx(89)  # of the one that still runs
    assert "89" in the(screens, SWEEP, "$measured Power now")["texts"]


@every_dashboard
def test_where_there_is_nothing_every_panel_says_why(view: View, tmp_path: Path, uid: str) -> None:
    before = replace(view, start=view.start - 9000, end=view.end - 9000)
    for each in look(tmp_path, before, ALL[uid], min(WIDTHS.values())):
        if each["panel"]["type"] != "row":
            assert each["panel"]["fieldConfig"]["defaults"]["noValue"] in each["texts"], each["panel"]["title"]
        assert each["cut"] == []


# The checks themselves -----------------------------------------------------------------------------------------------


def overrides_without(dashboard: Json, *names: str) -> None:
    for panel in panels(dashboard):
        for override in panel["fieldConfig"]["overrides"]:
            override["properties"] = [each for each in override["properties"] if each["id"] not in names]


def same_widths(dashboard: Json) -> None:
    overrides_without(dashboard, "custom.width", "custom.minWidth", "custom.wrapText", "custom.cellOptions")


def long_titles(dashboard: Json) -> None:
    for panel in panels(dashboard):
        panel["title"] += " (${measured_sweeps:text})"


def one_unit(dashboard: Json) -> None:
    for panel in panels(dashboard):
        panel["fieldConfig"]["defaults"]["unit"] = "joule"
    overrides_without(dashboard, "unit")


def words_in_cells(dashboard: Json) -> None:
    overrides_without(dashboard, "noValue")


def close_ticks(dashboard: Json) -> None:
    """Nearly the same values in a unit that is scaled, and an axis that does not begin at 0."""
    for panel in panels(dashboard):
        if panel["type"] == "timeseries":
            defaults = panel["fieldConfig"]["defaults"]
            defaults["unit"] = "joule"
            del defaults["custom"]["axisSoftMin"]
            for query in panel["targets"]:
                query["expr"] = "4081 + scalar(sum(energysweep_agent_open_leases)) * 0 + (time() - 1700000000) / 1e6"


@pytest.mark.parametrize(
    ("dashboard", "spoil", "finds"),
    [
        (CONFIGURATIONS, same_widths, cut),
        (SWEEP, long_titles, cut),
        (CONFIGURATIONS, one_unit, wrong_cells),
        (CONFIGURATIONS, words_in_cells, wrong_cells),
        (NODES, close_ticks, repeated_ticks),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_the_checks_find_what_is_wrong(
    view: View,
    tmp_path: Path,
    dashboard: Json,
    spoil: Callable[[Json], None],
    finds: Callable[[list[Json]], list[object]],
) -> None:
    spoilt = copy.deepcopy(dashboard)
    spoil(spoilt)
    assert finds(look(tmp_path, view, spoilt, min(WIDTHS.values())))
