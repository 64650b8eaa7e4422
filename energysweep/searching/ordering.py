"""In which order the configurations of a cap begin: the most promising first, by what is known of earlier runs.

Promising is who is expected to need the least energy to the target:

- Of a configuration that is known, the joules that its trials spent until they held the target or ended, over how many
  of them held it: the expected running time of black-box optimisation, with joules for time. Infinite if none did. A
  trial that was stopped before its end is drawn on, by the model of forecasts, several times over.
- Of one that was never tried, what its three nearest known ones are expected to need, in the median: near in the space
  as ``spreading`` has it.

Among equals the known ones begin first, and where nobody is expected to reach the target those that were never tried;
beyond that they are spread over the space.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from energysweep.analysis.forecast import Curve, Known, drawn
from energysweep.core.objective import Objective, first_held
from energysweep.core.text import count_text
from energysweep.searching.evidence import Evidence
from energysweep.searching.spreading import nearest, spread
from energysweep.sweepfile import SweepSpec
from energysweep.sweepfile.algorithms import SCHEDULERS

_DRAWS: Final = 20  # of what becomes of a trial that was stopped
_NEIGHBOURS: Final = 3
_MOST_REPORTS: Final = 50_000  # of all trials that are drawn on: of more, they are taken to have ended where they did


@dataclass(frozen=True)
class Order:
    """In which order configurations begin.

    Attributes:
        places: theirs, among the sweep's configurations as ``sweepfile.points`` makes them.
        known: by how many configurations, of the sweep or near to them.
        untried: how many of the sweep's are none of these.
        of: where these are known from.
    """

    places: Sequence[int]
    known: int
    untried: int
    of: Sequence[str]

    @property
    def sentence(self) -> str:
        """For a person."""
        others = f"; {self.untried} of the sweep were never tried, and go by their neighbours" if self.untried else ""
        return f"order: by {count_text(self.known, 'configuration')} of {', '.join(self.of)}{others}"

    def noted(self) -> dict[str, Any]:
        """As the run's facts have it."""
        return asdict(self)

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any]) -> Order | None:
        """What a run has noted; None if nothing that is an order."""
        noted = facts.get("order")
        order = cls(noted["places"], noted["known"], noted["untried"], noted["of"]) if noted else None
        return order if order is not None and sorted(order.places) == list(range(len(order.places))) else None


def order_by(spec: SweepSpec, found: Evidence, of: Sequence[str] = ()) -> Order | None:
    """The order by what is known.

    Args:
        spec: the sweep.
        found: what is known of it.
        of: where that is from.

    Returns:
        None if it says nothing of the order: there is no target, the search chooses as it goes, or no trial that is
        known has told of the objective.
    """
    objective = spec.objective.rule
    if objective.target is None or not found.places:
        return None
    count = len(found.configurations)
    expected = _expected([*found.configurations, *found.others], objective)
    known = {place: joules for place, joules in enumerate(expected) if joules is not None}
    if not known:
        return None
    unknown = [place for place in range(count) if expected[place] is None]
    near = dict(zip(unknown, nearest(found.places, unknown, [*known], _NEIGHBOURS), strict=True))

    def promise(place: int) -> tuple[float, int]:
        joules = expected[place]
        if joules is not None:
            return joules, 1 if joules == math.inf else 0
        median = statistics.median_low([known[each] for each in near[place]])
        return median, 0 if median == math.inf else 1

    places = sorted(spread(found.places[:count]), key=promise)
    return Order(places, len(known), len(unknown), list(of))


def places_of(spec: SweepSpec, found: Evidence, scheduler: str, noted: Order | None = None) -> Sequence[int] | None:
    """In which order the configurations would begin; None: as they come.

    Args:
        spec: the sweep.
        found: what is known of it; of earlier runs it orders the configurations.
        scheduler: by which the sweep would run.
        noted: the order of a run that has begun.
    """
    if not SCHEDULERS[scheduler].is_ordered:
        return None
    order = order_by(spec, found) if noted is None and found.again else noted
    return spread(found.places[: len(found.configurations)]) if order is None else order.places


def _expected(configurations: Sequence[Mapping[int, Known]], objective: Objective) -> list[float | None]:
    """The joules that each is expected to need to the target; None of one that has told nothing of the objective."""
    telling = [
        [known for known in own.values() if any(value is not None for value in known.values)] for own in configurations
    ]
    every = [known for own in telling for known in own]
    if sum(known.length for known in every) > _MOST_REPORTS:
        every = [replace(known, length=len(known.joules)) for known in every]
    curves = iter(drawn(every, _DRAWS) if every else ())
    return [_running_joules([curve for _ in own for curve in next(curves)], objective) for own in telling]


def _running_joules(curves: Sequence[Curve], objective: Objective) -> float | None:
    if not curves:
        return None
    spent, reached = [], 0
    for curve in curves:
        place = first_held((objective.reached_by(value) for value in curve.values), objective.patience)
        spent.append(curve.joules[-1 if place is None else place])
        reached += place is not None
    return math.fsum(spent) / reached if reached else math.inf
