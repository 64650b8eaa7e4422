"""Model cards, read by the Hub's own library."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard, ModelCardData
from hypothesis import given
from hypothesis import strategies as st

from energysweep import __version__
from energysweep.core.errors import InputError
from energysweep.core.records import TrialStatus
from energysweep.export.model_card import card
from energysweep.export.run import Options
from energysweep.export.subject import subject
from energysweep.ledger.store import LedgerData
from tests.export.conftest import Export, exported
from tests.support.example import CARBON, example

FORMAT = ("--format", "model-card")


def block(data: LedgerData, **options: Any) -> dict[str, Any]:
    """What the Hub reads of a card."""
    run = exported(data)
    given_options = Options(**options)
    read = ModelCard(card(run, subject(run, given_options, "trial"), given_options.training_type))
    assert isinstance(read.data, ModelCardData)
    assert list(read.data.to_dict()) == ["co2_eq_emissions"]
    return dict(read.data.co2_eq_emissions)


def test_the_hub_reads_the_training_that_the_report_recommends() -> None:
    # Its two trainings took 50 J and 55 J, at 0.0001 g/J.
    found = block(example())
    assert found == {
        "emissions": pytest.approx((50 * 55) ** 0.5 * 0.0001),
        "source": f"energysweep {__version__}: metered (rapl); 360 g CO2e per kWh, DEU (2023)",
        "training_type": "training (one training of a sweep, learning_rate=0.1 batch_size=256: the geometric mean of 2"
        " trainings; without their start-up)",
        "geographical_location": "Germany",
        "hardware_used": "1 CPU reserved by each training (cpu), on 1 host",
    }
    assert found["emissions"] == exported(example()).summary.headline.cheapest.emissions_grams.geometric_mean  # type: ignore[union-attr]


def test_a_trial_that_is_named_has_its_own_grams() -> None:
    found = block(example(), trial="t-0.1-256-1", training_type="fine-tuning")
    assert found["emissions"] == pytest.approx(0.0055)
    assert found["training_type"] == (
        "fine-tuning (one training of a sweep, learning_rate=0.1 batch_size=256 seed=1 on cpu; without its start-up)"
    )


def test_the_whole_sweep_says_so() -> None:
    found = block(example(), of="sweep")
    assert found["emissions"] == pytest.approx(0.2283)
    assert found["training_type"].startswith("training (the whole sweep: 18 trainings, of which 18 ended as planned,")


def test_an_estimate_is_called_one() -> None:
    assert "an estimate (estimate), not a measurement" in block(example("estimate"))["source"]


def test_an_estimate_is_one_also_where_the_rows_of_the_meters_are_lost() -> None:
    lost = replace(example("estimate"), meters=())
    assert block(lost, of="sweep") == block(example("estimate"), of="sweep")


@pytest.mark.parametrize("options", [{"of": "sweep"}, {}, {"trial": "t-0.1-256-1"}])
def test_damage_is_told_in_the_block_and_below_it(options: dict[str, Any]) -> None:
    data = replace(example(), damage=("energy: 48 rows left out (\ud800\n---)",))
    assert "metered (rapl), without what was lost of a damaged ledger; 360 g" in block(data, **options)["source"]
    run = exported(data)
    text = card(run, subject(run, Options(**options), "trial"))
    assert text.endswith("\n- The ledger is damaged: energy: 48 rows left out (\\\\ud800 ---).\n")
    assert "damaged" not in card(exported(example()), subject(run, Options(**options), "trial"))


def with_status(standing: TrialStatus, **run: Any) -> LedgerData:
    """The run where both trainings of the cheapest configuration stand so."""
    data = example(**run)
    of_cheapest = ("t-0.1-256-0", "t-0.1-256-1")
    rows = [row._replace(status=standing) if row.trial in of_cheapest else row for row in data.trials]
    return replace(data, trials=rows)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("completed", ""),
        ("pruned", ", stopped early"),
        ("failed", ", which failed"),
        ("interrupted", ", interrupted, as far as it has come"),
        ("running", ", running, as far as it has come"),
    ],
)
def test_a_training_says_how_it_ended_or_that_it_has_not(status: TrialStatus, said: str) -> None:
    found = block(with_status(status), trial="t-0.1-256-1")
    of = "one training of a sweep, learning_rate=0.1 batch_size=256 seed=1 on cpu"
    assert found["training_type"] == f"training ({of}{said}; without its start-up)"


def test_a_mean_says_what_it_is_not_of() -> None:
    mean = "learning_rate=0.1 batch_size=256"
    assert "mean of 2 trainings, 2 of them stopped early;" in block(with_status("pruned"), trial=mean)["training_type"]
    data = example()
    failed = [row._replace(status="failed") if row.trial == "t-0.1-256-1" else row for row in data.trials]
    assert (
        "mean of 1 of 2 trainings (the others failed or have not ended);"
        in (block(replace(data, trials=failed), trial=mean)["training_type"])
    )


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            with_status("running", status="running"),
            "the whole sweep, as far as it has come (running): 18 trainings, of",
        ),
        (
            with_status("failed", status="failed"),
            "the whole sweep (failed): 18 trainings, of which 16 ended as planned",
        ),
    ],
)
def test_a_sweep_that_is_not_done_says_so(data: LedgerData, said: str) -> None:
    assert f"({said}" in block(data, of="sweep")["training_type"]


@pytest.mark.parametrize("zone", ["given", "world average"])
def test_a_place_that_is_not_known_is_left_out(zone: str) -> None:
    assert "geographical_location" not in block(example(carbon=CARBON | {"zone": zone}))


def test_a_region_is_named_before_its_country() -> None:
    found = block(example(carbon=CARBON | {"zone": "USA/new york"}))
    assert found["geographical_location"] == "New York, United States"


@given(st.text(max_size=40), st.text(alphabet="-\n'\"{}:#=\0\ud800 a", max_size=40))
def test_no_name_breaks_the_block(hardware: str, training_type: str) -> None:
    data = example()
    data = replace(data, trials=[row._replace(hardware=hardware) for row in data.trials])
    found = block(data, of="sweep", training_type=training_type or None)
    assert found["emissions"] == pytest.approx(0.2283)
    assert "\n" not in found["training_type"]


@pytest.mark.parametrize(
    ("data", "options", "problem"),
    [
        (example(), {"trial": "t-9"}, "--trial: the run has no trial 't-9'; there are "),
        (example(), {"trial": "t-0.1"}, "--trial: 't-0.1' is the name of 6 trials: "),
        (example(), {"trial": "t-0.1-16-0", "of": "sweep"}, "--trial: no trial is named for --of sweep"),
        (example(carbon=None), {}, "run: this run knows no grid: --carbon names one"),
        (replace(example(), trials=(), results=(), leases=(), energy=(), attempts=()), {}, "--of trial: the report"),
    ],
)
def test_what_is_not_there_is_told(data: LedgerData, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError) as told:
        block(data, **options)
    assert str(told.value).startswith(problem)


def test_a_configuration_that_has_not_ended_has_no_training(export: Export) -> None:
    whole = example(status="running")
    data = replace(whole, trials=[row._replace(status="running") for row in whole.trials])
    code, _, err = export(data, *FORMAT, "--trial", "learning_rate=0.1 batch_size=256")
    assert (code, err) == (
        2,
        "energysweep: --trial: no training of learning_rate=0.1 batch_size=256 has ended as planned\n",
    )


def test_the_command_tells_what_it_is_of(export: Export, tmp_path: Path) -> None:
    code, out, err = export(example("estimate"), *FORMAT, "--trial", "t-0.1-256-1")
    assert (code, err) == (0, "")
    path = tmp_path / "run" / "model-card.md"
    assert out == (
        "≈ 5.50 mg (est.) CO2e, one training of a sweep, learning_rate=0.1 batch_size=256 seed=1 on cpu;"
        f" without its start-up\nmodel card: {path}\n"
    )
    assert ModelCard.load(path).text.strip().startswith("## Environmental impact")
