"""The shapes of what report, compare, list and account answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from energysweep.cli.shapes import Answer, Shape, Values
from energysweep.cli.shapes_of_summary import OfBuckets, SummaryAnswer
from energysweep.core.buckets import BY_NAME, CHARGED, TRIALS
from energysweep.ledger.account import By
from energysweep.ledger.shared import NOBODYS
from energysweep.report.runs import Listed

# report and compare --------------------------------------------------------------------------------------------------


class ObservedTrialShape(Shape):
    """A trial in the ledger, and in Prometheus.

    Attributes:
        trial: its id.
        config: its configuration.
        ledger_joules: null if it was not measured.
        prometheus_joules: null if Prometheus has no series of it.
    """

    trial: str
    config: str
    ledger_joules: float | None
    prometheus_joules: float | None


class ReportAnswer(Answer):
    """What `report` has written, and what it says.

    Attributes:
        files: the files that were written, by their names in the run folder.
        openmetrics: the file of the run's series; null if none was asked for.
        prometheus: each trial beside what the Prometheus holds; null if none was asked.
        summary: as in summary.json.
    """

    answer_of: ClassVar[str] = "report"
    files: dict[str, str]
    openmetrics: str | None
    prometheus: list[ObservedTrialShape] | None
    summary: SummaryAnswer


class AnswerLine(Shape):
    """One run's answer, in words; an estimate is marked in them.

    Attributes:
        run: whose it is; empty where it is about all of them.
        short: the number or the word that matters.
        brief: the sentence behind it.
        detail: what else has to be said.
    """

    run: str
    short: str
    brief: str
    detail: str


class QuestionShape(Shape):
    """A question, and what each run that can tell has to say to it."""

    question: str
    lines: list[AnswerLine]


class ComparedRun(Shape):
    """One run on one of its hardware profiles: a column of the comparison.

    Attributes:
        title: the run id, with the hardware where the run has several.
        run_id: of the run.
        shared: it has a configuration in common with another column.
        differs: its constant parameters that are not the same in all columns.
    """

    title: str
    run_id: str
    shared: bool
    differs: Values


class ComparedCell(Shape):
    """A configuration in one column.

    Attributes:
        energy_joules: to the target or of a whole trial, as `at_target` says: the geometric mean.
        energy_ratio: that over the first column's; null if either is missing, or a mean of lucky trials only.
        reached_target: how many of its trials reached the target; null without a target.
        trials: how many there are.
        estimated: some of the energy is an estimate.
    """

    energy_joules: float | None
    energy_ratio: float | None
    reached_target: int | None
    trials: int
    estimated: bool


class ComparedConfiguration(Shape):
    """A configuration that two columns have at least.

    Attributes:
        config: its text.
        cells: one for each column, in order; null where the run lacks it.
    """

    config: str
    cells: list[ComparedCell | None]


class CompareAnswer(Answer):
    """What several runs answer together.

    Attributes:
        headline: in a sentence; an estimate is marked in it.
        estimated: a meter of some run is an estimate.
        questions: each with the runs' answers.
        at_target: the cells hold energies to the target, the same in all runs; else of whole trials.
        columns, rows: the configurations that runs of one workload have in common.
        warnings: why numbers of these runs should not be set against each other without thought.
        runs: each as in its summary.json; `name` is as the answers call it.
        html, markdown: the files that were written; null if none was asked for.
    """

    answer_of: ClassVar[str] = "compare"
    headline: str
    estimated: bool
    questions: list[QuestionShape]
    at_target: bool
    columns: list[ComparedRun]
    rows: list[ComparedConfiguration]
    warnings: list[str]
    runs: list[SummaryAnswer]
    html: str | None
    markdown: str | None


# list and account ----------------------------------------------------------------------------------------------------


class ListAnswer(Answer):
    """Runs, the newest first.

    Attributes:
        runs: one for each.
        problems: what is left out, one line each; the exit code is 1 then.
    """

    answer_of: ClassVar[str] = "list"
    runs: list[Listed]
    problems: list[str]


class ChargesShape(OfBuckets):
    """What some runs, or parts of them, are charged with. Null is what nobody measured.

    Attributes:
        runs, trials: of how many it is, as far as something of them is in it.
        energy_joules: all that is charged.
        trials_energy_joules: of the trials' work.
        emissions_grams: CO2e of those runs whose grid is known.
        cost: by currency, of those runs whose sweep names a price.
        runs_without_grid, runs_without_price: the others.
        unmeasured_runs: of which nothing was measured.
        estimated: some of the joules are.
    """

    joules_of: ClassVar[Mapping[str, str]] = {
        f"{name}_joules": BY_NAME[name].about for name in CHARGED if name != TRIALS
    }
    runs: int
    trials: int
    energy_joules: float | None
    trials_energy_joules: float | None
    emissions_grams: float | None
    cost: dict[str, float]
    runs_without_grid: int
    runs_without_price: int
    unmeasured_runs: int
    estimated: bool


class GroupShape(ChargesShape):
    """What one group is charged with: an owner, a tag, ...; null is what nobody measured.

    Attributes:
        key: its name; null: nobody noted it.
    """

    key: str | None


class AccountTotals(ChargesShape):
    """All groups together, and what stands apart; null is what nobody measured.

    Attributes:
        energy_joules: what the meters saw: what is charged, and all that stands apart.
        charged_joules: what all groups are charged with.
        other_sweeps_joules: what sweeps drew that are not among these runs, on the same hosts.
        booked_twice_joules: below 0: what several of these runs are charged with, and was drawn once.
        apart_estimated: energy_joules and all that stands apart are an estimate: some meter is one, or some overlap is.
        conservation_error_ratio: |booked - metered| / metered.
        runs_energy_joules: what the meters of each run saw, added up: energy_joules, shared and overlap_estimated.
        shared_joules: what several runs have seen, exactly: as often as it was seen but once.
        divided_joules: what several runs have seen, divided as in the mean of them between floor and background.
        overlap_estimated_joules: what several runs have seen, by an estimate from their times and mean power.
    """

    joules_of: ClassVar[Mapping[str, str]] = {
        **ChargesShape.joules_of,
        **{f"{name}_joules": BY_NAME[name].about for name in NOBODYS},
    }
    charged_joules: float | None
    other_sweeps_joules: float | None
    booked_twice_joules: float | None
    apart_estimated: bool
    conservation_error_ratio: float | None
    runs_energy_joules: float | None
    shared_joules: float | None
    divided_joules: float | None
    overlap_estimated_joules: float | None


class AccountAnswer(Answer):
    """Runs added up, each joule once.

    Attributes:
        by: what the groups are.
        groups: those that are charged most first, months in their order.
        totals: of all of them.
        notes: what has to be known of the numbers.
        problems: what is left out, one line each; the exit code is 1 then.
    """

    answer_of: ClassVar[str] = "account"
    by: By
    groups: list[GroupShape]
    totals: AccountTotals
    notes: list[str]
    problems: list[str]
