"""What a Prometheus holds of a run, beside what the ledger booked.

Prometheus is for watching and the ledger for accounting; this says how far the first may be believed.

Source: Prometheus' HTTP API, instant queries.
"""

from __future__ import annotations

import json
import math
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from energysweep.errors import InputError, SweepError
from energysweep.links import web_address
from energysweep.reporting.model import Summary

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
        InputError: that is no Prometheus.
        SweepError: it does not answer, or refuses.
    """
    web_address(url, KEY)
    begin, end = summary.span()
    at = min(time.time(), end + _SERIES_STAY_SECONDS)
    window_seconds = max(1, math.ceil(at - begin) + 1)
    # An agent on another port is another instance with the same series, hence the inner max.
    series = f"energysweep_trial_energy_joules_total{{sweep={json.dumps(summary.sweep)}}}"
    expression = (
        f"sum by (trial) (max by (trial, node, component, bucket, source) (max_over_time({series}[{window_seconds}s])))"
    )
    held = {str(each["metric"].get("trial", "")): float(each["value"][1]) for each in _query(url, expression, at)}
    trials = (
        ObservedTrial(trial.trial, trial.config, trial.energy_joules, held.get(trial.trial)) for trial in summary.trials
    )
    return Observed(tuple(trials), summary.estimated)


def _query(url: str, expression: str, at: float) -> list[Mapping[str, Any]]:
    request = urllib.request.Request(  # noqa: S310 - http or https, see web_address
        f"{url.rstrip('/')}/api/v1/query",
        data=urllib.parse.urlencode({"query": expression, "time": f"{at:.3f}"}).encode(),
    )
    if token := os.environ.get(TOKEN_VARIABLE):
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as answer:  # noqa: S310
            said = json.load(answer)
    except urllib.error.HTTPError as error:
        with error:  # it holds the connection
            if error.code in (401, 403):
                raise InputError(f"{url} wants another token ({error.code}): set {TOKEN_VARIABLE}", key=KEY) from error
            if error.code in (404, 405):
                raise InputError(f"{url} is no Prometheus server ({error.code})", key=KEY) from error
            raise SweepError(f"Prometheus at {url} answered {error.code}: {_said(error)}") from error
    except OSError as error:
        raise SweepError(f"Prometheus at {url} cannot be reached: {getattr(error, 'reason', error)}") from error
    except ValueError as error:
        raise InputError(f"{url} is no Prometheus server: it does not answer in JSON", key=KEY) from error
    if not isinstance(said, dict) or said.get("status") != "success":
        raise InputError(f"{url} is no Prometheus server", key=KEY)
    found: list[Mapping[str, Any]] = said["data"]["result"]
    return found


def _said(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])[:300]
    except (ValueError, KeyError, TypeError):
        return str(error.reason)
