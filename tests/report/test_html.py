from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace

import pytest

from energysweep.ledger.store import LedgerData
from energysweep.report import summarise
from energysweep.report.charts import figures
from energysweep.report.charts.grid import heatmaps
from energysweep.report.html import report_html
from tests.support.example import CARBON, example
from tests.support.found import group

ATTACK = "</script><script>alert(1)</script>"
SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def page_of(data: LedgerData) -> str:
    return report_html(summarise(data), data)


def without_scripts(page: str) -> str:
    return SCRIPT.sub("", page)


def attacked() -> LedgerData:
    """Everything that a user may name is the attack."""
    data = example(
        name=ATTACK,
        id=ATTACK,
        owner=ATTACK,
        varying=["learning_rate", ATTACK],
        meters=[ATTACK],
        spec={ATTACK: ATTACK, "tags": [ATTACK]},
        space={"digest": ATTACK, "source": ATTACK},
    )
    return replace(
        data,
        trials=[
            row._replace(parameters={**row.parameters, ATTACK: ATTACK}, error=ATTACK, hardware=ATTACK)
            for row in data.trials
        ],
        results=[row._replace(metrics={**row.metrics, ATTACK: ATTACK}) for row in data.results],
        meters=[row._replace(node=ATTACK, device=ATTACK) for row in data.meters],
    )


def test_what_the_user_named_is_shown_and_never_run() -> None:
    page = page_of(attacked())
    assert "<script>alert" not in page
    assert len(SCRIPT.findall(page)) == 2  # plotly.js and our own
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "· owner &lt;/script&gt;" in page


def test_the_page_has_the_text_of_the_function_that_made_the_configurations() -> None:
    source = "def space(trial):\n    return {'a': 1 < 2}\n"
    assert "return {&#39;a&#39;: 1 &lt; 2}" in page_of(example(space={"digest": "0", "source": source}))
    assert "def space" not in page_of(example(space={"digest": "0", "source": None}))


def test_the_charts_show_a_script_as_text() -> None:
    page = page_of(attacked())
    plots = json.loads(group(r'id="plots">(.*?)</script>', page))
    labels = plots["energy-bars"]["layout"]["yaxis"]["ticktext"]
    assert all("<script" not in label and "&lt;" in label for label in labels)


def test_the_policy_names_exactly_the_two_scripts() -> None:
    page = page_of(example())
    policy = group(r'Content-Security-Policy" content="(.*?)"', page)
    assert policy.replace("&#39;", "'").startswith("default-src 'none'; script-src 'sha256-")
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in SCRIPT.findall(page)]
    assert len(digests) == 2
    assert all(digest.replace("+", "&#43;") in policy or digest in policy for digest in digests)
    assert "unsafe-eval" not in policy


def test_the_page_refers_to_nothing_outside_itself() -> None:
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", without_scripts(page_of(example())))


def test_an_estimate_is_called_one_in_the_headline_the_numbers_the_tables_and_the_axes() -> None:
    data = example("estimate")
    page = without_scripts(page_of(data))
    assert "These are estimates" in page
    assert "Energy to target (est.)" in page
    assert "≈ 3,000 J" in page
    titles = [str(figure.plot.layout.xaxis.title.text) for figure in figures(summarise(data), data.samples)]
    assert "Energy of a trial (J, estimated)" in titles
    assert "Energy to target (J, estimated)" in titles


@pytest.mark.parametrize("limit", [100.0, 1e6])
def test_what_is_left_of_a_budget_or_over_is_an_estimate_where_what_is_charged_is(limit: float) -> None:
    spec = {"budget": {"energy_joules": limit}}
    [note] = re.findall(r"Budget: energy</dt>.*?<small>(.*?)</small>", page_of(example("estimate", spec=spec)))
    assert re.fullmatch(r"of [\d,]+ J( \([\d.]+ kWh\))?, ≈ [\d,]+ J (left|over)", note)
    [note] = re.findall(r"Budget: energy</dt>.*?<small>(.*?)</small>", page_of(example(spec=spec)))
    assert "≈" not in note


def test_a_counters_numbers_are_not_called_estimates() -> None:
    assert "≈" not in without_scripts(page_of(example(spec={"scheduler": {"type": "fifo"}}))).replace("marked ≈", "")


def test_all_charts_of_a_grid_are_drawn() -> None:
    data = example()
    assert [figure.key for figure in figures(summarise(data), data.samples, (), data.trials)] == [
        "pareto",
        "energy-bars",
        "parallel",
        "heatmap",
        "heatmap-iterations",
        "heatmap-joules",
        "effects",
        "importance",
        "interaction",
        "slice-0",
        "slice-1",
        "parameter-0",
        "parameter-1",
        "history",
        "buckets",
        "power",
    ]


def test_the_heatmap_holds_the_energy_to_the_target_of_each_cell() -> None:
    heatmap = heatmaps(summarise(example()))[0].plot.data[0]
    # rows: batch size 16, 64, 256; columns: learning rate 0.001, 0.01, 0.1; the other seed needs a tenth more
    means: list[list[float | None]] = [[160, 80, 40], [None, 50, 30], [None, 40, 20]]
    expected = [[value and value * 1.1**0.5 for value in row] for row in means]
    for row, wanted in zip(heatmap.z, expected, strict=True):
        assert [value is None for value in row] == [value is None for value in wanted]
        assert [value for value in row if value is not None] == pytest.approx([v for v in wanted if v is not None])


def test_many_joules_are_shown_in_kwh() -> None:
    data = example()
    data = replace(
        data,
        energy=[row._replace(joules=row.joules * 1e5) for row in data.energy],
        meters=[row._replace(joules=row.joules * 1e5) for row in data.meters],
    )
    page = without_scripts(page_of(data))
    assert "300,000,000 J (83.3 kWh)" in page
    titles = [str(figure.plot.layout.xaxis.title.text) for figure in figures(summarise(data), [])]
    assert "Energy of a trial (kWh)" in titles


def test_a_run_without_any_number_still_has_a_page() -> None:
    page = page_of(LedgerData(run={"id": "empty"}))
    assert "No trial has ended with a measured energy yet." in page
    assert "n/a" in page


def test_a_sweep_without_objective_and_with_one_parameter_has_a_page() -> None:
    data = example(objective=None, varying=["batch_size"], carbon=None)
    assert "A trial took between" in page_of(replace(data, samples=[]))


def test_the_same_ledger_gives_the_same_bytes() -> None:
    assert page_of(example()) == page_of(example())


def test_a_grid_is_shown_with_its_year_source_and_boundary_and_what_it_lacks() -> None:
    grid = CARBON | {"boundary": "direct", "note": "lower bound: <b>15 %</b>", "market_grams_per_kwh": 36.0}
    page = page_of(example(carbon=grid))
    assert "DEU, 2023, direct, 360 g/kWh" in page
    assert "CodeCarbon, 2023, direct, lower bound: &lt;b&gt;15 %&lt;/b&gt;" in page
    assert "what leaves the chimneys (direct)" in page
    assert "by contract, 36.0 g/kWh" in page
    assert "<b>15" not in page
    assert "market-based" not in page_of(example())
