"""``report --carbon hourly=electricitymaps`` and ``hourly=uk``: the real command, against stand-ins on loopback."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from energysweep.cli import main
from energysweep.core.runfolder import LEDGER, REPORT, SUMMARY
from energysweep.hourly.apis import ELECTRICITYMAPS, TOKEN_VARIABLE, UK, ElectricityMaps
from energysweep.hourly.grid import NamedSource
from energysweep.hourly.hours import HourIntensity
from energysweep.hourly.named import source_of
from energysweep.ledger.store import read_ledger
from energysweep.ledger.summary import summarise
from tests.support.accounted import NOVEMBER_ENDS, Hosts
from tests.support.example import CARBON
from tests.support.grid_api import Answer, GridApi, Request

MIDNIGHT = int(NOVEMBER_ENDS)
BEFORE = MIDNIGHT - 3600
SECRET = "s3cr3t-token"  # noqa: S105
MAPS = "ENERGYSWEEP_ELECTRICITYMAPS"
GB = "ENERGYSWEEP_CARBONINTENSITY"
GERMANY = "hourly=electricitymaps,zone=DE"

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that worked over midnight: some joules in each of two hours, at 100 g as a yearly mean."""
    with closing(Hosts(tmp_path_factory.mktemp("hosts"), now=NOVEMBER_ENDS - 3)) as hosts:
        made = hosts.run("run", carbon=CARBON)
        made.begin()
        made.work("t0")
        hosts.wait(6)
        made.end()
        return made.folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder in which answers are kept. Until a test says otherwise, nobody listens at either API's address."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(TOKEN_VARIABLE, SECRET)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # held, so that nobody else gets it, and deaf
        for variable in (MAPS, GB):
            monkeypatch.setenv(variable, f"http://127.0.0.1:{unused.getsockname()[1]}")
        yield tmp_path / "cache" / "energysweep"


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, Callable[[Request], Answer]], GridApi]]:
    """Starts a stand-in and puts its address into a variable."""
    started = []

    def start(variable: str, answers: Callable[[Request], Answer]) -> GridApi:
        api = GridApi(answers).__enter__()
        started.append(api)
        monkeypatch.setenv(variable, f"{api.url}/")
        return api

    yield start
    for api in started:
        api.__exit__(None, None, None)


Serve = Callable[[str, Callable[[Request], Answer]], GridApi]


def iso(time: int) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat()


def maps(request: Request) -> Answer:
    """Both hours of the run, the second one filled in by a model; whatever the clock of this machine, and so the way
    of asking, is."""
    if request.headers.get("auth-token") != SECRET:
        return Answer(status=401)
    hours = [
        {"datetime": iso(BEFORE), "carbonIntensity": 720, "isEstimated": False},
        {"datetime": iso(MIDNIGHT), "carbonIntensity": 3600, "isEstimated": True},
    ]
    return Answer(dict.fromkeys(("history", "data", "forecast"), hours))


def uk(*_: Request) -> Answer:
    halves = [(BEFORE, 700), (BEFORE + 1800, 740), (MIDNIGHT, 3600), (MIDNIGHT + 1800, 3600)]
    return Answer({"data": [{"from": iso(at), "intensity": {"forecast": 1, "actual": grams}} for at, grams in halves]})


def report(run: Path, carbon: str, captured: Captured) -> tuple[dict[str, Any], list[str], str]:
    """What summary.json says of the hours, the lines of standard error, and the terminal as one line."""
    assert main(["report", str(run), "--carbon", carbon]) == 0
    said = captured.readouterr()
    told = json.loads((run / SUMMARY).read_text())
    assert "By the hour (" in (run / REPORT).read_text()
    assert SECRET not in said.out + said.err + (run / SUMMARY).read_text() + (run / REPORT).read_text()
    return told, said.err.splitlines(), " ".join(said.out.split())


def test_electricity_maps_knows_the_hours_of_a_run(run: Path, serve: Serve, capsys: Captured) -> None:
    api = serve(MAPS, maps)
    told, notes, out = report(run, GERMANY.replace("DE", "de"), capsys)
    before, after = (each["joules"] for each in told["hours"])
    assert told["hourly"] | {"untimed_joules": 0} == {
        "source": "Electricity Maps, DE, lifecycle",
        "emissions_grams": pytest.approx(before * 0.0002 + after * 0.001),
        "measured_joules": before,
        "forecast_joules": after,
        "yearly_joules": 0,
        "untimed_joules": 0,
    }
    assert notes == []
    assert "By the hour (Electricity Maps, DE, lifecycle):" in out
    assert "% in measured hours, " in out
    assert "% in forecast hours" in out
    assert {request.query["zone"][0] for request in api.asked} == {"DE"}


def test_great_britain_s_api_knows_them_without_a_token(
    run: Path, serve: Serve, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE)
    api = serve(GB, uk)
    told, notes, out = report(run, "country=GBR,pue=2,hourly=uk", capsys)
    before, after = (each["joules"] for each in told["hours"])
    assert told["hourly"]["emissions_grams"] == pytest.approx(2 * (before * 0.0002 + after * 0.001))
    assert (told["carbon"]["zone"], told["carbon"]["pue"]) == ("GBR", 2.0)
    assert "By the hour (Carbon Intensity API, GB, direct):" in out
    assert "100.0 % in measured hours" in out
    assert notes == []
    assert len(api.asked) == 1
    assert "auth-token" not in api.asked[0].headers


def test_a_second_report_is_answered_from_the_cache(run: Path, serve: Serve, cache: Path, capsys: Captured) -> None:
    api = serve(GB, uk)
    first, *_ = report(run, "hourly=uk", capsys)
    asked = len(api.asked)
    assert asked == 1
    assert len([*cache.iterdir()]) == 1
    second, notes, _ = report(run, "hourly=uk", capsys)
    assert len(api.asked) == asked
    assert notes == []
    assert second["hourly"] == first["hourly"]
    assert second["hours"] == first["hours"]

    other = serve(GB, uk)  # what one address has answered is not what another one says
    report(run, "hourly=uk", capsys)
    assert len(other.asked) == 1


@pytest.mark.parametrize(
    ("answer", "note"),
    [
        pytest.param(Answer(status=401), "the token is missing, wrong", id="a wrong token"),
        pytest.param(Answer(status=429, headers={"Retry-After": "600"}), "asks to come back later", id="a limit"),
        pytest.param(Answer(b"<html>"), "no JSON", id="a page"),
        pytest.param(Answer({"history": [1], "data": [1], "forecast": [1]}), "can be read", id="garbage"),
    ],
)
def test_whatever_the_api_answers_the_report_is_written_and_says_why(
    run: Path, serve: Serve, capsys: Captured, answer: Answer, note: str
) -> None:
    api = serve(MAPS, lambda _: answer)
    told, notes, out = report(run, GERMANY, capsys)
    assert told["hourly"]["yearly_joules"] == pytest.approx(sum(each["joules"] for each in told["hours"]))
    assert told["hourly"]["emissions_grams"] == pytest.approx(told["totals"]["emissions_grams"])
    assert "100.0 % by the yearly mean" in out
    (only,) = notes
    assert only.startswith("energysweep: Electricity Maps, DE, lifecycle: ")
    assert note in only
    assert len(api.asked) == 1


def test_where_nobody_listens_the_report_is_written_and_says_so(run: Path, capsys: Captured) -> None:
    _, notes, out = report(run, "hourly=uk", capsys)
    assert "100.0 % by the yearly mean" in out
    assert notes == ["energysweep: Carbon Intensity API, GB, direct: 127.0.0.1 does not answer (ConnectionError)"]


@pytest.mark.parametrize(("token", "note"), [(None, "needs a token"), ("two\nlines", "is one line of printable ASCII")])
def test_without_a_token_nobody_is_asked(
    run: Path, serve: Serve, capsys: Captured, monkeypatch: pytest.MonkeyPatch, token: str | None, note: str
) -> None:
    if token is None:
        monkeypatch.delenv(TOKEN_VARIABLE)
    else:
        monkeypatch.setenv(TOKEN_VARIABLE, token)
    api = serve(MAPS, maps)
    _, notes, out = report(run, GERMANY, capsys)
    assert "100.0 % by the yearly mean" in out
    assert [note in each and TOKEN_VARIABLE in each for each in notes] == [True]
    assert api.asked == []


def test_without_a_home_answers_are_not_kept_and_the_report_says_so(
    run: Path, serve: Serve, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "~nobody-of-that-name/cache")
    api = serve(GB, uk)
    for _ in range(2):
        _, notes, out = report(run, "hourly=uk", capsys)
        assert "100.0 % in measured hours" in out
        assert [each.partition(": XDG_")[0] for each in notes] == [
            "energysweep: Carbon Intensity API, GB, direct: answers are not kept"
        ]
    assert len(api.asked) == 2


@pytest.mark.parametrize(
    ("carbon", "said"),
    [
        ("hourly=electricitymaps", "zone: is missing: hourly=electricitymaps needs Electricity Maps' own key"),
        (
            "hourly=electricitymaps,zone=Germany",
            "zone: 'Germany' is not Electricity Maps' own key of the zone, such as",
        ),
        ("hourly=electricitymaps,zone=DE,timezone=UTC", "timezone: hourly=electricitymaps takes only zone"),
        ("hourly=uk,zone=GB", "zone: hourly=uk takes neither zone"),
        ("hourly=uk,timezone=UTC", "timezone: hourly=uk takes neither zone"),
        ("hourly=UK", "hourly: 'UK' is neither a file here nor one of electricitymaps (with zone=) and uk"),
        ("hourly=a\0b", "hourly: a path cannot hold a null character"),
        ("hourly=uk,zone=", "zone: is empty"),
        ("hourly=uk,country=XXX", "country: 'XXX' is no ISO 3166 code"),
    ],
)
def test_a_wrong_wish_is_one_line_and_asks_nobody(
    run: Path, serve: Serve, capsys: Captured, carbon: str, said: str
) -> None:
    apis = serve(MAPS, maps), serve(GB, uk)
    assert main(["report", str(run), "--carbon", carbon]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"energysweep: {said}")
    assert [api.asked for api in apis] == [[], []]


@pytest.mark.parametrize("address", ["api.example.org", "ftp://example.org", "https://me:secret@example.org"])
def test_a_wrong_address_names_its_variable(
    run: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv(GB, address)
    assert main(["report", str(run), "--carbon", "hourly=uk"]) == 2
    assert f"energysweep: {GB}: " in capsys.readouterr().err


def test_without_an_address_of_one_s_own_it_is_the_api_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MAPS)
    monkeypatch.setenv(GB, "")
    german, british = source_of("electricitymaps", "DE"), source_of("uk")
    assert getattr(german.source, "base", None) == ELECTRICITYMAPS
    assert getattr(british.source, "base", None) == UK
    assert german.cache != british.cache


def test_a_file_with_the_name_of_an_api_is_asked_for_by_its_path(
    run: Path, serve: Serve, capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "uk").write_text(f"hour,grams_per_kwh\n{BEFORE},720\n{MIDNIGHT},720\n")
    api = serve(GB, uk)
    told, notes, _ = report(run, "hourly=./uk", capsys)
    assert (told["hourly"]["source"], notes, api.asked) == ("uk", [], [])


def test_nothing_else_asks_the_network(run: Path, serve: Serve, capsys: Captured, tmp_path: Path) -> None:
    apis = serve(MAPS, maps), serve(GB, uk)
    (tmp_path / "hours.csv").write_text(f"hour,grams_per_kwh\n{BEFORE},720\n")
    assert main(["report", str(run)]) == 0
    assert main(["report", str(run), "--carbon", f"hourly={tmp_path / 'hours.csv'}"]) == 0
    assert main(["account", str(run)]) == 0
    for command in (["compare", str(run)], ["explain", str(run)], ["export", str(run), "--format", "sci"]):
        assert main(command) in (0, 2)
        assert main([*command, "--carbon", "hourly=uk"]) == 2
        assert "hourly: unknown key" in capsys.readouterr().err
    assert [api.asked for api in apis] == [[], []]


def test_a_source_that_fails_has_no_grams_where_there_is_no_yearly_mean_either(run: Path) -> None:
    data = read_ledger(run / LEDGER)
    unknown = {**data.run, "carbon": None}
    found = summarise(type(data)(**{**vars(data), "run": unknown}), hours=NamedSource("it", ElectricityMaps("DE", "")))
    assert found.hourly is not None
    assert [(each.kind, each.grams) for each in found.hourly.hours] == [(None, None)] * 2
    assert found.hourly.emissions_grams is None
    assert len(found.hourly.notes) == 1


def test_nobody_is_asked_for_the_weeks_in_which_a_run_lay_still(tmp_path: Path) -> None:
    class Asked:
        def __init__(self) -> None:
            self.spans: list[tuple[int, int]] = []

        def hours(self, first: int, last: int) -> list[HourIntensity]:
            self.spans.append((first, last))
            return []

    with closing(Hosts(tmp_path, now=NOVEMBER_ENDS - 3)) as hosts:
        made = hosts.run("run", carbon=CARBON)
        made.begin()
        made.work("t0")
        hosts.wait(6)
        made.end("interrupted")
        hosts.seconds += 30 * 86400
        made.begin()
        made.work("t1")
        hosts.wait(2)
        made.end()
        asked = Asked()
        found = summarise(read_ledger(made.folder / LEDGER), hours=NamedSource("it", asked)).hourly
    assert found is not None
    later = MIDNIGHT + 30 * 86400
    assert asked.spans == [(BEFORE, MIDNIGHT), (later, later)]
    assert [each.hour for each in found.hours] == [BEFORE, MIDNIGHT, later]
