"""The dashboards as JSON: what holds for every panel, variable and annotation."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import get_args

import pytest

from energysweep import __version__
from energysweep.cli import main
from energysweep.core.metrics import FAMILIES
from energysweep.core.records import TrialStatus
from energysweep.monitoring import TAG, VERSION_TAG, Json, dashboards, export
from energysweep.monitoring.panels import OWNERS, STATES
from energysweep.monitoring.sweep import sweep_dashboard
from tests.monitoring.test_rules import RECORDS
from tests.support.grafana import panels

EXPORTED = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboards"

ALL = [(dashboard, panel) for dashboard in dashboards() for panel in panels(dashboard)]
IDS = [f"{dashboard['uid']}-{panel['title']}" for dashboard, panel in ALL]
every_dashboard = pytest.mark.parametrize("dashboard", dashboards(), ids=lambda dashboard: str(dashboard["uid"]))
every_panel = pytest.mark.parametrize(("dashboard", "panel"), ALL, ids=IDS)


def strings(content: object) -> Iterator[tuple[str, str]]:
    """Every text in JSON, with its key."""
    if isinstance(content, dict):
        for key, value in content.items():
            if isinstance(value, str):
                yield key, value
            yield from strings(value)
    elif isinstance(content, list):
        for value in content:
            yield from strings(value)


def queries(dashboard: Json) -> list[str]:
    return [value for key, value in strings(dashboard) if key in {"expr", "query", "definition"}]


def test_there_are_four_dashboards_with_uids_that_never_change() -> None:
    uids = [dashboard["uid"] for dashboard in dashboards()]
    assert uids == [
        "energysweep-sweep",
        "energysweep-configurations",
        "energysweep-nodes",
        "energysweep-account",
    ]


@every_dashboard
def test_its_tags_say_whose_it_is_and_of_which_version(dashboard: Json) -> None:
    assert dashboard["tags"] == [TAG, VERSION_TAG] == ["energysweep", f"energysweep-version:{__version__}"]


def test_the_files_for_provisioning_are_what_is_built() -> None:
    built = {f"{dashboard['uid']}.json": dashboard for dashboard in dashboards()}
    stored = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in EXPORTED.iterdir()}
    assert stored == built, "run `make docs`"


def test_exporting_twice_changes_nothing(tmp_path: Path) -> None:
    first = {path: path.read_bytes() for path in export(tmp_path / "new" / "folder")}
    assert {path: path.read_bytes() for path in export(tmp_path / "new" / "folder")} == first
    assert len(first) == 4


def test_the_command_names_the_files_that_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboards", "export", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        str(tmp_path / f"energysweep-{name}.json") for name in ("sweep", "configurations", "nodes", "account")
    ]


def test_a_folder_that_cannot_be_written_is_the_user_s_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["dashboards", "export", str(tmp_path / "file")]) == 2
    assert f"{tmp_path / 'file'}: dashboards cannot be written there" in capsys.readouterr().err


@every_dashboard
def test_no_panel_lies_on_another_or_beyond_the_grid(dashboard: Json) -> None:
    taken = [panel["gridPos"] for panel in dashboard["panels"]]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= 24 and place["w"] > 0 < place["h"] for place in taken)
    overlapping = [
        (a, b)
        for a, b in combinations(taken, 2)
        if a["x"] < b["x"] + b["w"]
        and b["x"] < a["x"] + a["w"]
        and a["y"] < b["y"] + b["h"]
        and b["y"] < a["y"] + a["h"]
    ]
    assert overlapping == []


@every_dashboard
def test_every_panel_has_a_number_of_its_own(dashboard: Json) -> None:
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers)


@every_panel
def test_a_panel_says_what_it_is_in_which_unit_and_what_it_means_if_it_is_empty(dashboard: Json, panel: Json) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert defaults["noValue"] not in {"", "-", "0"}
    # Where several fields hold several things, no field may take what was meant for another.
    assert bool(defaults.get("unit")) == (panel["type"] not in ("table", "xychart"))


def columns(panel: Json) -> dict[str, Json]:
    """The columns of a table that are shown: their properties by their names."""
    return {
        override["matcher"]["options"]: {each["id"]: each["value"] for each in override["properties"]}
        for override in panel["fieldConfig"]["overrides"]
        if override["matcher"]["id"] == "byName"
    }


def is_shared(panel: Json) -> bool:
    return "panelId" in panel["targets"][0]


def origin(dashboard: Json, panel: Json) -> Json:
    """The panel whose queries a panel shows."""
    if not is_shared(panel):
        return panel
    return next(each for each in dashboard["panels"] if each["id"] == panel["targets"][0]["panelId"])


@every_panel
def test_what_takes_another_panel_s_rows_names_columns_that_are_there(dashboard: Json, panel: Json) -> None:
    if is_shared(panel):
        source = origin(dashboard, panel)
        assert source["type"] == "table"
        assert not is_shared(source)
        used = {name for each in panel["transformations"] for name in each["options"].get("fields", {})}
        if panel["type"] == "xychart":
            used = {panel["options"]["series"][0][axis]["matcher"]["options"] for axis in "xy"}
        if panel["type"] == "stat":
            used = {panel["options"]["reduceOptions"]["fields"].strip("/^$")}
        assert used
        assert used <= columns(source).keys()


TABLES = [(dashboard, panel) for dashboard, panel in ALL if panel["type"] == "table"]
every_table = pytest.mark.parametrize(
    ("dashboard", "panel"), TABLES, ids=[f"{dashboard['uid']}-{panel['title']}" for dashboard, panel in TABLES]
)


@every_table
def test_every_column_says_what_it_holds(dashboard: Json, panel: Json) -> None:
    organize = panel["transformations"][-1]["options"]
    shown = {name for field, name in organize["renameByName"].items() if field not in organize["excludeByName"]}
    assert columns(panel).keys() == shown
    if not is_shared(panel):
        queried = {organize["renameByName"][f"Value #{target['refId']}"] for target in panel["targets"]} & shown
        assert {name for name, of in columns(panel).items() if of["unit"] != "string"} == queried
    assert all(of.get("custom.width") or of.get("custom.minWidth") for of in columns(panel).values())


@every_table
def test_what_a_whole_panel_says_when_it_is_empty_is_said_by_no_cell(dashboard: Json, panel: Json) -> None:
    first = panel["fieldConfig"]["overrides"][0]
    assert first == {
        "matcher": {"id": "byRegexp", "options": "/.*/"},
        "properties": [{"id": "noValue", "value": ""}],
    }


@every_table
def test_a_table_is_not_wider_than_its_panel(dashboard: Json, panel: Json) -> None:
    """Of a window of 1600 pixels, of which Grafana's menu takes 300; narrower ones have no menu beside them."""
    column = (1260 - 23 * 8) / 24
    wide = panel["gridPos"]["w"]
    inner = wide * column + (wide - 1) * 8 - 2 - 10  # borders, scroll bar
    fixed = [of["custom.width"] for of in columns(panel).values() if "custom.width" in of]
    least = [of["custom.minWidth"] for of in columns(panel).values() if "custom.width" not in of]
    # Grafana divides what is left evenly, and then makes wider what would be too narrow.
    each = (inner - sum(fixed)) / len(least) if least else 0
    assert sum(fixed) + sum(max(each, pixels) for pixels in least) <= inner + 0.01


@every_table
def test_bars_in_cells_are_scaled_by_their_own_column_alone(dashboard: Json, panel: Json) -> None:
    for of in columns(panel).values():
        if of.get("custom.cellOptions", {}).get("type") == "gauge":
            assert (of["min"], of["fieldMinMax"]) == (0, True)


@pytest.mark.parametrize(("title", "names"), [("Trials by state", STATES), ("Power by owner, and the meters", OWNERS)])
def test_what_is_known_has_the_same_name_and_colour_whatever_else_there_is(
    title: str, names: dict[str, tuple[str, str]]
) -> None:
    (panel,) = (panel for _, panel in ALL if panel["title"].endswith(title))
    assert {series: (of["displayName"], of["color"]["fixedColor"]) for series, of in columns(panel).items()} == names
    assert len({color for _, color in names.values()}) == len(names)


def test_every_state_and_every_bucket_of_a_node_is_known() -> None:
    assert STATES.keys() == {*get_args(TrialStatus), "paused"}
    (family,) = (each for each in FAMILIES if each.name == "energysweep_node_bucket_energy_joules_total")
    told = re.findall(r"\w+", family.help.partition("bucket: ")[2])
    assert OWNERS.keys() == set(told) - {"or"}


@every_panel
def test_where_energy_may_be_an_estimate_the_panel_says_so(dashboard: Json, panel: Json) -> None:
    quantities = ("energy_joules", "power_watts", "emissions_grams", "energy_to_target_joules")
    targets = origin(dashboard, panel)["targets"]
    if any(quantity in target["expr"] for target in targets for quantity in quantities):
        names_source = any(
            "source" in target["expr"].split("(energysweep_")[0] for target in panel["targets"] if "expr" in target
        )
        # At the beginning, because Grafana cuts titles at their ends.
        assert panel["title"].startswith(("$measured", "≈")) or names_source
        assert "estimate" in panel["description"].lower()


def test_a_refresh_asks_as_often_as_the_document_says() -> None:
    document = (EXPORTED.parents[2] / "docs" / "monitoring.md").read_text(encoding="utf-8")
    (told,) = re.findall(
        r"\*Sweep\* asks Prometheus (\d+) times, \*Configurations\* (\d+), \*Nodes\* (\d+), \*Account\* (\d+)", document
    )
    asked = {dashboard["uid"]: 0 for dashboard in dashboards()}
    for dashboard, panel in ALL:
        asked[dashboard["uid"]] += sum("expr" in target for target in panel["targets"])
    assert tuple(map(str, asked.values())) == told


@every_dashboard
def test_no_data_source_is_hard_coded(dashboard: Json) -> None:
    uids = {value for key, value in strings(dashboard) if key == "uid"}
    assert uids - {"-- Dashboard --"} == {dashboard["uid"], "${datasource}"}
    (first, *_) = dashboard["templating"]["list"]
    assert (first["type"], first["name"], first["query"]) == ("datasource", "datasource", "prometheus")


@every_dashboard
def test_it_can_be_narrowed_to_sweeps_hardware_and_nodes(dashboard: Json) -> None:
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    assert {"datasource", "sweep", "hardware", "node"} <= variables


@every_dashboard
def test_every_variable_is_used_and_every_one_that_is_used_is_there_before(dashboard: Json) -> None:
    ours = {"__range", "__rate_interval", "__interval"}
    known: set[str] = set()
    for variable in dashboard["templating"]["list"]:
        used = set(re.findall(r"\$\{?([a-z_]\w*)", str(variable.get("definition", ""))))
        assert used <= known | ours, variable["name"]
        known.add(variable["name"])
    text = json.dumps([dashboard["panels"], dashboard["annotations"]])
    of_links = {"__value", "__url_time_range"}
    assert set(re.findall(r"\$\{?([a-z_]\w*)", text)) - ours - of_links == known


@every_dashboard
def test_every_metric_that_is_asked_for_is_in_the_table(dashboard: Json) -> None:
    """Or recorded by a rule, of minutes and of hours alike."""
    recorded = r"\w+:energysweep_\w+:increase(?=\$\{resolution\})"
    families = {family.name for family in FAMILIES}
    asked = {
        name for query in queries(dashboard) for name in re.findall(r"\benergysweep_\w+", re.sub(recorded, "", query))
    }
    assert asked <= families
    rules = {name for query in queries(dashboard) for name in re.findall(recorded, query)}
    assert bool(rules) == (dashboard["uid"] == "energysweep-account")
    assert {f"{name}{each}" for name in rules for each in ("1m", "1h")} <= {rule["record"] for rule in RECORDS}


@every_dashboard
def test_series_of_trials_are_made_one_before_they_are_summed(dashboard: Json) -> None:
    """An agent at two addresses has each series twice, and a joule must not count twice."""
    for query in queries(dashboard):
        for found in re.finditer(r"(\w+ by \([^)]*\)) \(\w*\(?energysweep_trial_(energy|emissions|power)\w+\{", query):
            assert found.group(1).startswith("max by (sweep, trial, node"), query


@every_dashboard
def test_the_beginning_and_the_end_of_a_sweep_are_marked(dashboard: Json) -> None:
    marks = dashboard["annotations"]["list"][:2]
    assert [re.findall(r"_sweep_([a-z]+)_timestamp", mark["expr"]) for mark in marks] == [["start"], ["end"]]
    assert all(mark["useValueForTime"] and mark["expr"].startswith("1000 * ") for mark in marks)


def test_the_dashboard_of_a_sweep_marks_what_was_decided_of_trials_and_the_first_of_each_kind() -> None:
    [mark] = sweep_dashboard()["annotations"]["list"][2:]
    counts = 'max by (sweep, what, why) (energysweep_sweep_decisions_total{sweep=~"$sweep", what!~'
    assert mark["expr"].startswith(f"({counts}")
    assert mark["expr"].count("offset 1m") == 2
    assert " unless " in mark["expr"]
    assert mark["titleFormat"] == "{{what}} ({{why}})"


@every_panel
def test_an_xy_chart_is_not_put_through_the_changes_for_old_ones(dashboard: Json, panel: Json) -> None:
    if panel["type"] == "xychart":
        assert float(panel["pluginVersion"].rpartition(".")[0]) >= 11.1
