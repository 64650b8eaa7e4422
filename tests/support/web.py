"""HTTP to a program on this machine, whatever http_proxy says."""

from __future__ import annotations

from urllib.request import ProxyHandler, Request, build_opener

DIRECT = build_opener(ProxyHandler({}))


def get(url: str, **headers: str) -> str:
    """The text that it answers with."""
    with DIRECT.open(Request(url, headers=headers), timeout=10) as answer:
        text: str = answer.read().decode()
    return text
