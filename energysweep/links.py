"""Addresses and tokens of web servers that a person gives, and links into Grafana."""

from __future__ import annotations

import math
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from energysweep.errors import InputError, one_line

SWEEP_DASHBOARD = "energysweep-sweep"
_MARGIN_SECONDS = 60.0  # what a scrape each minute has seen of the beginning and the end


def web_address(url: str, key: str) -> SplitResult:
    """The parts of an ``http`` or ``https`` address without user, query and fragment.

    Args:
        url: what a person gave.
        key: the option or variable that it came from.

    Raises:
        InputError: it is something else.
    """
    try:
        parts = urlsplit(url)
        is_web = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port  # raises ValueError if it is no number
    except ValueError:
        is_web = False
    if not is_web or parts.query or parts.fragment or not url.isprintable():
        raise InputError(f"{url!r} is no web address, such as https://example.org:3000", key=key)
    if parts.username is not None:
        raise InputError("leave user and password out of the address; a token says who you are", key=key)
    return parts


def is_token(text: str) -> bool:
    """Whether a header can carry it: printable ASCII, and not empty."""
    return bool(text) and text.isascii() and text.isprintable()


def redirected(url: str, target: str | None, key: str) -> InputError:
    """The error of a server that sends elsewhere: no token is taken there, and a login page is no answer.

    Args:
        url: what was asked.
        target: where it sends to, as it says.
        key: the option that ``url`` came from.
    """
    where = one_line(target or "") or "elsewhere"
    return InputError(f"{url} redirects to {where}; give the address that answers itself", key=key)


def sweep_link(grafana_url: str, run_id: str, begin: float, end: float) -> str:
    """Where Grafana shows a run on its dashboard *Sweep*.

    Args:
        grafana_url: the server's address.
        run_id: the run id.
        begin, end: Unix seconds.

    Raises:
        InputError: that is no web address.
    """
    web_address(grafana_url, "grafana")
    query = urlencode(
        {
            "var-sweep": run_id,
            "from": math.floor((begin - _MARGIN_SECONDS) * 1000),
            "to": math.ceil((end + _MARGIN_SECONDS) * 1000),
        },
        quote_via=quote,
    )
    return f"{grafana_url.rstrip('/')}/d/{SWEEP_DASHBOARD}?{query}"
