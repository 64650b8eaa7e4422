from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.core.errors import LedgerError
from energysweep.core.records import (
    AttemptRow,
    DecisionRow,
    EnergyRow,
    LeaseRow,
    MeterRow,
    ResultRow,
    SampleRow,
    TrialRow,
)
from energysweep.ledger.store import Ledger
from tests.conftest import do_without

ENERGY = EnergyRow("boot", "w", "l", "package-0", "cpu", "active", "rapl", 12.5)
METER = MeterRow("boot", "w", "node", "package-0", "cpu", "rapl", 20.0, 2.0, 1.5, None, "unknown", 6.1e-5, 1, 2)
LEASE = LeaseRow("l", "boot", "w", "node", "t", 1, 4711, 100.0, None, 2.0, 1.5, 0.5, 1.0, '{"GPU-1": 0.5}')
PARAMETERS = {"lr": 1e-3, "name": "<ü>", "deep": [1, None]}
TRIAL = TrialRow("t", PARAMETERS, 0, "cpu", "failed", 2, 1.0, 2.0, "it broke", "pretraining")
ATTEMPT = AttemptRow("t", 1, 1.0, None, "running", None, None)
DECISION = DecisionRow(3, 5.0, "t", "ended", "capped", 40.0, 38.0, 950.5, {"reports": 4})
RESULT = ResultRow("t", 1, 0.5, None, None, {"accuracy": 0.25, "text": "fine"})
SAMPLE = SampleRow("bucket:overhead", 0.5, 3.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.mark.parametrize("left", ["closed", "as a killed driver leaves it"])
def test_a_ledger_is_read_where_nothing_can_be_written(tmp_path: Path, left: str) -> None:
    writable, mounted = tmp_path / "run", tmp_path / "mounted"
    writable.mkdir()
    mounted.mkdir()
    ledger = Ledger.create(writable / "ledger.sqlite", name="n")
    ledger.merge([ENERGY], [METER], [LEASE], [SAMPLE])
    if left == "closed":
        ledger.close()
    else:  # the newest rows are in the log beside it, and the index of the log is lost
        shutil.copytree(writable, tmp_path / "copy", ignore=shutil.ignore_patterns("*-shm"))
        ledger.close()
        writable = tmp_path / "copy"
    bind = subprocess.run(["mount", "--bind", str(writable), str(mounted)], capture_output=True, check=False)
    if bind.returncode != 0:
        do_without("mounting a file system needs root")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(mounted)], check=True)
        with Ledger.open(mounted / "ledger.sqlite") as read_only:
            data = read_only.read()
        assert sorted(path.name for path in mounted.iterdir()) == sorted(path.name for path in writable.iterdir())
    finally:
        subprocess.run(["umount", str(mounted)], check=True)
    assert (data.run, data.energy, data.leases) == ({"name": "n"}, [ENERGY], [LEASE])


def test_all_rows_come_back_as_they_were(path: Path) -> None:
    with Ledger.create(path) as ledger:
        ledger.note(name="n", started_at=1.5, objective={"metric": "accuracy"}, nothing=None)
        ledger.note(name="again")
        ledger.merge([ENERGY], [METER], [LEASE], [SAMPLE])
        ledger.record([TRIAL], [ATTEMPT], [RESULT], [DECISION])
    with Ledger.open(path) as ledger:
        data = ledger.read()
        assert ledger.facts() == data.run
    assert data.run == {"name": "again", "started_at": 1.5, "objective": {"metric": "accuracy"}, "nothing": None}
    assert data.energy == [ENERGY]
    assert data.meters == [METER]
    assert data.leases == [LEASE]
    assert data.trials == [TRIAL]
    assert data.attempts == [ATTEMPT]
    assert data.results == [RESULT]
    assert data.samples == [SAMPLE]
    assert data.decisions == [DECISION]


def test_an_existing_ledger_is_gone_on_with(path: Path) -> None:
    with Ledger.create(path) as ledger:
        ledger.merge([ENERGY])
    with Ledger.create(path) as ledger:
        assert ledger.read().energy == [ENERGY]


def test_the_highest_value_stays(path: Path) -> None:
    with Ledger.create(path) as ledger:
        for joules in (5.0, 12.5, 7.0):
            ledger.merge([ENERGY._replace(joules=joules)], [METER._replace(joules=joules)])
        data = ledger.read()
    assert [row.joules for row in data.energy] == [12.5]
    assert [row.joules for row in data.meters] == [12.5]


def test_a_closed_lease_is_not_opened_again_by_a_late_poll(path: Path) -> None:
    closed = LEASE._replace(closed_at=103.0, held_seconds=3.0, cpu_seconds=0.75)
    with Ledger.create(path) as ledger:
        ledger.merge(leases=[closed])
        ledger.merge(leases=[LEASE])
        assert ledger.read().leases == [closed]


def test_the_driver_s_newest_word_on_a_trial_counts(path: Path) -> None:
    with Ledger.create(path) as ledger:
        ledger.record([TRIAL._replace(status="running", error=None)], [ATTEMPT])
        ledger.record([TRIAL], [ATTEMPT._replace(outcome="failed", ended_at=2.0)])
        data = ledger.read()
    assert data.trials == [TRIAL]
    assert [row.outcome for row in data.attempts] == ["failed"]


def test_a_text_that_sqlite_cannot_hold_is_written_down_spelled_out(path: Path) -> None:
    with Ledger.create(path) as ledger:
        ledger.record([TRIAL._replace(error="no file bad\udcff\0")], [ATTEMPT._replace(error="bad\udcff")])
        data = ledger.read()
    assert (data.trials[0].error, data.attempts[0].error) == (r"no file bad\udcff\x00", r"bad\udcff")


keys = st.sampled_from([(window, lease) for window in "vw" for lease in ("", "k", "l")])
polls = st.lists(
    st.lists(st.tuples(keys, st.floats(0, 1e9)), max_size=4).map(
        lambda rows: [ENERGY._replace(window=key[0], lease=key[1], joules=joules) for key, joules in rows]
    ),
    max_size=6,
)


@given(polls, st.randoms(use_true_random=False))
def test_polls_may_come_in_any_order_and_more_than_once(answers: list[list[EnergyRow]], order: random.Random) -> None:
    shuffled = answers + [answer for answer in answers if order.random() < 0.5]
    order.shuffle(shuffled)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name, sequence in (("once", answers), ("shuffled", shuffled)):
            with Ledger.create(Path(folder) / name) as ledger:
                for answer in sequence:
                    ledger.merge(answer)
                found.append(ledger.read().energy)
    highest: dict[tuple[str, ...], float] = {}
    for row in (row for answer in answers for row in answer):
        highest[row[:-1]] = max(row.joules, highest.get(row[:-1], 0.0))
    assert found[0] == found[1]
    assert {row[:-1]: row.joules for row in found[0]} == highest


@pytest.mark.parametrize("joules", [-1.0, float("nan"), None])
def test_a_row_that_is_no_energy_is_refused_with_all_that_came_with_it(path: Path, joules: float) -> None:
    with Ledger.create(path) as ledger:
        with pytest.raises(LedgerError, match="constraint"):
            ledger.merge([ENERGY, ENERGY._replace(lease="m", joules=joules)], [METER])
        data = ledger.read()
    assert data.energy == []
    assert data.meters == []


def one_line(error: pytest.ExceptionInfo[LedgerError], path: Path) -> bool:
    text = str(error.value)
    return "\n" not in text and text.startswith(f"{path}: ")


@pytest.mark.parametrize("content", [b"", b"not a database\n" * 200])
def test_a_file_that_is_no_ledger_is_named(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    for use in (Ledger.open, Ledger.create):
        with pytest.raises(LedgerError, match=r"no ledger|not a database") as error:
            use(path)
        assert one_line(error, path)
    assert path.read_bytes() == content


def test_a_foreign_database_is_no_ledger(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE energy (joules)")
    connection.close()
    with pytest.raises(LedgerError, match="this is no ledger of energysweep"):
        Ledger.open(path)


def test_a_truncated_ledger_is_damaged(path: Path) -> None:
    with Ledger.create(path) as ledger:
        ledger.merge([ENERGY._replace(lease=f"lease-{number}") for number in range(500)])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LedgerError) as error:
        Ledger.open(path)
    assert one_line(error, path)


def test_a_ledger_of_another_schema_is_refused(path: Path) -> None:
    Ledger.create(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(LedgerError, match="written with schema 7, this energysweep reads schema 6 and older"):
        Ledger.open(path)


TO_SCHEMA_5 = "ALTER TABLE results DROP COLUMN power_watts; PRAGMA user_version = 5;"
TO_SCHEMA_4 = (
    f"{TO_SCHEMA_5} ALTER TABLE meters DROP COLUMN books; ALTER TABLE meters DROP COLUMN opened_joules;"
    "ALTER TABLE meters DROP COLUMN opened_at; PRAGMA user_version = 4;"
)
TO_SCHEMA_3 = f"{TO_SCHEMA_4} DROP TABLE decisions; PRAGMA user_version = 3;"
TO_SCHEMA_2 = (
    f"{TO_SCHEMA_3} ALTER TABLE leases DROP COLUMN startup_seconds; ALTER TABLE leases DROP COLUMN works_elsewhere;"
    "PRAGMA user_version = 2;"
)
TO_SCHEMA = {
    1: f"{TO_SCHEMA_2} ALTER TABLE trials DROP COLUMN stage; PRAGMA user_version = 1;",
    2: TO_SCHEMA_2,
    3: TO_SCHEMA_3,
    4: TO_SCHEMA_4,
    5: TO_SCHEMA_5,
}


def as_of_schema(path: Path, version: int) -> None:
    """Make a ledger what an older energysweep left."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(TO_SCHEMA[version])


def test_whoever_goes_on_with_a_ledger_of_schema_1_brings_it_up_to_date(path: Path) -> None:
    with Ledger.create(path) as ledger:
        ledger.record([TRIAL._replace(stage="")])
    as_of_schema(path, 1)
    pretraining = TRIAL._replace(trial="u", stage="pretraining")
    with Ledger.create(path) as ledger:
        assert ledger.read().trials == [TRIAL._replace(stage="")]
        ledger.record([pretraining])
    with Ledger.open(path) as ledger:
        assert ledger.read().trials == [TRIAL._replace(stage=""), pretraining]


def test_what_schema_2_did_not_tell_apart_stays_unknown(path: Path) -> None:
    with Ledger.create(path) as ledger:
        ledger.merge(leases=[LEASE])
    as_of_schema(path, 2)
    new = LEASE._replace(lease="m", startup_seconds=0.5, works_elsewhere=0)
    with Ledger.create(path) as ledger:
        ledger.merge(leases=[new])
        ledger.merge(leases=[new._replace(startup_seconds=1.5, works_elsewhere=1)])
        assert ledger.read().leases == [LEASE, new._replace(startup_seconds=1.5, works_elsewhere=1)]


def test_where_a_counter_stood_when_a_window_was_opened_stays_unknown_of_schema_4(path: Path) -> None:
    with Ledger.create(path) as ledger:
        ledger.merge(meters=[METER])
    as_of_schema(path, 4)
    new = METER._replace(window="v", books="b", opened_joules=0.0)
    with Ledger.create(path) as ledger:
        ledger.merge(meters=[new, METER._replace(joules=21.0)])
        assert ledger.read().meters == [new, METER._replace(joules=21.0)]


def test_with_which_power_a_trial_reported_stays_unknown_of_schema_5(path: Path) -> None:
    with Ledger.create(path) as ledger:
        ledger.record([TRIAL], results=[RESULT])
    as_of_schema(path, 5)
    new = RESULT._replace(iteration=2, power_watts=12.5)
    with Ledger.create(path) as ledger:
        ledger.record(results=[new])
        assert ledger.read().results == [RESULT, new]


@pytest.mark.parametrize("version", [each for each in TO_SCHEMA if each < 4])
def test_older_ledgers_have_no_decisions_and_take_some_up_once_they_are_gone_on_with(path: Path, version: int) -> None:
    Ledger.create(path, id="it").close()
    as_of_schema(path, version)
    with Ledger.open(path) as ledger:
        assert (ledger.read().decisions, ledger.read().damage) == ([], ())
    with Ledger.create(path) as ledger:
        ledger.record(decisions=[DECISION, DECISION])
        assert ledger.read_whole().decisions == [DECISION]


@pytest.mark.parametrize("version", TO_SCHEMA)
def test_a_reader_leaves_the_ledger_of_an_older_energysweep_to_its_driver(path: Path, version: int) -> None:
    with Ledger.create(path, id="it") as ledger:
        ledger.merge([ENERGY], [METER], [LEASE], [SAMPLE])
        ledger.record([TRIAL._replace(stage="")])
    as_of_schema(path, version)
    columns = 14 if version < 3 else 16
    statement = f"INSERT INTO leases VALUES ({', '.join('?' * columns)})"  # noqa: S608 - question marks
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as driver:  # of that older energysweep
        driver.execute(statement, LEASE._replace(lease="m")[:columns])
        with Ledger.open(path) as ledger:
            data = ledger.read()
        driver.execute(statement, LEASE._replace(lease="n")[:columns])
    assert [lease.lease for lease in data.leases] == ["l", "m"]  # what is still in the log is read as well
    assert (data.trials, data.energy, data.damage) == ([TRIAL._replace(stage="")], [ENERGY], ())
    content = path.read_bytes()
    with Ledger.open(path) as ledger:
        assert len(ledger.read().leases) == 3
    assert path.read_bytes() == content


@pytest.mark.parametrize("version", [*TO_SCHEMA, 5])
def test_a_reader_cannot_write(path: Path, version: int) -> None:
    Ledger.create(path, id="it").close()
    if version in TO_SCHEMA:
        as_of_schema(path, version)
    with Ledger.open(path) as ledger, pytest.raises(LedgerError, match="readonly"):
        ledger.note(id="another")


def test_an_old_ledger_without_a_table_is_read_as_far_as_it_goes(path: Path) -> None:
    with Ledger.create(path, id="it") as ledger:
        ledger.record([TRIAL._replace(stage="")])
    as_of_schema(path, 2)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE leases")
    with Ledger.open(path) as ledger:
        data = ledger.read()
    assert data.trials == [TRIAL._replace(stage="")]
    assert data.damage == ("leases: 1 row left out (all of them: no such table: leases)",)
    with pytest.raises(LedgerError, match="no such table: leases"):
        Ledger.create(path)


def test_a_table_whose_name_is_no_text_takes_only_its_own_with_it(path: Path) -> None:
    with Ledger.create(path) as ledger:
        ledger.merge([ENERGY], leases=[LEASE])
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("UPDATE energy SET joules = -1.0")  # SQLite's check of the file names its table
        connection.commit()
    content = path.read_bytes()
    for text in (b"tableenergyenergy", b"TABLE energy ("):
        assert content.count(text) == 1
        content = content.replace(text, text.replace(b"energy", b"energ\xff"))
    path.write_bytes(content)
    with Ledger.open(path) as ledger:
        data = ledger.read()
    assert data.leases == [LEASE]
    assert data.damage == ("energy: 1 row left out (all of them: no such table: energy)",)


def test_a_missing_ledger_is_named(path: Path) -> None:
    with pytest.raises(LedgerError, match="there is no ledger here"):
        Ledger.open(path)
    with pytest.raises(LedgerError, match="there is no ledger here"):
        Ledger.open(path.parent)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    # nobody, root included, can make a file in these
    for folder in (Path("/proc/self"), tmp_path / "missing"):
        with pytest.raises(LedgerError, match="No such file or directory") as error:
            Ledger.create(folder / "ledger.sqlite")
        assert one_line(error, folder / "ledger.sqlite")


def test_whoever_finds_a_new_ledger_finds_it_whole(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.sqlite" for number in range(50)]

    def create() -> None:
        for path in paths:
            Ledger.create(path, id="it").close()

    thread = threading.Thread(target=create)
    thread.start()
    try:
        for path in paths:
            while not path.exists():
                assert thread.is_alive() or path.exists()
            with Ledger.open(path) as ledger:
                assert ledger.read().run == {"id": "it"}
    finally:
        thread.join()
    assert [each for each in tmp_path.iterdir() if each.is_dir()] == []  # where they were made is gone


def test_a_new_ledger_has_its_facts_at_once_and_an_existing_one_keeps_its_own(path: Path) -> None:
    with Ledger.create(path, id="it", status="running") as ledger:
        assert ledger.facts() == {"id": "it", "status": "running"}
    with Ledger.create(path, id="another") as ledger:
        assert ledger.facts()["id"] == "it"


def test_a_backup_is_whole_while_the_ledger_is_written(path: Path, tmp_path: Path) -> None:
    ending = threading.Event()
    with Ledger.create(path) as ledger:

        def write() -> None:
            for number in range(10_000):
                if ending.is_set():
                    return
                # always both in one transaction
                ledger.merge([ENERGY._replace(lease=str(number))], leases=[LEASE._replace(lease=str(number))])

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for number in range(10):
                copy = tmp_path / f"copy-{number}.sqlite"
                ledger.backup(copy)
                with Ledger.open(copy) as copied:
                    data = copied.read()
                assert {row.lease for row in data.energy} == {row.lease for row in data.leases}
                assert not copy.with_name(f"{copy.name}-wal").exists()  # safe on a network file system
        finally:
            ending.set()
            thread.join()


def test_a_backup_that_cannot_be_written_is_named(path: Path, tmp_path: Path) -> None:
    with Ledger.create(path) as ledger, pytest.raises(LedgerError, match="unable to open database file"):
        ledger.backup(tmp_path / "missing" / "copy.sqlite")
