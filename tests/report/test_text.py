from __future__ import annotations

from collections.abc import Callable

import pytest

from energysweep.core.text import (
    difference_text,
    duration_text,
    emissions_text,
    energy_text,
    number_text,
    percent_text,
    power_text,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1240.4, "1,240"), (31.04, "31.0"), (3.14159, "3.14"), (0.012345, "0.0123"), (0.0, "0"), (None, "n/a")],
)
def test_a_number_has_about_three_digits(value: float | None, text: str) -> None:
    assert number_text(value) == text


def test_many_joules_are_also_kwh() -> None:
    assert energy_text(999_000) == "999,000 J"
    assert energy_text(3_600_000) == "3,600,000 J (1.00 kWh)"


def test_an_estimate_is_marked() -> None:
    assert energy_text(310, estimated=True) == "≈ 310 J (est.)"
    assert energy_text(310, estimated=True, brief=True) == "≈ 310 J"
    assert power_text(95.2, estimated=True) == "≈ 95.2 W (est.)"


def test_a_difference_has_its_sign_and_the_mark_of_what_it_is_of() -> None:
    assert [difference_text(joules) for joules in (1.2, -310.0, 0.0)] == ["+1.20 J", "-310 J", "0 J"]
    assert difference_text(1.2, estimated=True) == "≈ +1.20 J (est.)"
    assert difference_text(-1.2, estimated=True, brief=True) == "≈ -1.20 J"


@pytest.mark.parametrize(("grams", "text"), [(0.0123, "12.3 mg"), (4.56, "4.56 g"), (1500, "1.50 kg"), (0.0, "0 g")])
def test_grams_get_a_readable_unit(grams: float, text: str) -> None:
    assert emissions_text(grams) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(8.44, "8.4 s"), (125, "2 min 5 s"), (59.99, "1 min 0 s"), (11520, "3 h 12 min")]
)
def test_a_duration_has_two_units(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(("ratio", "text"), [(0.998, "99.8 %"), (0.0, "0.0 %"), (0.0001, "< 0.1 %")])
def test_a_small_share_is_never_shown_as_none(ratio: float, text: str) -> None:
    assert percent_text(ratio) == text


@pytest.mark.parametrize("quantity", [energy_text, emissions_text, power_text, percent_text, duration_text])
def test_what_is_missing_is_said_to_be(quantity: Callable[[None], str]) -> None:
    assert quantity(None) == "n/a"
