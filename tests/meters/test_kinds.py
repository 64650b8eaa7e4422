"""The table of the kinds of meters: what it says is written down wherever people and machines look for it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from energysweep.accounting.floors import FloorMemory
from energysweep.core.errors import InputError
from energysweep.meters import KINDS, Device
from energysweep.meters.kinds import (
    AUTO,
    BY_NAME,
    MODELS,
    TRACES,
    Kind,
    find_kind,
    is_measured,
    is_model,
    trace_path,
    uncertainty,
    with_trace,
)

ROOT = Path(__file__).parents[2]
ACCURACY = (ROOT / "docs/accuracy.md").read_text(encoding="utf-8")
SOURCES = [kind for kind in KINDS if kind.is_source]


def example(kind: Kind) -> str:
    """How the kind stands in a sweep's file."""
    return f"{kind.name}:trace.csv" if kind.usage else kind.name


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_kind_stands_where_people_look_for_it(kind: Kind) -> None:
    keys = (ROOT / "docs/sweep-yaml.md").read_text(encoding="utf-8")
    assert f"`{kind.name}" in keys.partition("### meters")[2].partition("\n#")[0]
    if kind.is_source:
        assert re.search(rf"^\| `{kind.name}\b", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_agent_s_chart_takes_every_kind_and_no_other() -> None:
    schema = json.loads((ROOT / "helm/energysweep-agent/values.schema.json").read_text(encoding="utf-8"))
    pattern = schema["properties"]["meters"]["items"]["pattern"]
    assert re.fullmatch(r"\^\((.+)\)\$", pattern)
    named = [word.removesuffix(":.+") for word in pattern[2:-2].split("|")]
    assert named == [AUTO, *(kind.name for kind in KINDS)]
    assert all(re.search(pattern, example(kind)) for kind in KINDS)


@pytest.mark.parametrize("kind", SOURCES, ids=lambda kind: kind.name)
def test_every_figure_stands_in_the_document_with_its_reference(kind: Kind) -> None:
    assert set(kind.uncertainty) == set(kind.components)
    for component, known in kind.uncertainty.items():
        found = re.search(rf"^\| `{kind.name}`, (?:{component}|any) \|.*$", ACCURACY, re.MULTILINE)
        assert found is not None, f"docs/accuracy.md does not say how good {kind.name} is for {component}"
        assert {None: "not known", 0.0: "exact"}.get(known.relative, f"{100 * (known.relative or 0):g} %") in found[0]
        for author, year in re.findall(r"(\w+) (20\d\d)", known.reason):
            assert re.search(rf"^- .*{author}.*{year}", ACCURACY, re.MULTILINE), f"{author} {year} is no reference"


@pytest.mark.parametrize("kind", SOURCES, ids=lambda kind: kind.name)
def test_only_the_floor_of_what_was_measured_is_remembered(kind: Kind) -> None:
    memory, device = FloorMemory(None), Device("d", kind.components[0], kind.name)
    for _ in range(2):
        memory.observe(device, 50.0)
    assert memory.lowest_watts(device) == (50.0 if kind.basis == "measured" else None)
    assert is_measured(kind.name) == (kind.basis == "measured")
    assert is_model(kind.name) == (kind.name in MODELS)


def test_a_trace_is_exact_for_every_component() -> None:
    assert [uncertainty("replay", component).relative for component in ("cpu", "dram", "gpu")] == [0, 0, 0]


def test_of_an_unknown_meter_nothing_is_known() -> None:
    assert uncertainty("crystal-ball", "cpu").relative is None
    assert "Nothing is known" in uncertainty("crystal-ball", "cpu").reason
    assert not is_model("crystal-ball")
    assert not is_measured("crystal-ball")


def test_a_kind_is_found_by_how_it_is_written() -> None:
    assert [find_kind(example(kind)) for kind in KINDS if not kind.usage] == [(k, "") for k in KINDS if not k.usage]
    assert find_kind("replay:a:b.csv?after=loop") == (BY_NAME["replay"], "a:b.csv?after=loop")


@pytest.mark.parametrize("text", ["", "watts", "rapl:", "rapl:0", "Rapl", "auto", "estimate:x"])
def test_what_is_no_kind_is_told_which_there_are(text: str) -> None:
    with pytest.raises(InputError, match=r"must be one of auto, rapl, nvml, .*, estimate, .*replay:PATH"):
        find_kind(text)


def test_the_trace_of_a_meter_can_be_found_and_moved() -> None:
    assert TRACES == ("replay",)
    assert trace_path("replay:a/b.csv?after=loop") == "a/b.csv"
    assert with_trace("replay:a/b.csv?after=loop", "/c.csv") == "replay:/c.csv?after=loop"
    assert with_trace("replay:a/b.csv", "/c.csv") == "replay:/c.csv"
    assert [trace_path(text) for text in ("replay", "replay:", "replay:?after=loop", "rapl", "rapl:x")] == [None] * 5
