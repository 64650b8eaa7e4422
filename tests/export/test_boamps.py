"""BoAmps reports, by the rules of its data model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from energysweep import __version__
from energysweep.core.jsontext import json_text
from energysweep.export.boamps import report
from energysweep.export.run import Options
from energysweep.export.subject import subject
from energysweep.ledger.store import LedgerData
from tests.export.conftest import Export, exported
from tests.support.example import CARBON, CRASHED, PRUNED, example

KILOWATT_HOUR = 3_600_000
RULES = json.loads(Path(__file__).with_name("boamps.schema.json").read_text(encoding="utf-8"))


def made(data: LedgerData, **options: Any) -> dict[str, Any]:
    """The report, which keeps the rules."""
    run = exported(data)
    found = json.loads(json_text(report(run, subject(run, Options(**options), "sweep"))))
    Draft202012Validator(RULES).validate(found)
    return dict(found)


def test_the_rules_are_a_schema() -> None:
    Draft202012Validator.check_schema(RULES)


def test_a_report_of_the_sweep_is_of_all_that_it_is_charged_with() -> None:
    found = made(example())
    assert found["measures"] == [
        {
            "measurementMethod": "energysweep",
            "version": __version__,
            "cpuTrackingMode": "rapl",
            "powerConsumption": pytest.approx((2183 + 100) / KILOWATT_HOUR),
            "measurementDuration": 120.0,
            "measurementDateTime": "2023-11-14 22:13:20",
        }
    ]
    assert found["header"] | {"reportId": ""} == {
        "formatVersion": "1.1.0",
        "formatVersionSpecificationUri": "https://github.com/Boavizta/BoAmps/tree/main/model",
        "reportId": "",
        "reportDatetime": "2023-11-14 22:15:20",
        "reportStatus": "draft",
    }
    assert found["infrastructure"] == {
        "infraType": "other",
        "components": [{"componentType": "cpu", "nbComponent": 1}, {"componentType": "ram", "nbComponent": 1}],
    }
    assert found["environment"] == {"country": "Germany", "powerSourceCarbonIntensity": 360.0}
    assert found["task"]["taskDescription"] == (
        "Of run mnist-20231114T221320Z: the whole sweep: 18 trainings, of which 18 ended as planned, with their"
        " start-up and the sweep's overhead."
    )
    assert "measuredAccuracy" not in found["task"]


def test_a_report_of_a_trial_has_its_energy_and_accuracy() -> None:
    found = made(example(), trial=CRASHED)
    assert found["measures"][0]["powerConsumption"] * KILOWATT_HOUR == pytest.approx(121)
    assert found["measures"][0]["measurementDuration"] == pytest.approx(12.1)
    assert found["task"]["measuredAccuracy"] == 0.96
    assert found["task"]["algorithms"] == [{"classPath": "energysweep.workloads.images.train", "epochsNumber": 10}]
    assert made(example(), trial=PRUNED)["header"]["reportId"] != found["header"]["reportId"]
    assert made(example(), trial=CRASHED) == found


def test_an_estimate_is_called_one() -> None:
    found = made(example("estimate"))
    assert found["measures"][0]["measurementMethod"] == "energysweep (estimate)"
    assert found["measures"][0]["cpuTrackingMode"] == "estimate"
    assert found["task"]["taskDescription"].endswith("The energy is an estimate by a model, not a measurement.")


def test_what_metered_it_is_known_also_where_the_rows_of_the_meters_are_lost() -> None:
    for source in ("estimate", "rapl"):
        assert made(replace(example(source), meters=())) == made(example(source))


def test_meters_of_a_host_that_held_no_lease_are_not_the_sweep_s() -> None:
    data = example()
    idle = data.meters[0]._replace(host="boot-2", source="estimate")
    assert made(replace(data, meters=[*data.meters, idle])) == made(data)


@pytest.mark.parametrize("carbon", [CARBON | {"zone": "given"}, CARBON | {"zone": "world average"}, None])
def test_without_a_country_there_is_no_environment(carbon: dict[str, Any] | None) -> None:
    assert "environment" not in made(example(carbon=carbon))


@pytest.mark.parametrize(("source", "quality"), [("rapl", "medium"), ("estimate", None), ("nobody's", None)])
def test_the_quality_is_that_of_the_meters(source: str, quality: str | None) -> None:
    assert made(example(source)).get("quality") == quality


def test_the_search_is_what_chose_the_configurations() -> None:
    spec = {"name": "mnist", "search": {"algorithm": "random"}, "command": ["./train.sh"]}
    found = made(example(spec=spec))
    assert found["task"]["algorithms"] == [{"classPath": "./train.sh", "optimizer": "randomSearch"}]
    assert "software" not in found


def test_damage_and_hostile_names_are_told() -> None:
    data = replace(example(name="\ud800\0=x\n", id="\ud800"), damage=("trials: 1 row left out (\ud800)",))
    found = made(data)
    assert found["task"]["taskFamily"] == "\\ud800\\x00=x\n"
    assert "The ledger is damaged: trials: 1 row left out (\\ud800)." in found["task"]["taskDescription"]


def test_nothing_measured_is_no_report(export: Export, tmp_path: Path) -> None:
    nothing = replace(example(), energy=(), meters=(), leases=())
    code, out, err = export(nothing, "--format", "boamps")
    assert (code, out) == (2, "")
    assert err == f"energysweep: {tmp_path / 'run'}: nothing was measured of the sweep mnist\n"


def test_the_command_writes_it(export: Export, tmp_path: Path) -> None:
    code, out, err = export(example(), "--format", "boamps", "--of", "trial")
    assert (code, err) == (0, "")
    path = tmp_path / "run" / "boamps.json"
    assert out == (
        "BoAmps report of one training of a sweep, learning_rate=0.1 batch_size=256: the geometric mean of 2"
        f" trainings; without their start-up: {path}\n"
    )
    Draft202012Validator(RULES).validate(json.loads(path.read_text(encoding="utf-8")))
