"""Every mistake gets a message that names the key, the line and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from energysweep.core.errors import InputError
from energysweep.sweepfile import check_workload, load_spec
from energysweep.sweepfile.yaml import read_document, write_document
from tests.support.broken_specs import BROKEN, GOOD, Broken, good

KEYS = sorted((path for path in read_document(GOOD).lines if path), key=str)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("agrid<[]", max_size=5), inner, max_size=3),
    max_leaves=5,
)


def write(folder: Path, text: str) -> Path:
    return Broken("", text, None, "").write(folder)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.id)
def test_a_broken_sweep_is_an_input_error_at_its_key(broken: Broken, tmp_path: Path) -> None:
    path = broken.write(tmp_path)
    if broken.found_by == "load_spec":
        with pytest.raises(InputError) as caught:
            load_spec(path, broken.options)
    else:
        spec = load_spec(path, broken.options)
        with pytest.raises(InputError) as caught:
            check_workload(spec)
    assert caught.value.key == broken.key
    assert broken.fragment in str(caught.value)
    assert (caught.value.file or "").startswith("--set" if broken.options else str(path))


def test_the_sweep_that_they_are_made_of_is_good(tmp_path: Path) -> None:
    check_workload(load_spec(write(tmp_path, GOOD)))


def test_a_message_names_file_line_and_key(tmp_path: Path) -> None:
    path = write(tmp_path, good("repeats: 3", "repeats: -3"))
    with pytest.raises(InputError) as caught:
        load_spec(path)
    assert str(caught.value) == f"{path}:8: repeats: must be at least 1, not -3"


def test_all_problems_are_listed_by_line(tmp_path: Path) -> None:
    path = write(
        tmp_path, good("mode: max", "mode: up").replace("repeats: 3", "repeats: 0").replace("name: good\n", "")
    )
    with pytest.raises(InputError) as caught:
        load_spec(path)
    assert [line.split(": ")[:2] for line in str(caught.value).splitlines()] == [
        [f"{path}:1", "name"],
        [f"{path}:6", "objective.mode"],
        [f"{path}:7", "repeats"],
    ]


def test_at_most_ten_problems_are_listed(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD + "".join(f"unknown_{number}: 1\n" for number in range(13)))
    with pytest.raises(InputError) as caught:
        load_spec(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 11
    assert lines[-1] == "and 3 more"


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    loop = tmp_path / "loop.yaml"
    loop.symlink_to(loop)
    with pytest.raises(InputError, match="cannot be read"):
        load_spec(loop)


def test_a_huge_file_is_no_sweep(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    path.write_bytes(b"#" * 1_000_001)
    with pytest.raises(InputError, match="larger than 1000000 bytes"):
        load_spec(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(path_of_key=st.sampled_from(KEYS), value=VALUES)
def test_whatever_stands_at_a_key_loads_or_is_an_input_error(
    path_of_key: tuple[str | int, ...], value: object, tmp_path: Path
) -> None:
    sweep = read_document(GOOD).value
    holder = sweep
    for key in path_of_key[:-1]:
        holder = holder[key]
    holder[path_of_key[-1]] = value
    path = tmp_path / "sweep.yaml"
    path.write_text(write_document(sweep))
    try:
        load_spec(path)
    except InputError as error:
        assert error.key is None or error.key.startswith(str(path_of_key[0]))  # noqa: PT017  either way is right
