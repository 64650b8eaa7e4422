"""What a sweep may spend, and how much of that it is charged with: energy, emissions, money and time.

The joules are those that the sweep is charged with (``RunState.charged``); grams and money follow from them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from energysweep.core.carbon import JOULES_PER_KWH, Intensity
from energysweep.core.text import NOT_AVAILABLE, duration_text, emissions_text, energy_text, number_text

STOPPED: Final = "stopped by budget"
"""The status of a run that its budget has ended."""

BUDGET_NAMES: Final = {
    "energy_joules": "energy",
    "emissions_grams": "emissions",
    "cost": "cost",
    "duration_seconds": "time",
}


class Charge(NamedTuple):
    """How much of a limit is spent; None if nobody knows."""

    limit: float
    charged: float | None

    @property
    def left(self) -> float | None:
        """What is left; below 0 if more was spent."""
        return None if self.charged is None else self.limit - self.charged


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits of a sweep, and what joules come to.

    Attributes:
        limits: by their keys in the sweep's file.
        intensity: of the grid, None if nobody said.
        per_kwh: what a kilowatt-hour costs, None if nobody said.
        currency: of that.
    """

    limits: Mapping[str, float]
    intensity: Intensity | None = None
    per_kwh: float | None = None
    currency: str = ""

    @classmethod
    def noted(cls, run: Mapping[str, Any], intensity: Intensity | None) -> Budget | None:
        """That of a run, by the sweep that its driver noted; None if it has neither budget nor price."""
        spec = run.get("spec") or {}
        limits = {kind: float(spec["budget"][kind]) for kind in BUDGET_NAMES if (spec.get("budget") or {}).get(kind)}
        price = spec.get("price") or {}
        if not limits and not price:
            return None
        return cls(limits, intensity, price.get("per_kwh"), price.get("currency", "EUR"))

    @property
    def price(self) -> dict[str, Any] | None:
        """As in the sweep's file."""
        return None if self.per_kwh is None else {"per_kwh": self.per_kwh, "currency": self.currency}

    def per_joule(self, kind: str) -> float | None:
        """What a joule comes to of a kind; None if it is not known."""
        if kind == "energy_joules":
            return 1.0
        if kind == "emissions_grams":
            return None if self.intensity is None else self.intensity.emissions_grams(1.0)
        if kind == "cost":
            pue = 1.0 if self.intensity is None else self.intensity.pue
            return None if self.per_kwh is None else self.per_kwh * pue / JOULES_PER_KWH
        return 0.0

    def spent(self, kind: str, joules: float | None, seconds: float | None) -> float | None:
        """What joules and seconds come to."""
        if kind == "duration_seconds":
            return seconds
        each = self.per_joule(kind)
        return None if each is None or joules is None else joules * each

    def charges(self, joules: float | None, seconds: float | None) -> dict[str, Charge]:
        """Each limit and what is charged against it.

        Args:
            joules: that the sweep is charged with.
            seconds: for which it has run.
        """
        return {kind: Charge(limit, self.spent(kind, joules, seconds)) for kind, limit in self.limits.items()}

    def most_joules(self) -> float:
        """How many joules all limits allow; infinite if none speaks of joules."""
        known = [(limit, self.per_joule(kind)) for kind, limit in self.limits.items() if kind != "duration_seconds"]
        return min((limit / each for limit, each in known if each), default=math.inf)

    def most_seconds(self) -> float:
        """How long the sweep may run."""
        return self.limits.get("duration_seconds", math.inf)

    def text(self, kind: str, amount: float | None, *, estimated: bool = False) -> str:
        """An amount of a kind as people read it; an estimate is marked."""
        if kind == "duration_seconds":
            return duration_text(amount)
        if kind == "cost":
            mark = "≈ " if estimated and amount is not None else ""
            return f"{mark}{number_text(amount)} {self.currency}".rstrip()
        if kind == "emissions_grams":
            return f"{emissions_text(amount, estimated=estimated, brief=True)} of CO2e"
        return energy_text(amount, estimated=estimated, brief=True)


_TELLING: Final = 1e-6  # as much has to be spent before anybody can say when the rest will be


def left_text(budget: Budget, charges: Mapping[str, Charge], seconds: float, *, estimated: bool) -> str:
    """What is left, and when it ends at the power so far.

    Args:
        budget: writes the amounts.
        charges: each limit, and what is charged against it.
        seconds: for which the sweep has run.
        estimated: what is charged is.
    """
    texts = [
        f"{NOT_AVAILABLE if each.left is None else budget.text(kind, max(0.0, each.left), estimated=estimated)}"
        f" of {budget.text(kind, each.limit)} left"
        for kind, each in charges.items()
    ]
    share = max((each.charged / each.limit for each in charges.values() if each.charged), default=0.0)
    if _TELLING <= share < 1 and seconds > 0:
        rest = seconds / share - seconds
        texts.append(f"about {duration_text(rest)} at the power so far")
    return ", ".join(texts)
