from __future__ import annotations

import re
from dataclasses import replace

import pytest
from rich.console import Console, RenderableType

from energysweep.ledger.store import LedgerData
from energysweep.report import (
    combined_html,
    combined_markdown,
    combined_table,
    compare,
    comparison_table,
    summarise,
    terminal_table,
)
from energysweep.report.compare import cell_text, told_apart
from tests.support import regimes
from tests.support.example import example


def halved(data: LedgerData) -> LedgerData:
    """The same sweep on hardware that needs half the energy."""
    return replace(
        data,
        energy=[row._replace(joules=row.joules / 2) for row in data.energy],
        meters=[row._replace(joules=row.joules / 2) for row in data.meters],
        results=[row._replace(energy_joules=(row.energy_joules or 0) / 2) for row in data.results],
    )


def printed(renderable: RenderableType) -> str:
    console = Console(width=160, file=None, record=True, quiet=False, force_terminal=False)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_configurations_are_matched_and_set_against_the_first_run() -> None:
    comparison = compare([summarise(example(id="one")), summarise(halved(example(id="two")))])
    assert comparison.at_target
    assert comparison.warnings == ()
    row = next(row for row in comparison.rows if row.config == "learning_rate=0.1 batch_size=256")
    assert [cell.energy_ratio for cell in row.cells if cell] == [pytest.approx(1), pytest.approx(0.5)]
    assert [cell_text(cell, comparison) for cell in row.cells] == [
        "21.0 J (\N{MULTIPLICATION SIGN}1.00)",
        "10.5 J (\N{MULTIPLICATION SIGN}0.50)",
    ]


def test_an_estimate_against_a_counter_is_flagged() -> None:
    comparison = compare([summarise(example("rapl", id="one")), summarise(example("estimate", id="two"))])
    assert any("not a fair comparison" in warning for warning in comparison.warnings)
    assert any("one: rapl; two: estimate" in warning for warning in comparison.warnings)


def test_a_constant_that_tells_the_runs_apart_does_not_prevent_the_match() -> None:
    scratch = summarise(example(id="one", extra={"pretrained": False}))
    pretrained = summarise(example(id="two", extra={"pretrained": True}))
    comparison = compare([scratch, pretrained])
    assert len(comparison.rows) == 9
    assert [column.differs for column in comparison.columns] == [{"pretrained": False}, {"pretrained": True}]


def test_hardware_profiles_of_one_run_are_columns() -> None:
    data = example(id="one")
    trials = [row._replace(hardware="gpu" if row.seed else "cpu") for row in data.trials]
    comparison = compare([summarise(replace(data, trials=trials))])
    assert [column.title for column in comparison.columns] == ["one on cpu", "one on gpu"]
    assert all(len(row.cells) == 2 and all(row.cells) for row in comparison.rows)


def test_different_targets_compare_whole_trials_and_say_so() -> None:
    other = example(id="two", objective={"metric": "accuracy", "mode": "max", "target": 0.9, "patience": 1})
    comparison = compare([summarise(example(id="one")), summarise(other)])
    assert not comparison.at_target
    assert any("different objectives" in warning for warning in comparison.warnings)


def test_a_run_that_lacks_a_configuration_shows_so() -> None:
    data = example(id="two")
    fewer = replace(data, trials=[row for row in data.trials if row.parameters["batch_size"] != 16])
    comparison = compare([summarise(example(id="one")), summarise(fewer), summarise(example(id="three"))])
    row = next(row for row in comparison.rows if row.config == "learning_rate=0.1 batch_size=16")
    assert row.cells[1] is None
    assert "n/a" in printed(comparison_table(comparison))


def test_only_what_at_least_two_runs_have_is_called_common() -> None:
    data = example(id="two")
    fewer = replace(data, trials=[row for row in data.trials if row.parameters["batch_size"] != 16])
    comparison = compare([summarise(example(id="one")), summarise(fewer)])
    assert len(comparison.rows) == 6
    assert not any("batch_size=16" in row.config for row in comparison.rows)


def test_a_mean_of_the_lucky_ones_gets_no_ratio_on_either_side() -> None:
    data = example(id="two")
    unlucky = replace(data, results=[row for row in data.results if row.trial != "t-0.1-256-1"])
    for runs in ([example(id="one"), unlucky], [unlucky, example(id="one")]):
        comparison = compare([summarise(each) for each in runs])
        row = next(row for row in comparison.rows if row.config == "learning_rate=0.1 batch_size=256")
        ratios = {cell_text(cell, comparison): cell.energy_ratio for cell in row.cells if cell}
        # nothing is set against a lucky mean; the run that always arrived is its own first, or has none
        times = "" if runs[0] is unlucky else " (\N{MULTIPLICATION SIGN}1.00)"
        assert ratios == {"20.0 J, 1 of 2": None, f"21.0 J{times}": 1 if times else None}


def test_two_runs_of_one_sweep_are_told_apart_by_their_ids() -> None:
    summaries = [summarise(example(id="mnist-a")), summarise(example(id="mnist-b")), summarise(regimes.hardware())]
    page = combined_html(summaries)
    assert re.findall("<h2>(.*)</h2>", page)[1:4] == ["mnist-a", "mnist-b", "hardware"]
    assert '<span class="tag">mnist-b</span>' in page
    rows = [line for line in combined_markdown(summaries).splitlines() if " | 2 of 2 | " in line]
    assert [sum(line.startswith(f"| {run} |") for line in rows) for run in ("mnist-a", "mnist-b")] == [7, 7]
    assert "mnist-b: \N{MULTIPLICATION SIGN}8.00" in printed(combined_table(summaries))


def test_a_folder_that_is_named_twice_is_numbered() -> None:
    twice = told_apart([summarise(example(id="mnist-a"))] * 2)
    assert [(each.name, each.sweep) for each in twice] == [
        ("mnist-a (1)", "mnist-a (1)"),
        ("mnist-a (2)", "mnist-a (2)"),
    ]


def test_the_comparisons_page_escapes_names() -> None:
    page = combined_html([summarise(example(id="<script>alert(1)</script>"))])
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_the_terminal_shows_the_cheapest_first_and_who_did_not_arrive() -> None:
    lines = [line for line in printed(terminal_table(summarise(example("estimate")))).splitlines() if "of 2" in line]
    assert "≈ 21.0 J" in lines[0]
    assert "batch_size=256" in lines[0]
    assert all("not reached" in line and "0 of 2" in line for line in lines[-2:])


def test_the_terminal_shows_brackets_as_they_are() -> None:
    data = example(extra={"style": "[red]x[/red]"}, varying=["style"])
    assert 'style="[red]x[/red]"' in printed(terminal_table(summarise(data)))
