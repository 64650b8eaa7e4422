"""The report in a real Chromium."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from energysweep.ledger.store import LedgerData
from energysweep.report import combined_html, summarise, write_report
from tests.support import regimes
from tests.support.chromium import Page, browser
from tests.support.example import CRASHED, example

WINDOWS = {"laptop": (1366, 768), "phone": (390, 844)}
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"  # to the right, in pixels
BACKGROUND = "getComputedStyle(document.querySelector('.chart .main-svg')).backgroundColor"
SCROLLED = """(async () => {
  for (let y = 0; y < document.documentElement.scrollHeight; y += 300) {
    scrollTo(0, y); await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
  }
  scrollTo(0, 0); await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
})()"""


def hostile() -> LedgerData:
    """A run in which all that a person names is long, or an attack."""
    attack = "<script>alert(1)</script>"
    data = example(
        extra={"attack": attack, "word": "w" * 100_000, "quotes": "\"'`</script>\u202e\N{PILE OF POO}"},
        varying=["attack", "word", "quotes", "learning_rate", "batch_size"],
        name="n" * 100_000,
        owner="javascript:alert(1) " * 5_000,
        tags=[attack],
    )
    trials = [row._replace(error=f"{attack}\n" * 2_000 if row.trial == CRASHED else None) for row in data.trials]
    return replace(data, trials=trials)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report of each kind."""
    folder = tmp_path_factory.mktemp("reports")
    ledgers = {
        "usual": example(),
        "hostile": hostile(),
        "empty": LedgerData(run={"id": "empty"}),
        "large": regimes.random_search(500),
    }
    for name, data in ledgers.items():
        (folder / name).mkdir()
        write_report(folder / name, data)
    runs = [regimes.pretraining(), regimes.multitask(), regimes.hardware()]
    combined = folder / "study.html"
    combined.write_text(combined_html([summarise(data) for data in runs]), encoding="utf-8")
    return {name: folder / name / "report.html" for name in ledgers} | {"combined": combined}


@pytest.mark.parametrize(
    "kind",
    [*(pytest.param(kind, marks=pytest.mark.slow) for kind in ("usual", "large", "combined")), "hostile", "empty"],
)
def test_a_page_draws_itself_in_every_window_and_scheme(page: Page, reports: dict[str, Path], kind: str) -> None:
    page.problems.clear()
    page.requested.clear()
    page.open(reports[kind], width=1366, height=768)
    page.value(SCROLLED)
    charts = page.value("document.querySelectorAll('.chart').length")
    assert page.value("document.querySelectorAll('.chart .main-svg').length") >= charts
    for (width, height), dark in itertools.product(WINDOWS.values(), (False, True)):
        page.look(width=width, height=height, dark=dark)
        page.settle()
        assert page.value(OVERFLOW) <= 0
        if charts:
            assert page.value(BACKGROUND) == ("rgb(22, 27, 34)" if dark else "rgb(255, 255, 255)")
        if kind != "combined":  # the three lines are seen without scrolling
            lines = "[...document.querySelectorAll('.choice dd')].map(each => each.getBoundingClientRect().bottom)"
            boxes = page.value(lines)
            assert len(boxes) == 3
            assert max(boxes) <= height
    assert page.problems == []
    # The page asks the network for nothing: it has itself, and pictures that its own script makes.
    assert {urlsplit(url).scheme for url in page.requested} <= {"file", "data", "blob"}
    assert len([url for url in page.requested if url.startswith("file:")]) == 1


def test_a_value_that_looks_like_a_script_is_shown_as_text(page: Page, reports: dict[str, Path]) -> None:
    page.open(reports["hostile"])
    assert "<script>alert(1)</script>" in page.value("document.body.innerText")
    assert page.value("document.scripts.length") == page.value("document.querySelectorAll('body > script').length")


def test_charts_take_the_colours_of_a_scheme_that_changes_and_of_paper(page: Page, reports: dict[str, Path]) -> None:
    text = "getComputedStyle(document.querySelector('.chart .xtick text')).fill"
    page.open(reports["usual"], dark=True)
    assert (page.value(BACKGROUND), page.value(text)) == ("rgb(22, 27, 34)", "rgb(227, 233, 239)")
    page.value("dispatchEvent(new Event('beforeprint'))")
    assert (page.value(BACKGROUND), page.value(text)) == ("rgb(255, 255, 255)", "rgb(31, 41, 51)")
    undrawn = page.value(
        "[...document.querySelectorAll('.chart')].filter(each => !each.querySelector('.main-svg')).length"
    )
    assert undrawn == 0  # also those that nobody had scrolled to
    page.value("dispatchEvent(new Event('afterprint'))")
    assert page.value(BACKGROUND) == "rgb(22, 27, 34)"
    page.look(width=1366, height=768)
    page.settle()
    assert page.value(BACKGROUND) == "rgb(255, 255, 255)"


def test_a_printed_page_is_of_several_sheets_of_a4(page: Page, reports: dict[str, Path], tmp_path: Path) -> None:
    page.open(reports["usual"], dark=True)
    page.pdf(tmp_path / "report.pdf")
    printed = (tmp_path / "report.pdf").read_bytes()
    sheets = {tuple(map(float, box.split())) for box in re.findall(rb"/MediaBox \[0 0 ([\d.]+ [\d.]+)\]", printed)}
    assert {tuple(round(side) for side in sheet) for sheet in sheets} == {(595, 842)}
    assert printed.count(b"/MediaBox") > 2


@pytest.mark.slow
def test_on_paper_heads_can_repeat_charts_fit_a_sheet_and_their_titles_the_chart(
    page: Page, reports: dict[str, Path]
) -> None:
    boxes = "[...document.querySelectorAll('.chart')].map(each => each.getBoundingClientRect().height)"
    page.open(reports["large"])
    page.value(SCROLLED)
    before = page.value(boxes)
    assert max(before) > 1000  # 20 bars, each with a label of several lines
    page.ask("Emulation.setEmulatedMedia", media="print")
    page.value("dispatchEvent(new Event('beforeprint'))")
    assert max(page.value(boxes)) <= 881
    heads = "[...document.querySelectorAll('#configurations thead th')]"
    assert page.value(f"{heads}.every(each => getComputedStyle(each).position === 'static')")
    assert page.value(f"{heads}.every(each => getComputedStyle(each.firstChild).display === 'contents')")
    outside = page.value(
        "[...document.querySelectorAll('.chart .xtitle')].filter(each => { const box = each.getBoundingClientRect(),"
        " chart = each.closest('.chart').getBoundingClientRect();"
        " return box.left < chart.left - 1 || box.right > chart.right + 1 || box.bottom > chart.bottom + 1; })"
        ".map(each => each.textContent)"
    )
    assert outside == []
    page.ask("Emulation.setEmulatedMedia", media="")
    page.value("dispatchEvent(new Event('afterprint'))")
    page.settle()
    assert page.value(boxes) == before


def test_a_table_is_sorted_and_filtered_by_mouse_and_by_keyboard(page: Page, reports: dict[str, Path]) -> None:
    first = "document.querySelector('#configurations tbody tr:not([hidden])').cells[0].innerText"
    page.open(reports["usual"])
    page.click("#configurations th:nth-child(3) button")  # energy to the target, the cheapest first
    assert page.value(first).startswith("learning_rate=0.1 batch_size=256")
    page.press("Enter")
    assert page.value(first).startswith("learning_rate=0.001 batch_size=16")
    assert page.value("document.querySelector('#configurations th:nth-child(3)').ariaSort") == "descending"
    page.click("#filter-configurations")
    page.ask("Input.insertText", text="BATCH_size=64 0.01")
    assert page.value(first).startswith("learning_rate=0.01 batch_size=64")
    assert page.value("document.querySelector('.filter output').textContent") == "1 of 9"


def test_a_row_and_a_point_open_their_trial_by_mouse_and_by_keyboard(page: Page, reports: dict[str, Path]) -> None:
    shown, title = "document.querySelector('dialog').open", "document.querySelector('dialog h2').textContent"
    page.problems.clear()
    page.open(reports["usual"])
    page.click("#configurations tbody tr:nth-child(2) td:nth-child(4)")
    assert page.value(shown)
    assert page.value(title).startswith("learning_rate=0.001 batch_size=64 seed=0")
    assert page.value("document.querySelectorAll('dialog .main-svg').length") > 0  # its curve
    page.press("Escape")
    assert not page.value(shown)
    page.value("document.querySelector('details').open = true")
    page.value(
        f"[...document.querySelectorAll('#all-trials .open')].find(each => each.textContent === '{CRASHED}').focus()"
    )
    page.press("Enter")
    text = page.value("document.querySelector('dialog').innerText")
    for part in ("lost\n11.0 J", "of it dram\n30.2 J", "failed: killed", "batch_size\n64"):
        assert part in text
    page.click("dialog .others button")  # the other repeat
    assert page.value(title).startswith("learning_rate=0.01 batch_size=64 seed=0")
    page.click("dialog header button")
    assert not page.value(shown)
    page.click("#pareto .scatterlayer .trace:last-of-type .points path")
    assert page.value(shown)
    assert page.problems == []


def test_what_a_dialog_shows_of_a_hostile_trial_is_text(page: Page, reports: dict[str, Path]) -> None:
    page.problems.clear()
    page.open(reports["hostile"], width=390, height=844)
    page.click("#configurations .open")
    text = page.value("document.querySelector('dialog').innerText")
    assert "<script>alert(1)</script>" in text
    assert page.value("document.querySelectorAll('dialog script, dialog img').length") == 0
    assert page.value("document.querySelector('dialog').scrollWidth <= document.querySelector('dialog').clientWidth")
    assert page.value(OVERFLOW) <= 0
    assert page.problems == []
