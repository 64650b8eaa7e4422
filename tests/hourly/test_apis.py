"""Both APIs by stand-ins on loopback: what they answer when all is well, and every way in which it is not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from energysweep.core.carbon import resolve
from energysweep.hourly.apis import TOKEN_VARIABLE, CarbonIntensityUk, ElectricityMaps
from energysweep.hourly.grid import GridByTheHour
from energysweep.hourly.hours import HourIntensity, Source
from energysweep.hourly.web import MOST_BYTES, Later, SourceError, Web
from tests.support.grid_api import Answer, Clock, GridApi, Request

NOON = int(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp())
SECRET = "s3cr3t-token"  # noqa: S105


def iso(time: int) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat().replace("+00:00", ".000Z")


def maps_hour(time: int, grams: Any, *, estimated: bool = False) -> dict[str, Any]:
    return {
        "zone": "DE",
        "carbonIntensity": grams,
        "datetime": iso(time),
        "updatedAt": iso(NOON),
        "emissionFactorType": "lifecycle",
        "isEstimated": estimated,
        "estimationMethod": None,
    }


def uk_half(time: int, actual: int | None, forecast: int | None = 200) -> dict[str, Any]:
    minutes = datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%MZ")
    return {"from": minutes, "to": minutes, "intensity": {"forecast": forecast, "actual": actual, "index": "low"}}


def maps(api: GridApi, clock: Clock, token: str | None = SECRET) -> ElectricityMaps:
    return ElectricityMaps("DE", token, Web(clock, clock.sleep), clock, api.url)


def told(found: list[HourIntensity]) -> list[tuple[int, float, str]]:
    return [((each.hour - NOON) // 3600, each.grams_per_kwh, each.kind) for each in found]


# When all is well -----------------------------------------------------------------------------------------------------


def test_electricity_maps_gives_the_last_day_and_the_hours_to_come() -> None:
    def answers(request: Request) -> Answer:
        assert request.headers["auth-token"] == SECRET
        assert request.query == {"zone": ["DE"]}
        if request.path.endswith("/history"):
            hours = [maps_hour(NOON - 3600, 300), maps_hour(NOON, 320, estimated=True)]
            return Answer({"zone": "DE", "history": hours})
        hours = [{"carbonIntensity": 280, "datetime": iso(NOON + 3600)}]
        return Answer({"zone": "DE", "forecast": hours, "updatedAt": iso(NOON)})

    clock = Clock(NOON + 60)
    with GridApi(answers) as api:
        found = list(maps(api, clock).hours(NOON - 3600, NOON + 3600))
    assert told(found) == [(-1, 300.0, "measured"), (0, 320.0, "forecast"), (1, 280.0, "forecast")]
    assert [request.path for request in api.asked] == ["/carbon-intensity/history", "/carbon-intensity/forecast"]
    assert clock.slept == [1.0]  # two requests are a second apart
    assert {each.fetched_at for each in found} == {NOON + 60, NOON + 61}


def test_electricity_maps_is_asked_for_older_hours_in_spans_of_ten_days() -> None:
    first, last = NOON - 25 * 86400, NOON - 3 * 86400

    def answers(request: Request) -> Answer:
        begin = datetime.fromisoformat(request.query["start"][0]).timestamp()
        end = datetime.fromisoformat(request.query["end"][0]).timestamp()
        assert 0 < end - begin <= 10 * 86400
        hours = [maps_hour(time, 100) for time in range(int(begin), int(end), 3600)]
        return Answer({"zone": "DE", "data": hours})

    clock = Clock(NOON)
    with GridApi(answers) as api:
        found = list(maps(api, clock).hours(first, last))
    assert [each.hour for each in found] == list(range(first, last + 1, 3600))
    assert len(api.asked) == 3


def test_great_britain_s_half_hours_make_an_hour() -> None:
    halves = [
        uk_half(NOON - 1800, 5),  # the half before, which the API gives, too
        uk_half(NOON, 100),
        uk_half(NOON + 1800, 110),
        uk_half(NOON + 3600, 120),
        uk_half(NOON + 5400, None, 140),
        uk_half(NOON + 7200, 99),  # its other half is missing
    ]
    with GridApi(lambda _: Answer({"data": halves})) as api:
        clock = Clock(NOON)
        source = CarbonIntensityUk(Web(clock, clock.sleep), clock, api.url)
        found = list(source.hours(NOON, NOON + 7200))
    assert told(found) == [(0, 105.0, "measured"), (1, 130.0, "forecast")]
    assert [request.path for request in api.asked] == ["/intensity/2026-03-01T12:00Z/2026-03-01T15:00Z"]


# When it is not -------------------------------------------------------------------------------------------------------

GOOD = {"zone": "DE", "history": [maps_hour(NOON, 300)]}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        pytest.param(Answer(status=500), "has a problem (status 500)", id="an error"),
        pytest.param(Answer(status=401), "the token is missing, wrong", id="a wrong token"),
        pytest.param(Answer(status=403), "not for this zone", id="another zone's token"),
        pytest.param(Answer(status=404), "refuses (status 404)", id="no such zone"),
        pytest.param(Answer(status=429), "asked too often", id="a limit without Retry-After"),
        pytest.param(Answer(status=429, headers={"Retry-After": "600"}), "come back later", id="a limit"),
        pytest.param(Answer(status=503, headers={"Retry-After": "600"}), "come back later", id="maintenance"),
        pytest.param(Answer(status=429, headers={"Retry-After": "soon"}), "asked too often", id="a limit of garbage"),
        pytest.param(Answer(status=302, headers={"Location": "/other"}), "which is not followed", id="a redirect"),
        pytest.param(Answer(b"<html>"), "no JSON", id="a page"),
        pytest.param(Answer(b"[" * 100_000), "no JSON", id="a deep answer"),
        pytest.param(Answer(b"\xff\xfe\x00"), "no JSON", id="bytes"),
        pytest.param(Answer([1, 2]), "no list of hours", id="another shape"),
        pytest.param(Answer({"history": {"a": 1}}), "no list of hours", id="another shape inside"),
        pytest.param(Answer({"history": [None, 1, {}]}), "no hour of the answer", id="garbage alone"),
        pytest.param(Answer({"history": [maps_hour(NOON, "300")]}), "no hour of the answer", id="a text for a number"),
        pytest.param(Answer({"history": [maps_hour(NOON, -1)]}), "no hour of the answer", id="less than nothing"),
        pytest.param(
            Answer(b'{"history": [{"datetime": "2026-03-01T12:00Z", "carbonIntensity": NaN}]}'),
            "no hour of the answer",
            id="no number",
        ),
        pytest.param(Answer(b" " * (MOST_BYTES + 1)), "more than", id="a huge answer"),
        pytest.param(Answer(b"{", cut_off=True), "does not answer", id="an answer cut off"),
    ],
)
def test_whatever_an_api_answers_the_hour_has_its_yearly_mean_and_a_note(answer: Answer, message: str) -> None:
    yearly = resolve(grams_per_kwh=380)
    clock = Clock(NOON + 60)
    with GridApi(lambda _: answer) as api:
        grid = GridByTheHour(maps(api, clock), yearly, clock=clock)
        (found,) = grid.between(NOON, NOON)
        asked = len(api.asked)
        again = grid.between(NOON, NOON)
    assert (found.grams_per_kwh, found.kind, found.fetched_at) == (380.0, "yearly", None)
    assert message in " ".join(grid.notes)
    assert SECRET not in " ".join(grid.notes)
    assert len(api.asked) == asked <= 2  # at once it is not asked again
    assert again == [found]
    assert sum(clock.slept) <= 2


@pytest.mark.parametrize("error", [requests.ConnectTimeout, requests.ReadTimeout, requests.ConnectionError, OSError])
def test_an_api_that_does_not_answer_is_tried_once_more(error: type[Exception]) -> None:
    tries = []

    def get(*_: object, **options: Any) -> requests.Response:
        tries.append(options["timeout"])
        raise error("deep inside")

    clock = Clock(NOON)
    grid = GridByTheHour(ElectricityMaps("DE", SECRET, Web(clock, clock.sleep, get), clock), resolve(), clock=clock)
    assert grid.between(NOON, NOON)[0].kind == "yearly"
    assert tries == [(5.0, 15.0)] * 2
    assert "does not answer" in grid.notes[0]
    assert "deep inside" not in grid.notes[0]


def test_an_answer_that_drips_is_given_up() -> None:
    clock = Clock(NOON)

    def get(*given: Any, timeout: tuple[float, float], **options: Any) -> requests.Response:
        answer = requests.get(*given, timeout=timeout, **options)
        pieces = answer.iter_content(1)

        def one_by_one(_: int) -> Iterator[bytes]:
            for piece in pieces:
                clock.now += 1
                yield piece

        answer.iter_content = one_by_one  # type: ignore[assignment, method-assign]
        return answer

    web = Web(clock, clock.sleep, get)
    with GridApi(lambda _: Answer(GOOD)) as api, pytest.raises(SourceError, match="takes too long"):
        web.json(api.url)


def test_a_short_retry_after_is_waited_for_and_a_long_one_is_kept_without_waiting() -> None:
    script = [Answer(status=429, headers={"Retry-After": "3"}), Answer(GOOD)]
    clock = Clock(NOON)
    with GridApi(lambda _: script.pop(0)) as api:
        web = Web(clock, clock.sleep)
        assert web.json(api.url) == GOOD
        assert clock.slept == [3.0]

        script[:] = [Answer(status=429, headers={"Retry-After": "1800"}), Answer(GOOD)]
        clock.now += 60
        with pytest.raises(Later) as caught:
            web.json(api.url)
        assert caught.value.not_before == clock.now + 1800
        asked = len(api.asked)
        clock.now += 1799
        with pytest.raises(Later):
            web.json(api.url)
        assert len(api.asked) == asked
        clock.now += 1
        assert web.json(api.url) == GOOD


def test_a_retry_after_may_be_a_date_and_is_never_kept_for_longer_than_an_hour() -> None:
    clock = Clock(NOON)
    said = iter(["Sun, 01 Mar 2026 12:20:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "9" * 400])
    with GridApi(lambda _: Answer(status=503, headers={"Retry-After": next(said)})) as api:
        for seconds in (1200, 3600, 3600):
            web = Web(clock, clock.sleep)
            with pytest.raises(Later) as caught:
                web.json(api.url)
            assert caught.value.not_before == pytest.approx(clock.now + seconds)


def test_pauses_double_and_end_with_the_first_good_answer() -> None:
    clock, pauses = Clock(NOON), []
    bad = True
    with GridApi(lambda _: Answer(status=404) if bad else Answer(GOOD)) as api:
        web = Web(clock, clock.sleep)
        for _ in range(8):
            with pytest.raises(Later):
                web.json(api.url)
            pauses.append(web.not_before - clock.now)
            clock.now = web.not_before
        bad = False
        assert web.json(api.url) == GOOD
        bad = True
        clock.now += 10
        with pytest.raises(Later):
            web.json(api.url)
    assert pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert web.not_before - clock.now == 60


def test_a_clock_that_was_put_back_does_not_wait_for_ever() -> None:
    clock = Clock(NOON)
    web = Web(clock, clock.sleep, not_before=NOON + 1e9)
    with GridApi(lambda _: Answer(GOOD)) as api:
        assert web.json(api.url) == GOOD


def test_without_a_token_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    clock = Clock(NOON)
    with GridApi(lambda _: Answer(GOOD)) as api:
        grid = GridByTheHour(maps(api, clock, None), resolve(), clock=clock)
        assert grid.between(NOON, NOON)[0].kind == "yearly"
        assert api.asked == []
        assert grid.notes == [f"Electricity Maps needs a token, in the environment variable {TOKEN_VARIABLE}"]
        monkeypatch.setenv(TOKEN_VARIABLE, SECRET)
        clock.now += 61
        grid.between(NOON, NOON)
        assert api.asked[0].headers["auth-token"] == SECRET


def test_a_token_is_in_no_text_of_its_source() -> None:
    source: Source = ElectricityMaps("DE", SECRET)
    assert SECRET not in repr(source)


def test_what_came_before_an_error_is_kept() -> None:
    def answers(request: Request) -> Answer:
        return Answer(GOOD) if request.path.endswith("/history") else Answer(status=403)

    clock = Clock(NOON)
    with GridApi(answers) as api:
        grid = GridByTheHour(maps(api, clock), resolve(grams_per_kwh=380), clock=clock)
        found = grid.between(NOON, NOON + 3600)
    assert told(found) == [(0, 300.0, "measured"), (1, 380.0, "yearly")]
    assert "status 403" in grid.notes[0]


def test_garbage_between_good_hours_is_left_out() -> None:
    hours = [{"datetime": "never"}, maps_hour(NOON - 3600, None), maps_hour(NOON, 300), maps_hour(NOON, 1e30)]
    with GridApi(lambda _: Answer({"history": hours})) as api:
        clock = Clock(NOON + 3600)
        assert told(list(maps(api, clock).hours(NOON - 3600, NOON))) == [(0, 300.0, "measured")]
