"""The Software Carbon Intensity, on numbers that can be worked out by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.core.jsontext import json_text
from energysweep.export.sci import score
from energysweep.ledger.store import LedgerData
from tests.export.conftest import Export, exported
from tests.support.example import CARBON, CRASHED, PRUNED, example

KILOWATT_HOUR = 3_600_000
CHARGED = 2183 + 100  # trials and overhead, at 0.0001 g/J
FORMAT = ("--format", "sci")


def scored(data: LedgerData, embodied_grams: float | None = None) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json_text(score(exported(data), embodied_grams)))
    return found


def grams(found: dict[str, Any]) -> dict[str, float]:
    return {each["R"]: each["grams"] for each in found["sci"]}


def test_without_m_it_is_the_operational_part_and_says_so() -> None:
    # 18 trainings of 9 configurations; those of 7 of them reached the target.
    found = scored(example())
    assert found["E"] == {"kwh": pytest.approx(CHARGED / KILOWATT_HOUR), "joules": pytest.approx(CHARGED), "pue": 1.0}
    assert found["I"] == {"grams_per_kwh": 360.0, "zone": "DEU", "year": 2023} | {
        "source": "CodeCarbon",
        "boundary": None,  # the run of an older energysweep, which noted none
        "note": None,
    }
    assert found["M"] == {"grams": None, "from": None}
    assert (found["includes_m"], found["estimated"]) == (False, False)
    assert {each["R"]: each["units"] for each in found["sci"]} == {
        "trial": 18,
        "configuration": 9,
        "training run to target": 14,
    }
    assert grams(found) == pytest.approx(
        {"trial": 0.2283 / 18, "configuration": 0.2283 / 9, "training run to target": 0.2283 / 14}
    )


def test_m_is_added_before_it_is_divided() -> None:
    found = scored(example(), embodied_grams=0.9)
    assert found["M"] == {"grams": 0.9, "from": "given by the user"}
    assert found["includes_m"]
    assert grams(found)["configuration"] == pytest.approx((0.2283 + 0.9) / 9)


@given(st.floats(1, 3), st.floats(0, 2000), st.one_of(st.none(), st.floats(0, 1e6)))
def test_e_times_i_and_m_are_what_r_divides(pue: float, intensity: float, embodied_grams: float | None) -> None:
    found = scored(example(carbon=CARBON | {"pue": pue, "grams_per_kwh": intensity}), embodied_grams)
    operational = found["E"]["kwh"] * found["I"]["grams_per_kwh"]
    assert math.isclose(operational, found["O"]["grams"], rel_tol=1e-12, abs_tol=1e-300)
    for each in found["sci"]:
        assert math.isclose(each["grams"] * each["units"], operational + (embodied_grams or 0), rel_tol=1e-9)


def test_each_training_has_its_own_energy() -> None:
    found = scored(example())
    crashed = next(each for each in found["trials"] if each["trial"] == CRASHED)
    assert crashed["status"] == "completed"
    assert next(each["status"] for each in found["trials"] if each["trial"] == PRUNED) == "pruned"
    assert crashed["kwh"] == pytest.approx(121 / KILOWATT_HOUR)
    assert crashed["grams"] == pytest.approx(0.0121)
    assert crashed["training run to target"] == {
        "kwh": pytest.approx(55 / KILOWATT_HOUR),
        "grams": pytest.approx(0.0055),
    }
    cheapest = next(each for each in found["configurations"] if each["config"] == "learning_rate=0.1 batch_size=256")
    assert cheapest["trial"]["grams"] == pytest.approx((50 * 55) ** 0.5 * 0.0001)
    assert cheapest["training run to target"]["grams"] == pytest.approx((20 * 22) ** 0.5 * 0.0001)
    missed = next(each for each in found["configurations"] if each["config"] == "learning_rate=0.001 batch_size=64")
    assert missed["training run to target"] == {"kwh": None, "grams": None}


def test_an_estimate_is_one_also_where_the_rows_of_the_meters_are_lost() -> None:
    found = scored(replace(example("estimate"), meters=()))
    assert found["estimated"] is True
    assert found["method"].startswith("energy is an estimate by a model (estimate);")


def test_without_a_target_no_run_reaches_it() -> None:
    found = scored(example(objective={"metric": "accuracy", "mode": "max", "target": None, "patience": 1}))
    assert found["sci"][2] == {"R": "training run to target", "units": None, "grams": None}


def test_no_unit_is_no_score_and_not_0() -> None:
    whole = example()
    found = scored(replace(whole, trials=[row._replace(status="failed") for row in whole.trials]))
    assert found["sci"][0] == {"R": "trial", "units": 0, "grams": None}


def test_the_command_says_it_in_words(export: Export, tmp_path: Path) -> None:
    code, out, err = export(example("estimate"), *FORMAT)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "SCI of mnist-20231114T221320Z, ISO/IEC 21031: ((E x I) + M) per R, without M",
        "E  ≈ 2,283 J (est.), ≈ 0.000634 kWh (est.) with PUE 1",
        "I  360 g CO2e per kWh (DEU)",
        "M  n/a: --embodied-grams gives it",
        "per trial (18): ≈ 12.7 mg (est.) CO2e, without M",
        "per configuration (9): ≈ 25.4 mg (est.) CO2e, without M",
        "per training run to target (14): ≈ 16.3 mg (est.) CO2e, without M",
        f"SCI: {tmp_path / 'run' / 'sci.json'}",
    ]
    code, out, err = export(None, *FORMAT, "--force", "--embodied-grams", "12")
    assert "M  12.0 g, given" in out
    assert "without M" not in out


@pytest.mark.parametrize("given_grams", ["nan", "-1", "1e16", "much", "inf"])
def test_what_are_no_grams_is_told(export: Export, capsys: pytest.CaptureFixture[str], given_grams: str) -> None:
    with pytest.raises(SystemExit) as ended:
        export(example(), *FORMAT, f"--embodied-grams={given_grams}")
    assert ended.value.code == 2
    assert f"'{given_grams}' is no number of grams from 0 to 1e+15" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (example(carbon=None), "this run knows no grid: --carbon names one"),
        (replace(example(), energy=(), meters=(), leases=()), "nothing was measured in this run"),
    ],
)
def test_what_is_missing_is_told(export: Export, data: LedgerData, problem: str) -> None:
    code, out, err = export(data, *FORMAT)
    assert (code, out) == (2, "")
    assert problem in err
