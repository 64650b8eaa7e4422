from __future__ import annotations

import re

import pytest

from energysweep.metrics import FAMILIES, Family, markdown


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
    rows = [line for line in markdown().splitlines() if line.startswith("| `")]
    assert len(rows) == len(FAMILIES)
    assert (
        "| `energysweep_node_bucket_energy_joules_total` | counter | `node`, `component`, `bucket` |"
        " Where a node's energy went. bucket: trials, overhead, background or unreserved_idle. |"
    ) in rows
