"""The combined report of several runs: its page, its Markdown, its figures."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from energysweep.cli import main
from energysweep.core.runfolder import LEDGER
from energysweep.core.text import escape
from energysweep.ledger.copies import without_copies
from energysweep.ledger.store import Ledger, LedgerData
from energysweep.report import Summary, combined_html, combined_markdown, compare, summarise
from energysweep.report.charts import figures
from energysweep.report.charts.base import Figure
from tests.report.test_html import ATTACK, attacked, without_scripts
from tests.support import regimes
from tests.support.example import CARBON, example
from tests.support.found import group


def study(source: str = "rapl") -> list[Summary]:
    data = (example(source), regimes.pretraining(source), regimes.multitask(source), regimes.hardware(source))
    return [summarise(each) for each in data]


def named(data: LedgerData) -> dict[str, Figure]:
    return {figure.key: figure for figure in figures(summarise(data), [])}


def test_the_first_screen_holds_the_answers_before_anything_else() -> None:
    page = without_scripts(combined_html(study()))
    first = page[: page.index("<h2>The runs</h2>")]
    for question in (
        "Which setting",
        "Why",
        "Does pretraining pay",
        "Does multitask training pay",
        "On which hardware",
    ):
        assert question in first
    assert "What has all this cost?" in first
    assert "At equal accuracy the dearest setting takes up to" in first


def test_every_run_has_its_section_and_figures_of_its_own() -> None:
    page = combined_html(study())
    plots = json.loads(group(r'id="plots">(.*?)</script>', page))
    assert {"run-0-heatmap", "run-0-effects", "run-1-break-even-0", "run-2-multitask", "run-3-hardware"} <= set(plots)
    assert all(f'<div id="{key}" class="chart"' in page for key in plots)


def test_the_same_runs_give_the_same_bytes() -> None:
    assert combined_html(study()) == combined_html(study())
    assert combined_markdown(study()) == combined_markdown(study())


def test_what_the_user_named_is_shown_and_never_run() -> None:
    page = combined_html([summarise(attacked())])
    assert "<script>alert" not in page
    text = combined_markdown([summarise(attacked())])
    assert "\n<script" not in text
    assert not re.search(r"(?<!\\)<script", text)
    assert ATTACK.replace("<", "\\<").replace(">", "\\>") in text


def test_markdown_shows_special_letters_as_they_are() -> None:
    assert escape("a|b [x](y) <b> `c`\nd") == r"a\|b \[x\](y) \<b\> \`c\` d"
    # emphasis, strike-through and entities
    assert escape("_a_ *b* ~~c~~ &lt; R&D") == r"\_a\_ \*b\* \~\~c\~\~ \&lt; R\&D"


def test_an_estimate_is_called_one_on_the_page_and_in_the_tables() -> None:
    page = without_scripts(combined_html(study("estimate")))
    assert "These are estimates" in page
    assert "≈" not in without_scripts(combined_html(study()))
    text = combined_markdown(study("estimate"))
    joules = re.findall(r"(.{2})?\d[\d,.]* J\b", text)
    assert joules
    assert all(before == "≈ " for before in joules)
    assert "≈" not in combined_markdown(study())


def test_runs_of_other_workloads_have_no_configuration_in_common() -> None:
    other = summarise(example(id="two", spec={"workload": "other:train"}))
    comparison = compare([summarise(example(id="one")), other])
    assert (comparison.shared, comparison.rows) == ((), ())
    assert "Configurations that runs have in common" not in combined_html([summarise(example(id="one")), other])


def test_the_markdown_has_a_row_for_each_setting_with_its_bound_if_it_was_censored() -> None:
    text = combined_markdown([summarise(regimes.hardware())])
    (row,) = [line for line in text.splitlines() if "lr=10.0 on one" in line]
    # three censored trials that spent 20, 22 and 18 J: the geometric mean is 19.93
    assert row == "| hardware | lr=10.0 on one | 0 of 3 | at least 19.9 J | n/a | n/a |"


def test_the_break_even_figure_crosses_where_the_energies_are_equal() -> None:
    plot = named(regimes.pretraining())["break-even-0"].plot
    crossings = {round(trace.x[0], 3): trace.y[0] for trace in plot.data if trace.mode == "markers"}
    assert crossings == {10.0: pytest.approx(200), 12.5: pytest.approx(250)}
    scratch = next(trace for trace in plot.data if trace.name == "from scratch")
    assert scratch.y[1] / scratch.x[1] == pytest.approx(20)


def test_the_multitask_figure_stacks_the_separate_models() -> None:
    plot = named(regimes.multitask())["multitask"].plot
    bars = {trace.name: [x for x in trace.x if x is not None] for trace in plot.data}
    root = (1.0 * 1.1 * 0.9) ** (1 / 3)  # geometric means over the seeds
    assert bars == {
        "digit": [pytest.approx(30 * root)],
        "parity": [pytest.approx(10 * root)],
        "all in one": [pytest.approx(24 * root)],
    }


def test_the_hardware_figure_has_a_ratio_for_each_common_setting() -> None:
    plot = named(regimes.hardware())["hardware"].plot
    assert list(plot.data[0].x) == pytest.approx([2, 2, 2])
    assert list(plot.layout.yaxis.ticktext) == ["lr=0.01", "lr=0.1", "all together"]


def test_panels_stand_only_where_the_sweep_has_them() -> None:
    assert not {"break-even-0", "multitask", "hardware"} & set(named(example()))
    assert not {"effects", "interaction"} & set(named(regimes.multitask()))


def test_the_two_heatmaps_of_factors_multiply_to_the_energy_and_mark_who_did_not_arrive() -> None:
    found = named(example())
    keys = ("heatmap", "heatmap-iterations", "heatmap-joules")
    energy, iterations, joules = (found[key].plot.data[0].z for key in keys)
    assert iterations[2][2] == pytest.approx(4)  # batch size 256, learning rate 0.1
    assert joules[2][2] == pytest.approx(5 * 1.1**0.5)  # 5 J, and a tenth more
    for whole, count, each in zip(energy, iterations, joules, strict=True):
        assert [w and pytest.approx(w) for w in whole] == [c and c * j for c, j in zip(count, each, strict=True)]
    # those that never arrived have no factor, but what a whole trial took: 10 iterations of 10 J and of 11 J
    assert joules[1][0] == pytest.approx(110**0.5)
    assert "no factor" in found["heatmap-joules"].caption
    texts = [note.text for note in found["heatmap-joules"].plot.layout.annotations]
    assert sum("whole trial<br>not<br>reached" in text for text in texts) == sum("whole" in text for text in texts) == 2
    assert all(" J" in text for text in texts)


def test_an_iteration_after_the_target_is_not_part_of_the_factor() -> None:
    data = example()
    # the whole trials cost ten times as much, all of it after they have arrived
    energy = [row._replace(joules=10 * row.joules) if row.lease.startswith("t-0.1-256") else row for row in data.energy]
    joules = named(replace(data, energy=energy))["heatmap-joules"].plot.data[0].z
    assert joules[2][2] == pytest.approx(5 * 1.1**0.5)


def test_a_cell_of_several_settings_shows_the_cheapest_that_always_arrived_in_all_three_heatmaps() -> None:
    runs = []
    for x, y in ((1, 1), (1, 2), (2, 1), (2, 2)):
        # by a third parameter: 10 J (5 of 2 J), 8 J (1 of 8 J), and 1 J of which the second never arrives
        for z, joules, arrives in (("a", 2.0, (5, 5)), ("b", 8.0, (1, 1)), ("c", 1.0, (1, None))):
            runs += [regimes.Run({"x": x, "y": y, "z": z}, seed, joules, at, 5) for seed, at in enumerate(arrives)]
    found = named(regimes.ledger("three", runs, ["x", "y", "z"]))
    keys = ("heatmap", "heatmap-iterations", "heatmap-joules")
    cells = [[round(each, 6) for row in found[key].plot.data[0].z for each in row] for key in keys]
    assert cells == [[8] * 4, [1] * 4, [8] * 4]
    assert "the cheapest is shown" in found["heatmap"].caption


def test_the_effects_figure_has_a_bar_for_each_parameter_and_quantity() -> None:
    plot = named(example())["effects"].plot
    assert [trace.name for trace in plot.data] == ["energy to target", "iterations", "energy of an iteration"]
    assert list(plot.data[0].y) == ["learning_rate", "batch_size"]


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """Run folders with ledgers."""
    made = []
    for name in ("pretraining", "multitask"):
        data: LedgerData = getattr(regimes, name)()
        folder = tmp_path / name
        folder.mkdir()
        with Ledger.create(folder / LEDGER) as ledger:
            ledger.note(**data.run)
            ledger.merge(data.energy, data.meters, data.leases, data.samples)
            ledger.record(data.trials, data.attempts, data.results)
        made.append(str(folder))
    return made


def test_compare_writes_the_page_and_the_tables(
    folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, tables = tmp_path / "report.html", tmp_path / "report.md"
    assert main(["compare", *folders, "--html", str(page), "--markdown", str(tables)]) == 0
    assert "after 10.0 reuses" in page.read_text()
    assert "| pretraining | encoder frozen |" in tables.read_text()
    assert "one model for digit + parity" in capsys.readouterr().out
    first = page.read_bytes()
    assert main(["compare", *folders, "--html", str(page)]) == 0
    assert page.read_bytes() == first


def test_a_copy_of_a_run_is_counted_once_and_named(
    folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy, tables = tmp_path / "backup", tmp_path / "report.md"
    shutil.copytree(folders[0], copy)
    with Ledger.create(copy / LEDGER) as ledger:  # a backup of an earlier moment
        ledger.note(status="running")
    assert main(["compare", folders[1], folders[0], str(copy), "--markdown", str(tables)]) == 0
    said = capsys.readouterr().out
    assert "in 2 runs:" in said
    note = f"{copy} and {folders[0]} hold the same run, pretraining-20231114T221320Z: it is counted once,"
    assert note in " ".join(said.split())
    assert "hold the same run" in tables.read_text()


def test_runs_of_one_id_that_share_no_window_are_two_runs() -> None:
    one = example(id="same")
    moved = replace(
        one,
        meters=[row._replace(window="other") for row in one.meters],
        leases=[row._replace(window="other") for row in one.leases],
    )
    assert len(without_copies([("a", one), ("b", moved)]).kept) == 2
    assert without_copies([("a", one), ("b", example(id="another"))]).notes == ()
    more = replace(one, meters=[row._replace(joules=2 * row.joules) for row in one.meters])
    found = without_copies([("early", one), ("late", more)])
    assert found.kept == (more,)
    assert found.notes == ("early and late hold the same run, same: it is counted once, as in late.",)


def test_a_backup_of_a_time_before_the_first_window_is_of_the_same_run() -> None:
    one = example(id="same")
    nothing: dict[str, Any] = {
        "meters": (),
        "leases": (),
        "energy": (),
        "trials": (),
        "attempts": (),
        "results": (),
        "samples": (),
    }
    early = replace(one, **nothing)
    for given in ([("early", early), ("late", one)], [("late", one), ("early", early)]):
        found = without_copies(given)
        assert found.kept == (one,)
        assert found.notes == ("early and late hold the same run, same: it is counted once, as in late.",)
    assert len(without_copies([("early", early), ("earlier", early)]).kept) == 1
    another = replace(one, run=one.run | {"started_at": one.run["started_at"] + 1})
    assert len(without_copies([("early", early), ("another", another)]).kept) == 2


def test_a_single_run_is_told_what_is_there_and_nothing_in_common(
    folders: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", folders[0]]) == 0
    said = capsys.readouterr().out
    assert "in common" not in said
    assert "after 10.0 reuses" in said


def test_compare_and_explain_count_for_another_grid(folders: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    def grams(*arguments: str) -> float:
        assert main([*arguments]) == 0
        (found,) = re.findall(
            r"Trials, their start-up and overhead: (?:≈ )?([0-9,.]+) (m?g|kg) of CO2e", capsys.readouterr().out
        )
        return float(found[0].replace(",", "")) * {"mg": 1e-3, "g": 1.0, "kg": 1e3}[found[1]]

    one = grams("compare", folders[0], "--carbon", "grams_per_kwh=100")
    assert grams("compare", folders[0], "--carbon", "grams_per_kwh=200") == pytest.approx(2 * one, rel=0.01)
    assert main(["compare", folders[0], "--carbon", "country=XXX"]) == 2


def test_compare_counts_no_run_twice(folders: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *folders, f"{folders[0]}/../{Path(folders[0]).name}"]) == 2
    assert "is given twice: its energy would count twice" in capsys.readouterr().err


def test_grams_of_figures_with_different_boundaries_do_not_compare() -> None:
    def warned(*boundaries: str | None) -> list[str]:
        grids = [CARBON | {"boundary": boundary} for boundary in boundaries]
        runs = [summarise(example(id=f"run-{number}", carbon=grid)) for number, grid in enumerate(grids)]
        return [warning for warning in compare(runs).warnings if "boundaries" in warning]

    said = "The grids' figures have different boundaries (direct, lifecycle): do not compare grams."
    assert warned("lifecycle", "direct") == [said]
    assert warned("direct", "direct") == []
    assert warned("direct", None) == []  # a run of an older energysweep, which noted none
