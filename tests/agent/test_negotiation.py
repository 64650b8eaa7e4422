from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.agent.exporter import OPENMETRICS, TEXT, content_type, takes_gzip

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,"


@pytest.mark.parametrize("accept", [PROMETHEUS_2, PROMETHEUS_3, PROTOBUF + PROMETHEUS_2, PROTOBUF + PROMETHEUS_3])
def test_prometheus_gets_openmetrics(accept: str) -> None:
    assert content_type(accept) == OPENMETRICS


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text",
        "APPLICATION/OpenMetrics-Text; Version=1.0.0; charset=utf-8",
        'application/openmetrics-text;version="1.0.0"',
        "text/plain;q=0.5, application/openmetrics-text;q=0.5",
        "application/openmetrics-text;version=0.0.1, application/openmetrics-text;version=1.0.0;q=0.1",
    ],
)
def test_who_names_openmetrics_and_likes_nothing_better_gets_it(accept: str) -> None:
    assert content_type(accept) == OPENMETRICS


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "application/*",
        "text/plain;version=abc",
        "application/openmetrics-text; version=1.a",
        "application/openmetrics-text; version=2.0.0",
        "application/openmetrics-text; version=0.0.1",
        "application/openmetrics-text; version=" + "9" * 5000,
        "application/openmetrics-text;q=0",
        "application/openmetrics-text;q=0.000, */*",
        "application/openmetrics-text;q=0.2, text/plain;q=0.3",
        "application/openmetrics-text;q=0.2, text/*;q=0.3",
        "application/openmetrics-text;q=2",
        "application/openmetrics-text;q=-1",
        "application/openmetrics-text;q=nan",
        "application/openmetrics-text;q=1e999",
        "text/plain;q=0",
        "application/json",
        ";;;,,,=;q=,;version",
        "text/html,application/xhtml+xml,*/*;q=0.8",
    ],
)
def test_everybody_else_gets_prometheus_own_text_also_who_is_not_understood(accept: str) -> None:
    assert content_type(accept) == TEXT


@pytest.mark.parametrize(
    ("accept_encoding", "is_packed"),
    [
        ("", False),
        ("gzip", True),
        ("GZIP;Q=1.0", True),
        ("x-gzip", True),
        ("deflate, gzip;q=0.5", True),
        ("*", True),
        ("gzip;q=0", False),
        ("gzip;q=0.000, *", False),
        ("*;q=0", False),
        ("identity", False),
        ("gzip;q=0.5, identity", False),
        ("gzip;q=0.5, identity;q=0.5", True),
        ("gzip;q=a", False),
        ("gzipped", False),
        ("br", False),
    ],
)
def test_an_answer_is_compressed_only_for_who_takes_it(accept_encoding: str, is_packed: bool) -> None:
    assert takes_gzip(accept_encoding) is is_packed


pieces = st.lists(
    st.sampled_from(
        [
            "application/openmetrics-text",
            "text/plain",
            "gzip",
            "*",
            "/",
            ";",
            ",",
            "=",
            "q",
            "version",
            "1",
            ".",
            '"',
            " ",
        ]
    )
    | st.text(max_size=3),
    max_size=30,
)


@given(pieces.map("".join))
def test_no_header_is_an_error(header: str) -> None:
    assert content_type(header) in (OPENMETRICS, TEXT)
    assert takes_gzip(header) in (True, False)
