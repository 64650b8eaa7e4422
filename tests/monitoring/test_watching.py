"""A run that works elsewhere, seen by its ledger and by its agents' metrics as its own driver shows it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from energysweep.agent.discovery import targets
from energysweep.agent.exporter import exposition
from energysweep.cli import main
from energysweep.core.errors import AgentUnreachable, InputError, LedgerError, SweepError
from energysweep.core.runfolder import LEDGER
from energysweep.ledger.store import Ledger
from energysweep.monitoring.watched_agents import WatchedAgents
from energysweep.monitoring.watching import Lines, Seen, WatchedFolder, watch
from energysweep.report.live import Status, line
from tests.driver.test_simulated_sweep import SPEC, Bench
from tests.monitoring.test_observed import server
from tests.support.example import example
from tests.support.fake_clock import FakeClock
from tests.support.ledgers import write_ledger
from tests.support.ports import free_port
from tests.support.simulated_run import RUN, World
from tests.support.simulated_sweep import SimulatedSweep, Told, Values

BUDGET = SPEC + "budget: {energy_joules: 1000}\n"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Ledger.create(tmp_path / LEDGER, id=RUN, status="running") as ledger:
        yield Bench(World(tmp_path, 2), ledger, tmp_path, Values())


def pages(driver: SimulatedSweep) -> Callable[[str, str], bytes]:
    """What the agents of a simulated run answer over HTTP."""

    def page(url: str, path: str) -> bytes:
        node = next(each for each in driver.world.nodes if driver.url(each) == url)
        if node.agent is None or node.is_lost:
            raise AgentUnreachable(f"{url} does not answer: it is away")
        if path == "/sd":
            return json.dumps(targets(node.agent.telling.agents())).encode()
        return exposition(node.agent.telling.snapshot(), "").text.encode()

    return page


def shown(driver: SimulatedSweep) -> Status:
    """By the run's own display."""
    assert driver.progress.status is not None
    return driver.progress.status()


def test_by_its_ledger_and_by_its_agents_a_run_looks_as_in_its_own_display(bench: Bench) -> None:
    compared: list[tuple[Status, Status, Status]] = []
    news: list[str] = []

    def script(driver: SimulatedSweep, stage: str, trials: list[str]) -> None:
        folder = WatchedFolder(bench.folder, driver.world.clock)
        agents = WatchedAgents(driver.url(driver.world.nodes[0]), clock=driver.world.clock, page=pages(driver))
        for trial, node in zip(trials, driver.world.nodes, strict=True):
            driver.begin(trial, node)
        for accuracy in (0.25, 0.75):
            driver.wait(2)
            driver.report(trials[0], accuracy)
            driver.wait(1)
            news.extend(folder.look().news)
            driver.wait(1)
            own, by_ledger = shown(driver), folder.look().status
            driver.wait(1)  # a scrape shows what was saved at the tick before
            compared.append((own, by_ledger, agents.look().status))
        for trial in trials:
            driver.report(trial, 0.5)
            driver.complete(trial)
        news.extend(folder.look().news)

    driver = bench.driver(script, spec=BUDGET)
    assert driver.run() == []
    assert [own.best for own, _, _ in compared] == [0.25, 0.75]
    for own, by_ledger, by_agents in compared:
        assert by_ledger == own
        assert (own.watts, len(own.running)) == (90.0, 2)  # twice 25 W of an idle node and 20 W of a busy CPU
        assert by_agents.counts == {"pending": 0} | own.counts or by_agents.counts == own.counts
        assert (by_agents.trials, by_agents.metric, by_agents.best) == (2, "accuracy", own.best)
        assert (by_agents.cheapest_at_target is None) == (own.cheapest_at_target is None) == (own.best == 0.25)
        assert by_agents.joules == pytest.approx(own.joules)
        assert by_agents.grams == pytest.approx(own.grams)
        assert by_agents.watts == pytest.approx(90.0)
        assert by_agents.elapsed_seconds == own.elapsed_seconds + 1
        assert by_agents.budget is not None
        assert own.budget is not None
        assert by_agents.budget.partition(",")[0] == own.budget.partition(",")[0]
        assert [trial.iterations for trial in by_agents.running] == [trial.iterations for trial in own.running]
    assert news == ["completed: rate=0.1", "completed: rate=0.2"]
    end = WatchedFolder(bench.folder).look()
    assert (end.ended, end.status.counts, end.status.watts) == ("done", {"completed": 2}, None)
    driver.world.wait(2.0)  # the agents go on
    seen = WatchedAgents(driver.url(driver.world.nodes[0]), page=pages(driver)).look()
    assert (seen.ended, seen.status.running, seen.status.watts) == ("ended", (), None)
    assert seen.status.elapsed_seconds == end.status.elapsed_seconds == 10.0


def test_what_is_estimated_is_marked_as_in_the_run_s_own_display(tmp_path: Path) -> None:
    seen = WatchedFolder(write_ledger(tmp_path / "run", example("estimate"))).look()
    assert "energy ≈ 2,283 J (est.), ≈ 0.228 g (est.) of CO2e" in line(seen.status)
    told = 'energysweep_sweep_energy_joules_total{sweep="r",component="cpu",bucket="trials",source="estimate"} 5\n'
    told += 'energysweep_sweep_info{sweep="r",name="n",owner="o"} 1\n'
    agents = WatchedAgents("http://h:1/metrics", page=lambda url, path: told.encode() if path == "/metrics" else b"[]")
    assert "energy ≈ 5.00 J (est.), n/a of CO2e" in line(agents.look().status)


class Looks:
    """Looks that a test has prepared; each is one second."""

    def __init__(self, *seen: Seen | BaseException) -> None:
        self._left = list(seen)

    def look(self) -> Seen:
        found = self._left.pop(0)
        if isinstance(found, BaseException):
            raise found
        return found


STATUS = Status(2, {"running": 2}, "accuracy", None, None, None, None, None, False, 1.0, ())


def test_a_line_is_told_for_each_change_and_none_as_time_passes(capsys: pytest.CaptureFixture[str]) -> None:
    later = replace(STATUS, elapsed_seconds=9.0, watts=50.0, joules=5.0, grams=0.1)
    ended = replace(later, counts={"completed": 1, "running": 1})
    slept: list[float] = []
    run = Looks(Seen(STATUS), Seen(later), Seen(ended, None, ("completed: rate=0.1 \x1b[2J",)), Seen(ended, "done"))
    assert watch(run, Lines(), slept.append).ended == "done"
    assert slept == [1.0, 1.0, 1.0]
    assert capsys.readouterr().out.splitlines() == [line(STATUS), "completed: rate=0.1 ", line(ended)]


def test_a_table_is_started_and_stopped_also_when_it_is_broken_off() -> None:
    for end in (KeyboardInterrupt(), LedgerError("it has gone")):
        told = Told()
        stopped: list[str] = []
        told.at_its_end = partial(stopped.append, "stopped")
        with pytest.raises(type(end)):
            watch(Looks(Seen(STATUS), end), told, lambda _: None)
        assert (stopped, told.events) == (["stopped"], [])


def files(folder: Path) -> dict[str, tuple[int, int]]:
    return {each.name: (each.stat().st_mtime_ns, each.stat().st_size) for each in folder.iterdir()}


def test_nothing_is_written_beside_a_ledger_whether_its_driver_writes_or_not(tmp_path: Path) -> None:
    run = write_ledger(tmp_path / "run", example())
    before = files(run)
    assert set(before) == {LEDGER}
    watched = WatchedFolder(run)
    assert watched.look().ended == "done"
    assert files(run) == before
    with Ledger.create(run / LEDGER) as ledger:  # a driver goes on with it, and has not put its log away
        ledger.note(status="running")
        before = files(run)
        assert f"{LEDGER}-wal" in before
        assert watched.look().ended is None
        assert {name: each for name, each in files(run).items() if name != f"{LEDGER}-shm"} == {
            name: each for name, each in before.items() if name != f"{LEDGER}-shm"
        }
        ledger.note(status="failed")  # no lock is in its way
        assert watched.look().ended == "failed"


def test_a_driver_that_writes_nothing_any_more_is_told_once(tmp_path: Path) -> None:
    clock = FakeClock(0.0)
    run = write_ledger(tmp_path / "run", example(status="running", duration_seconds=5.0))
    watched = WatchedFolder(run, clock)
    news: list[str] = []
    for _ in range(40):
        news += watched.look().news
        clock.advance(1.0)
    assert news == [
        f"nothing new for 15.0 s; if its driver was killed, energysweep resume {run} goes on",
    ]
    with Ledger.create(run / LEDGER) as ledger:
        ledger.note(duration_seconds=6.0)
    assert watched.look().news == ()
    clock.advance(20.0)
    assert len(watched.look().news) == 1


def test_a_run_whose_folder_goes_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_ledger(tmp_path / "run", example(status="running"))
    watched = WatchedFolder(run)
    watched.look()
    (run / LEDGER).unlink()
    with pytest.raises(LedgerError, match="there is no ledger here"):
        watched.look()
    assert main(["watch", str(run)]) == 2
    assert main(["watch", str(tmp_path / "missing")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"energysweep: {run}: this is no run folder: it has no {LEDGER}",
        f"energysweep: {tmp_path / 'missing'}: there is no such folder",
    ]


def test_the_command_shows_the_end_of_a_run_that_has_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_ledger(tmp_path / "run", example())
    assert main(["watch", str(run)]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "mnist-20231114T221320Z has ended: done"
    assert "learning_rate=0.1 batch_size=256" in out
    assert (err, "\x1b" in out) == ("", False)
    assert files(run).keys() == {LEDGER}


# By its agents -------------------------------------------------------------------------------------------------------


def told(*lines: str) -> Callable[[str, str], bytes]:
    text = "".join(f"energysweep_sweep_{each}\n" for each in lines)
    return lambda url, path: text.encode() if path == "/metrics" else b"nonsense"


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (told(), "http://h:1 tells of no sweep; give the address that the run has printed"),
        (lambda url, path: b"<html>{ hello", "http://h:1 is no agent: /metrics is not in Prometheus' format"),
        (lambda url, path: b"\xff\xfe\x00", "http://h:1"),
        (told('info{sweep="a"} 1', 'info{sweep="b"} 1'), "tells of several sweeps: a, b; say which with --run-id"),
    ],
)
def test_what_tells_of_no_one_run_is_one_line(page: Callable[[str, str], bytes], said: str) -> None:
    with pytest.raises(InputError) as error:
        WatchedAgents("http://h:1", page=page).look()
    assert str(error.value).startswith("RUN_DIR|URL: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_of_several_runs_the_one_that_is_asked_for_or_still_works_is_shown() -> None:
    page = told(
        'info{sweep="a"} 1',
        'info{sweep="b"} 1',
        'end_timestamp_seconds{sweep="a"} 5',
        'trials{sweep="b",state="running"} 3',
    )
    first = WatchedAgents("http://h:1", page=page)
    assert (first.look().status.counts, first.run_id) == ({"running": 3}, "b")
    assert WatchedAgents("http://h:1", "a", page=page).look().ended == "ended"
    with pytest.raises(InputError, match="tells nothing of a sweep 'c'"):
        WatchedAgents("http://h:1", "c", page=page).look()


def test_an_agent_that_is_away_is_waited_for_and_one_that_has_gone_is_told() -> None:
    clock = FakeClock(100.0)
    answers = [True]

    def page(url: str, path: str) -> bytes:
        if not answers[0]:
            raise AgentUnreachable(f"{url} does not answer: refused")
        return told('info{sweep="a"} 1')(url, path)

    run = WatchedAgents("http://h:1", clock=clock, page=page)
    assert run.look().news == ()
    answers[0] = False
    assert run.look().news == ("http://h:1 does not answer: refused; asking again",)
    clock.advance(20.0)
    assert run.look().news == ()
    answers[0] = True
    run.look()
    answers[0] = False
    clock.advance(31.0)
    with pytest.raises(SweepError, match=r"http://h:1 does not answer: refused; it did until 31 s ago"):
        run.look()


def test_a_run_whose_series_are_gone_is_told() -> None:
    lines = ['info{sweep="a"} 1']

    def page(url: str, path: str) -> bytes:
        return told(*lines)(url, path)

    run = WatchedAgents("http://h:1", page=page)
    run.look()
    lines[0] = 'info{sweep="b"} 1'
    with pytest.raises(SweepError, match="tells no more of a: its series are gone"):
        run.look()


def test_hostile_numbers_and_names_are_shown_as_text() -> None:
    page = told(
        'info{sweep="a"} 1',
        'trials{sweep="a",state="\x1b[2Jx"} NaN',
        'best{sweep="a",metric="acc\x1b[2J"} +Inf',
        'energy_joules_total{sweep="a"} 1e308',
        'budget_limit{sweep="a",kind="nonsense"} 5',
        'budget_limit{sweep="a",kind="energy_joules"} 0',
    )
    status = WatchedAgents("http://h:1", page=page).look().status
    assert (status.counts, status.best, status.joules) == ({}, None, 1e308)
    assert line(status)


@pytest.mark.parametrize("url", ["http://", "http://user:secret@h:1", "https://h:99999"])
def test_a_wrong_address_is_exit_code_2(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", url]) == 2
    err = capsys.readouterr().err
    assert err.startswith("energysweep: RUN_DIR|URL: ")
    assert "secret" not in err


def test_a_run_that_has_ended_is_shown_by_its_agent_over_http(capsys: pytest.CaptureFixture[str]) -> None:
    told = ('info{sweep="a"} 1', 'trials{sweep="a",state="completed"} 4', 'end_timestamp_seconds{sweep="a"} 5')
    with server(200, "".join(f"energysweep_sweep_{each}\n" for each in told)) as url:
        assert main(["watch", f"{url}/metrics"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("a has ended: trials 4/4 (4 completed), now n/a, energy n/a, n/a of CO2e")
    assert err == ""


def test_where_nobody_answers_is_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", f"http://127.0.0.1:{free_port()}"]) == 2
    assert "does not answer" in capsys.readouterr().err
    assert main(["watch", str(write_ledger(tmp_path / "run", example())), "--run-id", "x"]) == 2
    assert "--run-id: a folder holds one run" in capsys.readouterr().err
