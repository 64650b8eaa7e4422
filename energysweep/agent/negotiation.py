"""What a client asks for in ``Accept`` and ``Accept-Encoding``, RFC 9110 sections 12.4.2, 12.5.1 and 12.5.3.

prometheus_client reads these headers, too, but raises for a version that is no version, and knows no q.
What is not understood says nothing; nobody is refused: who accepts nothing that there is gets the default.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"

_QUALITY = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
_VERSIONS = {"application/openmetrics-text": "1.0.0", "text/plain": "0.0.4"}


class _Wish(NamedTuple):
    what: str
    parameters: dict[str, str]
    quality: float


def content_type(accept: str) -> str:
    """The format of a scrape: OpenMetrics for who names it and likes nothing better, else Prometheus' text."""
    wishes = list(_wishes(accept))
    openmetrics = _quality_of_type("application/openmetrics-text", wishes)
    text = _quality_of_type("text/plain", wishes)
    is_named = any(wish.what == "application/openmetrics-text" for wish in wishes)
    return OPENMETRICS if is_named and openmetrics > 0 and openmetrics >= text else TEXT


def takes_gzip(accept_encoding: str) -> bool:
    """Whether an answer may be compressed, and had better be."""
    qualities: dict[str, float] = {}
    for wish in _wishes(accept_encoding):
        name = "gzip" if wish.what == "x-gzip" else wish.what
        qualities[name] = max(wish.quality, qualities.get(name, 0.0))
    quality = qualities.get("gzip", qualities.get("*", 0.0))
    return quality > 0 and quality >= qualities.get("identity", 0.0)


def _quality_of_type(offered: str, wishes: list[_Wish]) -> float:
    """By the wish that names it most exactly."""
    found = [(exactness, wish.quality) for wish in wishes if (exactness := _exactness(offered, wish)) is not None]
    return max(found)[1] if found else 0.0


def _exactness(offered: str, wish: _Wish) -> int | None:
    version = wish.parameters.get("version")
    if version is not None and version != _VERSIONS[offered]:
        return None
    names = ("*/*", f"{offered.partition('/')[0]}/*", offered)
    if wish.what not in names:
        return None
    return names.index(wish.what) + (version is not None)


def _wishes(header: str) -> Iterator[_Wish]:
    for element in header.split(","):
        what, *rest = (part.strip() for part in element.split(";"))
        parameters = {
            name.strip().lower(): value.strip().strip('"') for name, is_one, value in map(_parted, rest) if is_one
        }
        quality = parameters.pop("q", "1")
        if what and _QUALITY.fullmatch(quality):
            yield _Wish(what.lower(), parameters, float(quality))


def _parted(parameter: str) -> tuple[str, str, str]:
    return parameter.partition("=")
