from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from energysweep.core.metrics import EXPRESSIONS, FAMILIES, SWEEP_BEST, Family, markdown
from tests.conftest import need


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_is_named_as_prometheus_wants_it(family: Family) -> None:
    assert re.fullmatch(r"energysweep_[a-z_]+", family.name)
    assert family.name.endswith("_total") == (family.kind == "counter")
    assert family.help.endswith(".")
    assert len(set(family.labels)) == len(family.labels)


def test_names_are_unique_and_units_are_base_units() -> None:
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names)
    units = re.compile(r"_(kwh|kilowatts?|milli\w+|micro\w+|ms|percent)(_|$)")
    assert [name for name in names if units.search(name.replace("_per_kwh", ""))] == []


def test_every_family_has_a_row_in_the_document() -> None:
    rows = [line for line in markdown().splitlines() if line.startswith("| `energysweep_")]
    assert len(rows) == len(FAMILIES)
    assert (
        "| `energysweep_node_power_watts` | gauge | `node`, `device`, `component` |"
        " Mean power of a device over the last second. |"
    ) in rows


def test_the_document_is_the_one_that_is_made_of_the_table() -> None:
    path = Path(__file__).parents[2] / "docs" / "metrics.md"
    assert path.read_text(encoding="utf-8") == markdown(), "run: make docs"


def test_the_document_s_expressions_are_promql_over_metrics_that_there_are(tmp_path: Path) -> None:
    names = {name for _, expression in EXPRESSIONS for name in re.findall(r"energysweep_\w+", expression)}
    assert names <= {family.name for family in FAMILIES}
    rules = [{"record": f"of:document:{number}", "expr": text} for number, (_, text) in enumerate(EXPRESSIONS)]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "document", "rules": rules}]}))
    command = [need("promtool"), "check", "rules", str(tmp_path / "rules.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_module_but_the_table_spells_a_metric_s_name() -> None:
    package = Path(__file__).parents[2] / "energysweep"
    spelled = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        for family in FAMILIES
        if re.search(rf"\b{family.name}\b", path.read_text(encoding="utf-8"))
    }
    assert spelled == {"core/metrics.py"}


def test_a_family_stands_in_a_query_by_its_name() -> None:
    assert f"max({SWEEP_BEST}{{}})" == "max(energysweep_sweep_best{})"
