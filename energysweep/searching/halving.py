"""Who runs next, and who no longer, where configurations race without a target: successive halving on joules.

The asynchronous successive halving of Li et al. (arXiv 1810.05934) in the form that pauses and promotes, with joules
for the resource. At each rung an arm has spent ``KEPT`` times the joules of the rung before, and a ``KEPT``-th of
those that come go on, the best ones. Who is least far runs first, so that most of a rung have come before the first of
them goes on; but no rung is waited for where there is nobody else to run.

- The first rung is what the usual first report takes, or a start if that takes more: a trial is not paused before it
  has done more than start. Whoever needs more for its first report has come with that.
- Compared is the best value that an arm had reported by the joules of the rung.
- At least ``winners`` go on from each rung. Those that are left after the last one run to their ends, and are repeated
  with the other seeds. The answer is the best of them in the mean of its repeats.
- Without pausing, an arm that comes to a rung and is not among the best so far ends there.

A crash says nothing of an arm, which is left out. Nor does a report whose energy nobody knows.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Final

from energysweep.core.objective import mean_value
from energysweep.searching.arms import GO_ON, Arms, Decision, Runner

KEPT: Final = 3  # Hyperband's own


class Halving(Arms):
    """A race for the best value of the objective; the arguments are those of ``Arms``."""

    def _begin(self) -> None:
        self._rungs = [0] * len(self._first)  # from how many each has been promoted
        self._kept: list[int] = []  # how many are promoted from each rung
        self._first_rung_joules = 0.0
        left = len(self._first)
        while left > self._winners:
            left = max(self._winners, math.ceil(left / KEPT))
            self._kept.append(left)

    def _decide(self, runner: Runner, *, is_measured: bool, pauses: bool) -> Decision:
        if runner.repeat > 0 or not is_measured:
            return GO_ON
        while self._waits(runner.arm):
            rung = self._rungs[runner.arm]
            promoted = self._promoted(rung, self._share if pauses else self._share_of_those_before)
            if runner.arm not in promoted or (pauses and self._is_another_behind(rung)):
                course = self._enter(runner, "paused" if pauses else "over")
                course.was_pruned = not pauses
                return Decision("pause" if pauses else "end", "halved", course.joules, self._joules_of(rung))
            self._rungs[runner.arm] += 1
        return GO_ON

    def called(self, runner: Runner) -> None:
        """As ``Arms`` says. One that waited at a rung is promoted by this."""
        self._promote(runner)
        super().called(runner)

    def started(self, runner: Runner) -> None:
        """As ``Arms`` says."""
        if self._of(runner).state not in ("called", "starting"):
            self._promote(runner)
        super().started(runner)

    def learn(self, runner: Runner, value: float | None, joules: float | None, startup_joules: float | None) -> None:
        """As ``Arms`` says."""
        super().learn(runner, value, joules, startup_joules)
        if runner.repeat == 0:
            firsts = [each.first_report_joules for each in self._first if each.first_report_joules is not None]
            self._first_rung_joules = max(statistics.median(firsts or [0.0]), self._usual_startup_joules)

    def next(self) -> Runner | None:
        """As ``Arms`` says. Who is least far comes first; repeats of winners take what room is left."""
        waiting = [arm for arm, course in enumerate(self._first) if course.state in ("new", "paused")]
        for share in (self._share, self._rest):
            promoted = {rung: set(self._promoted(rung, share)) for rung in {self._rungs[arm] for arm in waiting}}
            can_go_on = [arm for arm in waiting if not self._waits(arm) or arm in promoted[self._rungs[arm]]]
            if can_go_on:
                return Runner(min(can_go_on, key=lambda arm: (self._rungs[arm], self._waits(arm), self._rank(arm))), 0)
            repeat = next(self._unconfirmed(self._winning()), None)
            if repeat is not None or self.running > 0:
                return repeat
        return None

    @property
    def answer(self) -> int | None:
        """The best of the winners in the mean of its repeats, of those with most repeats that ended well."""
        found = []
        for arm in self._winning():
            courses = [self._of(Runner(arm, repeat)) for repeat in range(self._repeats)]
            values = [each.best for each in courses if each.state == "over" and not each.has_failed]
            if values and min(values) > -math.inf:
                found.append((-len(values), -mean_value(values), arm))
        return min(found)[2] if found else None

    # The rules -------------------------------------------------------------------------------------------------------

    def _promote(self, runner: Runner) -> None:
        if runner.repeat == 0 and self._waits(runner.arm):
            self._rungs[runner.arm] += 1

    def _joules_of(self, rung: int) -> float:
        return self._first_rung_joules * KEPT**rung

    def _has_come(self, arm: int, rung: int) -> bool:
        """It has spent what the rung asks for, or has gone to its end without."""
        course = self._first[arm]
        if course.state == "over":
            return not course.has_failed and (not course.was_pruned or course.joules >= self._joules_of(rung))
        return self._rungs[arm] > rung or (course.reports > 0 and course.joules >= self._joules_of(rung))

    def _waits(self, arm: int) -> bool:
        """It is at a rung, for the others to come or for its promotion."""
        rung = self._rungs[arm]
        return rung < len(self._kept) and self._has_come(arm, rung)

    def _promoted(self, rung: int, share: Callable[[int, int], int]) -> list[int]:
        """The best of those that have come to a rung, so many as the rule says."""
        if rung >= len(self._kept):
            return []
        joules = self._joules_of(rung)
        come = [arm for arm in range(len(self._first)) if self._has_come(arm, rung)]
        come.sort(key=lambda arm: self._rank(arm, joules))
        return come[: share(rung, len(come))]

    def _rank(self, arm: int, joules: float = math.inf) -> tuple[float, int]:
        """The least is the best."""
        return -self._first[arm].best_by(joules), arm

    def _is_another_behind(self, rung: int) -> bool:
        """Whether somebody waits who has not come so far: the best of all is known better when it has."""
        return any(
            course.state in ("new", "called", "paused") and self._rungs[arm] <= rung and not self._waits(arm)
            for arm, course in enumerate(self._first)
        )

    def _share(self, rung: int, come: int) -> int:
        """Of those that are to come to it, the part that goes on, rounded down."""
        to_come = self._kept[rung - 1] if rung > 0 else len(self._first)
        return min(self._kept[rung], come * self._kept[rung] // to_come)

    def _rest(self, rung: int, _come: int) -> int:
        """All that go on: nobody else will come to it."""
        return self._kept[rung]

    def _share_of_those_before(self, _rung: int, come: int) -> int:
        return max(self._winners, math.ceil(come / KEPT))

    def _winning(self) -> list[int]:
        """The best of those that are past all rungs, or at their end."""
        found = [
            arm
            for arm, course in enumerate(self._first)
            if not course.has_failed
            and not course.was_pruned
            and (self._rungs[arm] == len(self._kept) or course.state == "over")
        ]
        return sorted(found, key=self._rank)[: self._winners]
