"""What people hand in."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from energysweep.cli import main
from energysweep.core.errors import InputError
from energysweep.core.inputs import checked_path, host_and_port, is_host, read_text, seconds
from energysweep.meters.replay import load_trace


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a\0b", "a path cannot hold a null character"),
        ("\ud800", "a path cannot hold half of a character"),
        ("~nobody-here/x", "there is no user nobody-here here"),
        ("x" * 256, "the path is too long: at most 4095 bytes, and 255 between two slashes"),
        ("é" * 128, "the path is too long: at most 4095 bytes, and 255 between two slashes"),
        ("x/" * 2049, "the path is too long: at most 4095 bytes, and 255 between two slashes"),
    ],
)
def test_a_path_that_no_file_can_have_is_told(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        checked_path(text)


def test_a_home_folder_is_spelled_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert checked_path("~/a") == Path("/home/me/a")
    assert checked_path("x" * 255) == Path("x" * 255)
    assert os.fsencode(checked_path("b\udcff")) == b"b\xff"  # a name that is no text is one, too


@pytest.mark.parametrize(("text", "value"), [("0", 0.0), ("1.5", 1.5), ("1e9", 1e9)])
def test_a_duration(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "1e10", "1e999", "soon", "", "9" * 5000, "\x1b[2J"])
def test_what_is_no_duration_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="is no number of seconds from 0 to 1e\\+09") as caught:
        seconds(text)
    assert len(str(caught.value)) < 200
    assert str(caught.value).isprintable()


def test_a_socket_and_a_file_that_nobody_may_read_are_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        with pytest.raises(InputError, match="cannot be read: it is a socket"):
            read_text(tmp_path / "s", 10, "a text")
    (tmp_path / "long").write_text("x" * 11)
    with pytest.raises(InputError, match="is larger than 10 bytes; that is not a text"):
        read_text(tmp_path / "long", 10, "a text")


@pytest.mark.parametrize(
    "content",
    [
        b"time_seconds,device,component,energy_joules\n0,a,cpu,1e999\n",
        b"time_seconds,device,component,energy_joules\n1e300,a,cpu,1\n",
        b"time_seconds,device,component,power_watts\n0,a,cpu," + b"9" * 5000 + b"\n",
        b"time_seconds,device,component,energy_joules\n0,a,cpu,\x00\n",
        b'time_seconds,device,component,energy_joules\n0,"' + b"a" * 200_000 + b'",cpu,1\n',
        b"\xff\xfet\x00i\x00",
        b"\x1b[2J,a\n",
        b",," * 100_000,
    ],
)
def test_a_nonsensical_trace_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_trace(tmp_path / "trace.csv")
    assert str(caught.value).startswith(str(tmp_path / "trace.csv"))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 3000


def test_a_trace_that_is_a_device_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="/dev/zero: the trace cannot be read: is a pipe or a device, not a trace"):
        load_trace(Path("/dev/zero"))


@pytest.mark.parametrize(
    ("variable", "text", "problem"),
    [
        ("ENERGYSWEEP_STATE", "~nobody-here/x", "ENERGYSWEEP_STATE: there is no user nobody-here here"),
        ("ENERGYSWEEP_SOCKET", "~nobody-here/x", "ENERGYSWEEP_SOCKET: there is no user nobody-here here"),
        ("ENERGYSWEEP_SOCKET", "x" * 300, "ENERGYSWEEP_SOCKET: the path is too long"),
        ("ENERGYSWEEP_SOCKET", "/tmp/" + "x" * 120, "is too long for a socket: at most 107 bytes"),
        ("ENERGYSWEEP_SERIES_SECONDS", "9" * 5000, "is no number of seconds"),
        ("ENERGYSWEEP_SERIES_SECONDS", "1e300", "is no number of seconds"),
        ("ENERGYSWEEP_ADVERTISE", "\x1b[2J", "is no address"),
        ("ENERGYSWEEP_ADVERTISE", "a..b", "is no address"),
        ("ENERGYSWEEP_PEERS", "a..b:9770", "ENERGYSWEEP_PEERS: 'a..b:9770' is no address: HOST:PORT"),
        ("ENERGYSWEEP_HOST", "a/b", "ENERGYSWEEP_HOST: 'a/b' cannot name a host: at most 200 bytes"),
        ("ENERGYSWEEP_HOST", "é" * 101, "cannot name a host: at most 200 bytes"),
        ("ENERGYSWEEP_HOST", "a\x1b[2J", "ENERGYSWEEP_HOST: 'a[2J' cannot name a host"),
        ("ENERGYSWEEP_HOST", "a\udcff", "ENERGYSWEEP_HOST: 'a' cannot name a host"),
        ("ENERGYSWEEP_NODE", "x" * 201, "cannot name a host: at most 200 bytes"),
    ],
)
def test_a_nonsensical_variable_is_one_line_and_exit_code_2(
    variable: str,
    text: str,
    problem: str,
    agent_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(variable, text)
    try:
        code = main(["agent", "--meter", "estimate", "--port", "0", "--linger", "1"])
    except SystemExit as end:
        code = end.code  # type: ignore[assignment]
    err = capsys.readouterr().err
    assert code == 2, err
    assert problem in err
    assert len(err.splitlines()) == 1
    assert err.rstrip("\n").isprintable()


@pytest.mark.parametrize(
    "arguments",
    [
        *(["agent", "--port", port] for port in ("99999999999", "-1", "\u00b2", "\u0663", "9" * 5000, "0x1", "")),
        *(["run", "s.yaml", "--metrics-port", port] for port in ("65536", "1e3", "9" * 5000)),
        *(["agent", "--linger", number] for number in ("1e300", "nan", "-1", "soon", "9" * 5000)),
        *(["report", folder] for folder in ("a\0b", "~nobody-here/x", "x" * 300, "x/" * 3000, "/dev/null", "/nowhere")),
        *(["explain", folder, "t"] for folder in ("a\0b", "x" * 300)),
        *(
            ["compare", "x" * 300],
            ["compare", "/nowhere", "--html", "x" * 300],
            ["resume", "x" * 300],
            ["resume", "/nowhere"],
        ),
        *(["submit", "x" * 300, "--address", "http://127.0.0.1:1"], ["validate", "/dev/zero"], ["validate", "\x1b[2J"]),
        *(
            ["dashboards", "export", "a\0b"],
            ["doctor", "--meter", "replay:/dev/zero"],
            ["doctor", "--meter", "\x1b[2J"],
        ),
        *(["--no-such\x1b[2J"], ["no-such-command\x1b[2J"], ["agent", "--advertise", "\x1b[2J"]),
        *(["agent", option, name] for option in ("--bind", "--advertise") for name in ("a..b", "x" * 64)),
    ],
)
def test_a_nonsensical_argument_is_one_line_and_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(arguments)
    except SystemExit as end:  # argparse's way out
        code = end.code  # type: ignore[assignment]
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert err.rstrip("\n").isprintable()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("agents.energysweep:9770", ("agents.energysweep", 9770)),
        ("agent_1:1", ("agent_1", 1)),
        ("[fd00::7]:9771", ("fd00::7", 9771)),
        ("münchen.example.:65535", ("münchen.example.", 65535)),
    ],
)
def test_an_address_with_a_port(text: str, parts: tuple[str, int]) -> None:
    assert host_and_port(text, "WHERE") == parts
    assert is_host(parts[0])


@pytest.mark.parametrize(
    "text",
    [
        *("", "agent", "agent:", "agent:port", "agent:0", "agent:65536", ":9771", "http://agent:9771", "a@agent:9771"),
        *(
            "a..b:9771",
            ".agent:9771",
            f"{'x' * 64}:9771",
            "é" * 60 + ":1",
            "a b:9771",
            "a\n:9771",
            "a\0b:1",
            "\udcff:1",
        ),
        *("[fd00::7:9771", "a:1/b", "\x1b[2J:1", "a:9771:9771"),
    ],
)
def test_what_no_host_can_be_named_is_one_line(text: str) -> None:
    with pytest.raises(InputError, match=r"^WHERE: .* is no address: HOST:PORT, such as ") as refused:
        host_and_port(text, "WHERE")
    assert str(refused.value).isprintable()
