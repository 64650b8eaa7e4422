"""What is known of the meters' accuracy, and that it is written down."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from energysweep.meters import kinds
from energysweep.meters.kinds import uncertainty

DOCUMENT = (Path(__file__).parents[2] / "docs" / "accuracy.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("source", "component"), kinds._KNOWN)
def test_every_figure_stands_in_the_document(source: str, component: str) -> None:
    known = uncertainty(source, component)
    assert known.relative is not None
    row = next(line for line in DOCUMENT.splitlines() if line.startswith(f"| `{source}`, {component} |"))
    assert f"{100 * known.relative:g} %" in row
    for author, year in re.findall(r"(\w+) (20\d\d)", known.reason):
        assert re.search(rf"^- .*{author}.*{year}", DOCUMENT, re.MULTILINE), f"{author} {year} is not in the references"


def test_a_trace_is_exact_for_every_component() -> None:
    assert [uncertainty("replay", component).relative for component in ("cpu", "dram", "gpu")] == [0, 0, 0]


def test_an_unknown_meter_has_no_figure() -> None:
    assert uncertainty("crystal-ball", "cpu").relative is None
    assert "Nothing is known" in uncertainty("crystal-ball", "cpu").reason
