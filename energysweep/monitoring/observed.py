"""What a Prometheus holds of a run, beside what the ledger booked.

Prometheus is for watching and the ledger for accounting; this says how far the first may be believed.

Source: Prometheus' HTTP API, instant queries.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from energysweep.core.errors import EnergysweepError, InputError, SweepError, one_line
from energysweep.core.inputs import is_token, redirected, web_address
from energysweep.core.metrics import (
    TRIAL_ENERGY,
)
from energysweep.core.text import NOT_AVAILABLE, difference_text, energy_text, percent_text
from energysweep.ledger.model import Summary

KEY = "--prometheus"
TOKEN_VARIABLE = "PROMETHEUS_TOKEN"  # noqa: S105 - the name of a variable
_ANSWER_SECONDS = 30.0
_SERIES_STAY_SECONDS = 600.0  # series stay 5 minutes after a trial's end; a scrape may come late


@dataclass(frozen=True, slots=True)
class ObservedTrial:
    """One trial on both sides.

    Attributes:
        ledger_joules: None if it was not measured.
        prometheus_joules: None if Prometheus has no series of it.
    """

    trial: str
    config: str
    ledger_joules: float | None
    prometheus_joules: float | None

    @property
    def difference_joules(self) -> float | None:
        """Prometheus less the ledger."""
        if self.ledger_joules is None or self.prometheus_joules is None:
            return None
        return self.prometheus_joules - self.ledger_joules


@dataclass(frozen=True, slots=True)
class Observed:
    """A run on both sides; trials in the order of the report."""

    trials: tuple[ObservedTrial, ...]
    estimated: bool

    @property
    def ledger_joules(self) -> float:
        """Of all trials that were measured."""
        return sum(each.ledger_joules or 0.0 for each in self.trials)

    @property
    def prometheus_joules(self) -> float:
        """Of all trials that Prometheus has."""
        return sum(each.prometheus_joules or 0.0 for each in self.trials)

    @property
    def missing(self) -> int:
        """How many trials Prometheus does not have."""
        return sum(1 for each in self.trials if each.prometheus_joules is None)


def observe(summary: Summary, url: str) -> Observed:
    """Ask a Prometheus for the joules of each trial of a run.

    Args:
        summary: the run.
        url: the server's address. PROMETHEUS_TOKEN is sent as a bearer token, if it is set.

    Raises:
        InputError: that is no Prometheus, it sends elsewhere, or the token is wrong.
        SweepError: it does not answer, or it fails.
    """
    check(url)
    begin, end = summary.span()
    at = min(time.time(), end + _SERIES_STAY_SECONDS)
    window_seconds = max(1, math.ceil(at - begin) + 1)
    # An agent on another port is another instance with the same series, hence the inner max.
    series = f"{TRIAL_ENERGY}{{sweep={json.dumps(summary.sweep)}}}"
    expression = (
        f"sum by (trial) (max by (trial, node, component, bucket, source) (max_over_time({series}[{window_seconds}s])))"
    )
    held = _query(url, expression, at)
    trials = (
        ObservedTrial(trial.trial, trial.config, trial.energy_joules, held.get(trial.trial)) for trial in summary.trials
    )
    return Observed(tuple(trials), summary.estimated)


def check(url: str) -> None:
    """Whether a Prometheus can be asked there.

    Raises:
        InputError: that is no web address, or PROMETHEUS_TOKEN is no token.
    """
    web_address(url, KEY)
    token = os.environ.get(TOKEN_VARIABLE)
    if token and not is_token(token):
        raise InputError("a token is one line of printable ASCII characters; this is none", key=TOKEN_VARIABLE)


class _Refusing(urllib.request.HTTPRedirectHandler):
    """Leaves a redirect an error. urllib would follow it, and take the token along to any other host."""

    def http_error_302(self, *_: Any, **__: Any) -> None:
        return None

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


_OPENER = urllib.request.build_opener(_Refusing)


def _query(url: str, expression: str, at: float) -> dict[str, float]:
    """A value for each trial."""
    try:
        said = json.loads(_answer(url, urllib.parse.urlencode({"query": expression, "time": f"{at:.3f}"}).encode()))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{url} is no Prometheus server: it does not answer in JSON", key=KEY) from error
    try:
        held = {str(each["metric"].get("trial", "")): float(each["value"][1]) for each in said["data"]["result"]}
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise InputError(f"{url} is no Prometheus server: it answers something else", key=KEY) from error
    if said.get("status") != "success" or not all(math.isfinite(joules) for joules in held.values()):
        raise InputError(f"{url} is no Prometheus server: it answers something else", key=KEY)
    return held


def _answer(url: str, form: bytes) -> bytes:
    request = urllib.request.Request(f"{url.rstrip('/')}/api/v1/query", data=form)  # noqa: S310 - see web_address
    if token := os.environ.get(TOKEN_VARIABLE):
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with _OPENER.open(request, timeout=_ANSWER_SECONDS) as answer:
            said: bytes = answer.read()
    except urllib.error.HTTPError as error:
        with error:  # it holds the connection
            raise _refusal(url, error) from error
    except (UnicodeError, http.client.InvalidURL) as error:  # letters that no request can carry
        raise InputError(f"{url!r} is no web address, such as https://example.org:3000", key=KEY) from error
    except OSError as error:
        raise SweepError(
            f"Prometheus at {url} cannot be reached: {one_line(getattr(error, 'reason', error))}"
        ) from error
    except http.client.IncompleteRead as error:
        raise SweepError(f"Prometheus at {url} broke off in the middle of its answer") from error
    except http.client.HTTPException as error:
        raise InputError(f"{url} is no Prometheus server: it does not speak HTTP", key=KEY) from error
    return said


def _refusal(url: str, error: urllib.error.HTTPError) -> EnergysweepError:
    if error.code in (401, 403):
        return InputError(f"{url} wants another token ({error.code}): set {TOKEN_VARIABLE}", key=KEY)
    if error.code in (404, 405):
        return InputError(f"{url} is no Prometheus server ({error.code})", key=KEY)
    if error.code < 400:
        return redirected(url, error.headers.get("Location"), KEY)
    return SweepError(f"Prometheus at {url} answered {error.code}: {_said(error)}")


def _said(error: urllib.error.HTTPError) -> str:
    try:
        return one_line(json.load(error)["error"])
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError, RecursionError):
        return one_line(error.reason)


# As a table for a terminal -------------------------------------------------------------------------------------------


def observed_table(observed: Observed) -> RenderableType:
    """Per trial what each side has and how they differ, and the sum in a sentence."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("trial", "configuration"):
        table.add_column(name, overflow="fold")
    for name in ("ledger", "Prometheus", "difference"):
        table.add_column(name, justify="right")
    for each in observed.trials:
        table.add_row(
            Text(each.trial),
            Text(each.config),
            energy_text(each.ledger_joules, estimated=observed.estimated, brief=True),
            energy_text(each.prometheus_joules, estimated=observed.estimated, brief=True),
            _difference(each.difference_joules, each.ledger_joules, estimated=observed.estimated, brief=True),
        )
    return Group(table, Text(), Text(sentence(observed)))


def sentence(observed: Observed) -> str:
    """The difference in all."""
    estimated = observed.estimated
    ledger = energy_text(observed.ledger_joules, estimated=estimated)
    if observed.trials and observed.missing == len(observed.trials):
        return f"Prometheus holds nothing of this run; the ledger has {ledger}."
    held = energy_text(observed.prometheus_joules, estimated=estimated)
    difference = observed.prometheus_joules - observed.ledger_joules
    missing = f" {observed.missing} of {len(observed.trials)} trials are missing there." if observed.missing else ""
    return (
        f"Prometheus holds {held} of the trials, the ledger {ledger}:"
        f" a difference of {_difference(difference, observed.ledger_joules, estimated=estimated)}.{missing}"
    )


def _difference(joules: float | None, of: float | None, *, estimated: bool, brief: bool = False) -> str:
    if joules is None:
        return NOT_AVAILABLE
    part = f" ({percent_text(joules / of)})" if of else ""
    return difference_text(joules, estimated=estimated, brief=brief) + part
