"""Every hour has a figure that says what it is, whatever its source does; answers are kept."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.core.carbon import resolve
from energysweep.hourly.grid import GridByTheHour, cache_file
from energysweep.hourly.hours import HourIntensity, Kind
from tests.support.grid_api import Clock

YEARLY = resolve(grams_per_kwh=380)
NOON = 1_772_366_400


def known(hour: int, grams: float = 100.0, kind: Kind = "measured", fetched_at: float = NOON) -> HourIntensity:
    return HourIntensity("DE", hour, grams, kind, "a test", fetched_at)


class Plugin:
    """A source that gives what it is told, and counts how often it is asked."""

    def __init__(self, *gives: Any, error: Exception | None = None) -> None:
        self.gives, self.error, self.asked = list(gives), error, 0

    def hours(self, first: int, last: int) -> Iterable[HourIntensity]:
        self.asked += 1
        yield from self.gives
        if self.error is not None:
            raise self.error


def kinds(found: list[HourIntensity]) -> list[str]:
    return [each.kind for each in found]


def test_a_plug_in_is_a_class_with_one_method() -> None:
    found = GridByTheHour(Plugin(known(NOON)), YEARLY, clock=Clock(NOON)).between(NOON, NOON)
    assert found == [known(NOON)]


def test_without_a_source_all_hours_have_the_yearly_mean() -> None:
    grid = GridByTheHour(None, YEARLY, clock=Clock(NOON))
    assert kinds(grid.between(NOON, NOON + 7200)) == ["yearly"] * 3
    assert grid.notes == []


def test_a_gap_is_filled_by_the_yearly_mean_and_asked_for_again_an_hour_later() -> None:
    clock, source = Clock(NOON), Plugin(known(NOON), known(NOON + 7200, kind="forecast"))
    grid = GridByTheHour(source, YEARLY, clock=clock)
    for _ in range(3):
        assert kinds(grid.between(NOON, NOON + 7200)) == ["measured", "yearly", "forecast"]
    assert source.asked == 1
    clock.now += 3600
    source.gives = [known(NOON + 3600, fetched_at=clock.now), known(NOON + 7200, 120.0, fetched_at=clock.now)]
    found = grid.between(NOON, NOON + 7200)
    assert kinds(found) == ["measured"] * 3  # late data
    assert found[2].grams_per_kwh == 120.0
    clock.now += 360_000
    grid.between(NOON, NOON + 7200)
    assert source.asked == 2  # what was measured stays


@pytest.mark.parametrize(
    "error", [RuntimeError("it broke"), KeyError(), RecursionError(), UnicodeDecodeError("a", b"", 0, 1, "")]
)
def test_nothing_that_a_plug_in_raises_comes_out(error: Exception) -> None:
    clock, source = Clock(NOON), Plugin(known(NOON), error=error)
    grid = GridByTheHour(source, YEARLY, clock=clock)
    assert kinds(grid.between(NOON, NOON + 3600)) == ["measured", "yearly"]
    assert len(grid.notes) == 1
    grid.between(NOON, NOON + 3600)
    assert source.asked == 1
    clock.now += 60
    grid.between(NOON, NOON + 3600)
    assert source.asked == 2
    assert len(grid.notes) == 1


GARBAGE = [
    None,
    "noon",
    {"hour": NOON},
    known(NOON, float("nan")),
    known(NOON, -1.0),
    known(NOON, 1e300),
    known(NOON + 1),
    known(NOON + 7200),  # nobody asked for it
    HourIntensity("DE", NOON, 1.0, "guessed", "a test", 0.0),  # type: ignore[arg-type]
    HourIntensity(7, NOON, 1.0, "measured", "a test", 0.0),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_no_garbage_of_a_plug_in_is_counted(garbage: Any) -> None:
    grid = GridByTheHour(Plugin(garbage), YEARLY, clock=Clock(NOON))
    assert kinds(grid.between(NOON, NOON)) == ["yearly"]


@given(
    given_hours=st.lists(
        st.tuples(st.integers(0, 30), st.floats(0, 1e9), st.sampled_from(["measured", "forecast"])), max_size=20
    ),
    first=st.integers(0, 30),
    count=st.integers(0, 30),
    fails=st.booleans(),
)
def test_every_hour_asked_for_has_exactly_one_figure(
    given_hours: list[tuple[int, float, Kind]], first: int, count: int, *, fails: bool
) -> None:
    hours = [known(NOON + number * 3600, grams, kind) for number, grams, kind in given_hours]
    source = Plugin(*hours, error=OSError() if fails else None)
    begin, end = NOON + first * 3600, NOON + (first + count) * 3600
    found = GridByTheHour(source, YEARLY, clock=Clock(NOON)).between(begin, end)
    assert [each.hour for each in found] == list(range(begin, end + 1, 3600))
    measured = {each.hour for each in hours if each.kind == "measured"}
    assert {each.hour for each in found if each.kind == "measured"} == measured & set(range(begin, end + 1))
    assert all((each.kind == "yearly") == (each.hour not in {hour.hour for hour in hours}) for each in found)


def test_answers_are_kept_on_disk(tmp_path: Path) -> None:
    file = cache_file(tmp_path / "new", "Electricity Maps", "US-CAL/../CISO")
    assert file.parent == tmp_path / "new"
    clock = Clock(NOON)
    GridByTheHour(Plugin(known(NOON)), YEARLY, file, clock).between(NOON, NOON)
    other = Plugin()
    grid = GridByTheHour(other, YEARLY, file, clock)
    assert grid.between(NOON, NOON) == [known(NOON)]
    assert (other.asked, grid.notes) == (0, [])
    assert [each.name for each in file.parent.iterdir()] == [file.name]


def test_a_kept_forecast_is_better_than_none_while_the_source_fails(tmp_path: Path) -> None:
    file, clock = tmp_path / "hours.json", Clock(NOON)
    GridByTheHour(Plugin(known(NOON, kind="forecast")), YEARLY, file, clock).between(NOON, NOON)
    clock.now += 7200
    source = Plugin(error=OSError("down"))
    grid = GridByTheHour(source, YEARLY, file, clock)
    assert kinds(grid.between(NOON, NOON)) == ["forecast"]
    assert (source.asked, grid.notes) == (1, ["down"])


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"zone": "DE"}]', "[" * 10_000, json.dumps([{"hour": 1.5}])])
def test_a_cache_that_cannot_be_read_is_asked_for_again(tmp_path: Path, text: str) -> None:
    file = tmp_path / "hours.json"
    file.write_text(text)
    grid = GridByTheHour(Plugin(known(NOON)), YEARLY, file, Clock(NOON))
    assert kinds(grid.between(NOON, NOON)) == ["measured"]
    assert "cannot be read" in grid.notes[0]
    assert json.loads(file.read_text())[0]["hour"] == NOON


@pytest.mark.parametrize("name", ["file/hours.json", f"{'x' * 300}/hours.json"])
def test_a_cache_that_cannot_be_written_is_a_note(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("in the way")
    grid = GridByTheHour(Plugin(known(NOON)), YEARLY, tmp_path / name, Clock(NOON))
    assert kinds(grid.between(NOON, NOON)) == ["measured"]
    assert "cannot be written" in grid.notes[-1]
