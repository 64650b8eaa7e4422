"""Publishing dashboards to a server that behaves like Grafana's."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from energysweep.cli import main
from energysweep.core.errors import EnergysweepError, InputError, SweepError
from energysweep.monitoring.grafana import Grafana, Published, publish
from tests.support.fake_grafana import EDITOR, TOKEN, VIEWER, Answer, FakeGrafana, slow


def of_version(version: str | None, panel: int) -> tuple[dict[str, Any], ...]:
    """Two dashboards as that version of energysweep would make them."""
    tags = ["energysweep"] if version is None else ["energysweep", f"energysweep-version:{version}"]
    return tuple(
        {"uid": f"energysweep-{name.lower()}", "title": name, "tags": tags, "panels": [{"id": panel}]} for name in "AB"
    )


DASHBOARDS = of_version("0.9.0", 1)
NEWER = of_version("0.10.0", 2)


@pytest.fixture
def server() -> Iterator[FakeGrafana]:
    fake = FakeGrafana()
    yield fake
    fake.stop()


def done(server: FakeGrafana, dashboards: Any = DASHBOARDS, token: str = TOKEN, **options: Any) -> dict[str, Published]:
    grafana = Grafana(server.url, token, timeout_seconds=options.pop("timeout_seconds", 15))
    return {each.what: each for each in publish(grafana, dashboards, **options)}


def test_the_first_time_makes_folder_data_source_and_dashboards(server: FakeGrafana) -> None:
    result = done(server, prometheus_url="http://prometheus:9090")
    assert [each.done for each in result.values()] == ["created"] * 4
    assert server.folders == {"energysweep": "energysweep"}
    assert [(each["type"], each["url"]) for each in server.data_sources] == [("prometheus", "http://prometheus:9090")]
    assert set(server.dashboards) == {"energysweep-a", "energysweep-b"}
    assert {each["folderUid"] for each in server.dashboards.values()} == {"energysweep"}


def test_publishing_twice_changes_nothing(server: FakeGrafana) -> None:
    done(server, prometheus_url="http://prometheus:9090")
    server.writes.clear()
    result = done(server, prometheus_url="http://prometheus:9090")
    assert {each.done for each in result.values()} == {"unchanged"}
    assert server.writes == []


def test_an_upgrade_replaces_what_nobody_has_changed(server: FakeGrafana) -> None:
    done(server)
    result = done(server, NEWER)
    assert (result["dashboard A"].done, result["dashboard B"].done) == ("updated", "updated")
    assert server.dashboards["energysweep-a"]["dashboard"]["panels"] == [{"id": 2}]
    assert len(server.dashboards["energysweep-a"]["messages"]) == 2


@pytest.mark.parametrize(
    ("there", "ours", "expected"),
    [
        ("0.9.0", "0.10.0", "updated"),
        ("0.10.0", "0.9.0", "kept"),
        ("0.10.0", "0.10.0", "updated"),
        ("1.0.0rc1", "1.0.0", "updated"),
        ("1.0.0", "1.0.0rc1", "kept"),
        ("1.0.0", "1.0.0.dev3", "kept"),
        (None, "0.9.0", "updated"),
        ("0.10.0", None, "updated"),
        ("latest", "0.9.0", "updated"),
    ],
)
def test_an_older_version_does_not_replace_a_newer_one_s_unless_asked_to(
    server: FakeGrafana, there: str | None, ours: str | None, expected: str
) -> None:
    done(server, of_version(there, 1))
    result = done(server, of_version(ours, 2))["dashboard A"]
    assert result.done == expected
    if expected == "kept":
        assert result.why == f"it is of energysweep {there}, newer than this one; --replace puts the older one there"
        assert server.dashboards["energysweep-a"]["dashboard"]["panels"] == [{"id": 1}]
        assert done(server, of_version(ours, 2), replace=True)["dashboard A"].done == "updated"
    assert server.dashboards["energysweep-a"]["dashboard"]["panels"] == [{"id": 2}]


def test_a_newer_dashboard_that_a_person_has_changed_is_told_of_as_newer(server: FakeGrafana) -> None:
    done(server, NEWER)
    server.save_as_a_person("energysweep-a", title="A, but mine")
    result = done(server, DASHBOARDS)["dashboard A"]
    assert (result.done, "newer than this one" in result.why) == ("kept", True)
    assert server.dashboards["energysweep-a"]["dashboard"]["title"] == "A, but mine"


def test_an_upgrade_keeps_a_person_s_changes(server: FakeGrafana) -> None:
    done(server)
    server.save_as_a_person("energysweep-a", title="A, but mine")
    result = done(server, NEWER)
    assert result["dashboard A"].done == "kept"
    assert "--replace" in result["dashboard A"].why
    assert result["dashboard B"].done == "updated"
    assert server.dashboards["energysweep-a"]["dashboard"]["title"] == "A, but mine"


def test_a_person_s_changes_are_overwritten_if_asked_for(server: FakeGrafana) -> None:
    done(server)
    server.save_as_a_person("energysweep-a", title="A, but mine")
    assert done(server, NEWER, replace=True)["dashboard A"].done == "updated"
    assert server.dashboards["energysweep-a"]["dashboard"]["title"] == "A"
    assert len(server.dashboards["energysweep-a"]["messages"]) == 3  # and its history has the person's


def test_a_dashboard_that_was_moved_to_another_folder_stays_there(server: FakeGrafana) -> None:
    done(server)
    server.folders["team"] = "Team"
    server.dashboards["energysweep-a"]["folderUid"] = "team"
    assert done(server, NEWER)["dashboard A"].done == "updated"
    assert server.dashboards["energysweep-a"]["folderUid"] == "team"


@pytest.mark.parametrize("replace", [False, True])
def test_a_dashboard_of_somebody_else_is_never_touched(server: FakeGrafana, replace: bool) -> None:
    done(server, DASHBOARDS[1:])
    other = {"uid": "energysweep-a", "title": "Other", "tags": ["finance"], "version": 1}
    kept = {"dashboard": other, "folderUid": "energysweep", "provisioned": False, "messages": [""]}
    server.dashboards["energysweep-a"] = kept
    result = done(server, replace=replace)
    assert result["dashboard A"].done == "not published"
    assert "another dashboard has the uid energysweep-a" in result["dashboard A"].why
    assert server.dashboards["energysweep-a"]["dashboard"] == other


def test_a_provisioned_dashboard_is_left_to_its_file(server: FakeGrafana) -> None:
    done(server)
    server.dashboards["energysweep-a"]["provisioned"] = True
    result = done(server, NEWER)
    assert (result["dashboard A"].done, result["dashboard B"].done) == ("not published", "updated")
    assert "dashboards export" in result["dashboard A"].why


def test_somebody_who_saves_at_the_same_moment_wins(server: FakeGrafana) -> None:
    done(server)

    def faster() -> None:
        server.before_save = lambda: None
        server.save_as_a_person("energysweep-a", title="faster")

    server.before_save = faster
    result = done(server, NEWER)
    assert result["dashboard A"].done == "not published"
    assert "412" in result["dashboard A"].why
    assert server.dashboards["energysweep-a"]["dashboard"]["title"] == "faster"
    assert result["dashboard B"].done == "updated"


def test_a_folder_that_somebody_makes_at_the_same_moment_is_used(server: FakeGrafana) -> None:
    def fault(method: str, path: str) -> Answer | None:
        if method == "POST" and path == "/api/folders":
            server.folders["energysweep"] = "energysweep"
        return None

    server.fault = fault
    result = done(server)
    assert result["folder energysweep"].done == "unchanged"
    assert result["dashboard A"].done == "created"


def test_a_folder_s_name_may_be_taken(server: FakeGrafana) -> None:
    server.folders["x1"] = "energysweep"
    with pytest.raises(SweepError, match=r"another folder called 'energysweep'.*--folder"):
        done(server)
    assert done(server, folder_uid="x1")["dashboard A"].done == "created"


def test_a_data_source_is_only_made_where_none_is(server: FakeGrafana) -> None:
    server.data_sources = [{"uid": "p", "name": "Mimir", "type": "prometheus"}]
    result = done(server, prometheus_url="http://prometheus:9090")
    assert result["data source Prometheus"].done == "unchanged"
    assert len(server.data_sources) == 1


def test_a_data_source_s_name_does_nothing_to_a_terminal(server: FakeGrafana) -> None:
    server.data_sources = [{"uid": "p", "name": "Mi\x1b[2Jmir\nall is well", "type": "prometheus"}]
    assert done(server)["data source Prometheus"].why == "the server has Mi[2Jmir all is well"


def test_without_an_address_a_missing_data_source_is_told(server: FakeGrafana) -> None:
    result = done(server)
    assert result["data source Prometheus"] == Published(
        "data source Prometheus", "kept", "the server has none; make one, or say where it is: --prometheus URL"
    )


def test_an_editor_may_publish_and_is_told_that_it_may_not_make_data_sources(server: FakeGrafana) -> None:
    result = done(server, token=EDITOR, prometheus_url="http://prometheus:9090")
    assert result["dashboard A"].done == "created"
    assert result["data source Prometheus"].done == "not published"
    assert "an administrator has to" in result["data source Prometheus"].why
    assert done(server, token=EDITOR)["data source Prometheus"].done == "kept"  # nobody has asked for one


def test_a_server_below_a_path_is_found(server: FakeGrafana) -> None:
    server.prefix = "/grafana"
    assert done(server)["dashboard A"].done == "created"


def _always(status: int, body: Any) -> Callable[[str, str], Answer | None]:
    return lambda _method, _path: (status, body)


def _on_save(status: int, body: Any) -> Callable[[str, str], Answer | None]:
    return lambda method, path: (status, body) if (method, path) == ("POST", "/api/dashboards/db") else None


@pytest.mark.parametrize(
    ("token", "version", "fault", "kind", "fragment"),
    [
        ("wrong", "12.1.0", None, InputError, "does not know this token (401)"),
        (VIEWER, "12.1.0", None, SweepError, "403 to POST /api/folders"),
        (TOKEN, "10.4.2", None, InputError, "is Grafana 10.4.2; the dashboards need 11.1 or newer"),
        (TOKEN, "11.0.11", None, InputError, "is Grafana 11.0.11; the dashboards need 11.1 or newer, for their XY"),
        (TOKEN, "11.0.0-pre", None, InputError, "is Grafana 11.0.0-pre; the dashboards need 11.1 or newer"),
        (TOKEN, "v11", None, InputError, "is no Grafana server"),
        (TOKEN, "12.1.0", _always(500, {"message": "disk full"}), SweepError, "500 to GET /api/health: disk full"),
        (TOKEN, "12.1.0", _always(502, "<html>no message from upstream</html>"), SweepError, "502 to GET /api/health"),
        (TOKEN, "12.1.0", _always(200, "<html>hello</html>"), InputError, "is no Grafana server"),
        (TOKEN, "12.1.0", _always(200, {"hello": 1}), InputError, "is no Grafana server"),
        (TOKEN, "12.1.0", _always(302, "http://127.0.0.1:1/login"), InputError, "redirects to http://127.0.0.1:1/login"),
        (TOKEN, "12.1.0", _on_save(503, {"message": "locked"}), SweepError, "503 to POST /api/dashboards/db: locked"),
        (TOKEN, "12.1.0", _on_save(302, "/login"), InputError, "redirects to /login"),
        (TOKEN, "12.1.0", _always(302, "/\x1b[2J"), InputError, "redirects to /[2J; give"),
        (TOKEN, "12.1.0", _always(302, "/\xff"), InputError, "redirects to /\xff; give"),
        (TOKEN, "12.1.0", _always(500, {"message": "a\x1b[2J\n\nb"}), SweepError, "500 to GET /api/health: a[2J b"),
        (TOKEN, "12.1.0", _on_save(400, {"message": "bad model"}), SweepError, "400 to POST /api/dashboards/db"),
        (TOKEN, "12.1.0", slow(1.5), SweepError, "did not answer in time"),
    ],
    ids=[
        "bad token", "no rights", "too old", "11.0", "11.0 before it is out", "odd version",
        "5xx", "5xx in HTML", "no Grafana", "another JSON", "redirect",
        "5xx on save", "redirect on save", "redirect with an escape", "redirect in Latin", "5xx with an escape",
        "400 on save", "time-out",
    ],
)  # fmt: skip
def test_what_goes_wrong_is_told_in_one_sentence(
    server: FakeGrafana, token: str, version: str, fault: Any, kind: type[EnergysweepError], fragment: str
) -> None:
    server.version = version
    if fault is not None:
        server.fault = fault
    patience_seconds = 0.5 if fragment == "did not answer in time" else 15
    with pytest.raises(kind) as raised:
        done(server, token=token, timeout_seconds=patience_seconds)
    assert fragment in str(raised.value)
    assert str(raised.value).isprintable()
    assert TOKEN not in str(raised.value)


@pytest.mark.parametrize("version", ["11.1.0", "11.10.2", "12.0.0-beta1", "12.2.0-17142428006", "13.0.1", "13"])
def test_every_version_from_11_1_on_is_taken(server: FakeGrafana, version: str) -> None:
    server.version = version
    assert Grafana(server.url, TOKEN).version() == version


def test_a_server_that_is_not_there_is_told() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(SweepError, match=r"cannot be reached: .*Connection refused$"):
        list(publish(Grafana(url, TOKEN), DASHBOARDS))


@pytest.mark.parametrize(
    ("url", "token", "fragment"),
    [
        ("grafana.example.org", TOKEN, "is no web address"),
        ("ftp://grafana.example.org", TOKEN, "is no web address"),
        ("https://me:secret@grafana.example.org", TOKEN, "leave user and password out"),
        ("https://grafana.example.org", "", "give the token"),
        ("https://grafana.example.org", "a\nb", "give the token"),
    ],
)
def test_a_wrong_address_or_token_is_told_before_anything_is_sent(url: str, token: str, fragment: str) -> None:
    with pytest.raises(InputError, match=fragment) as raised:
        Grafana(url, token)
    assert "secret" not in str(raised.value)


def test_the_command_line_publishes_our_dashboards_and_says_what_it_did(
    server: FakeGrafana, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["dashboards", "publish", "--url", server.url, "--token", TOKEN]
    assert main([*arguments, "--prometheus", "http://prometheus:9090"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "created: folder energysweep"
    assert said[1] == "created: data source Prometheus (http://prometheus:9090)"
    assert len(said) == 6
    assert set(server.dashboards) == {f"energysweep-{name}" for name in ("sweep", "configurations", "nodes", "account")}
    server.writes.clear()
    assert main(arguments) == 0
    assert {line.split(":")[0] for line in capsys.readouterr().out.splitlines()} == {"unchanged"}
    assert server.writes == []


def test_the_command_line_tells_a_wrong_token_in_one_line(
    server: FakeGrafana, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFANA_TOKEN", "wrong")
    assert main(["dashboards", "publish", "--url", server.url]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "energysweep: --token: Grafana does not know this token (401): it is wrong, or it has expired\n"


def _told(server: FakeGrafana, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str, str]:
    code = main(["dashboards", "publish", "--url", server.url, "--token", TOKEN, *options])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_exit_status_is_1_if_another_dashboard_has_the_uid(
    server: FakeGrafana, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _told(server, capsys)[0] == 0
    server.dashboards["energysweep-sweep"]["dashboard"]["tags"] = ["finance"]
    server.dashboards["energysweep-nodes"]["provisioned"] = True
    code, out, err = _told(server, capsys)
    assert code == 1
    assert "not published: dashboard energysweep / Sweep (another dashboard has the uid energysweep-sweep" in out
    assert "unchanged: dashboard energysweep / Configurations\n" in out
    assert err == (
        "energysweep: not published: dashboard energysweep / Sweep, dashboard energysweep / Nodes;"
        " the lines above say why\n"
    )


def test_the_exit_status_is_1_if_every_dashboard_is_saved_by_somebody_else(
    server: FakeGrafana, capsys: pytest.CaptureFixture[str]
) -> None:
    server.fault = _on_save(412, {"message": "changed by someone else"})
    code, out, _ = _told(server, capsys)
    assert code == 1
    assert out.count("not published: dashboard ") == 4
    assert server.dashboards == {}


def test_the_exit_status_is_0_if_a_person_s_change_is_kept(
    server: FakeGrafana, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _told(server, capsys)[0] == 0
    for uid in server.dashboards:
        server.save_as_a_person(uid, description="mine")
    code, out, err = _told(server, capsys)
    assert (code, err) == (0, "")
    assert out.count("kept: dashboard ") == 4


def test_the_exit_status_is_0_if_a_newer_dashboard_is_kept(
    server: FakeGrafana, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _told(server, capsys)[0] == 0
    mark = "energysweep dashboards publish 999.1 [0123456789ab]"
    server.dashboards["energysweep-sweep"]["messages"][-1] = mark
    server.dashboards["energysweep-sweep"]["dashboard"]["tags"] = ["energysweep", "energysweep-version:999.1"]
    code, out, err = _told(server, capsys)
    assert (code, err) == (0, "")
    kept = [line for line in out.splitlines() if line.startswith("kept: dashboard ")]
    assert kept == [
        "kept: dashboard energysweep / Sweep (it is of energysweep 999.1, newer than this one;"
        " --replace puts the older one there)"
    ]


def test_the_exit_status_is_1_if_the_data_source_that_was_asked_for_is_missing(
    server: FakeGrafana, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = _told(server, capsys, "--token", EDITOR, "--prometheus", "http://prometheus:9090")
    assert code == 1
    assert err == "energysweep: not published: data source Prometheus; the lines above say why\n"
    assert len(server.dashboards) == 4
