"""The searches and the schedulers that a sweep may name: one table of each.

A search or a scheduler is its own module in ``driver/``, which makes Tune's object, and one row here, from which the
keys' values, their rules, the number of trials and the driver go. docs/sweep-yaml.md names every row;
tests/sweepfile/test_algorithms.py fails where it does not, or where a row's module does not make what it should.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Algorithm:
    """How configurations are chosen.

    Attributes:
        does: what it does, after its name.
        draws: it draws ``num_samples`` configurations from distributions; otherwise it tries all combinations.
        takes_grids: a parameter may be a grid.
        largest_seed: of ``search.seed``, None if any number will do.
        several_metrics: it can optimise several metrics together (``search.metrics``).
        package: an extra of energysweep of the same name, which must be installed.
        made_by: ``module:function`` of a ``Suggester`` that learns from the results so far; None if the configurations
            are known before the first trial (``sweepfile.points``).
    """

    name: str
    does: str
    draws: bool = True
    takes_grids: bool = False
    largest_seed: int | None = None
    several_metrics: bool = False
    package: str | None = None
    made_by: str | None = None


@dataclass(frozen=True, slots=True)
class Sampler:
    """What Optuna chooses by.

    Attributes:
        made_by: the class of ``optuna.samplers``.
        does: what it does, after its name.
        several_metrics: it can optimise several metrics together.
        constraints: it can prefer what meets limits.
        packages: what it imports beside Optuna.
    """

    name: str
    made_by: str
    does: str
    several_metrics: bool = True
    constraints: bool = False
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SchedulerType:
    """How trials are stopped early.

    Attributes:
        does: what it does, after its name.
        keys: of ``scheduler``, beside ``type``: those that it reads.
        ends_at_max_resource: a trial ends when it has used ``max_resource``, which it needs.
        needs_target: it compares what trials spend to the target, which it needs.
        needs_all: it needs all configurations before the first trial; which of their repeats run, it chooses itself.
        is_ordered: who comes early sets the limit for the others: the most promising configurations begin first.
        needs: keys that must be given.
        needs_pauses: it pauses trials, which then go on from their checkpoints.
        changes: it changes the parameters of trials while they run: the trials are one population.
        package: what it imports beside Tune, as ``import`` and as pip name it.
        made_by: ``module:function`` that makes Tune's scheduler of a sweep.
    """

    name: str
    does: str
    made_by: str
    keys: Collection[str] = ()
    ends_at_max_resource: bool = False
    needs_target: bool = False
    needs_all: bool = False
    is_ordered: bool = False
    needs: Collection[str] = ()
    needs_pauses: bool = False
    changes: bool = False
    package: tuple[str, str] | None = None

    @property
    def stops_early(self) -> bool:
        """Whether it ends trials that are worse than others."""
        return bool(self.keys) and not self.changes


def _named(rows: Collection[Any]) -> dict[str, Any]:
    return {row.name: row for row in rows}


ALGORITHMS: Final[dict[str, Algorithm]] = _named(
    (
        Algorithm("grid", "tries all combinations", draws=False, takes_grids=True),
        Algorithm("random", "draws them, for each combination of its grids", takes_grids=True),
        Algorithm(
            "optuna",
            "learns from the results so far",
            largest_seed=2**32 - 1,
            several_metrics=True,
            package="optuna",
            made_by="energysweep.searching.optuna_search:make",
        ),
    )
)
SAMPLERS: Final[dict[str, Sampler]] = _named(
    (
        Sampler("tpe", "TPESampler", "is the tree-structured Parzen estimator", constraints=True),
        Sampler("random", "RandomSampler", "learns nothing"),
        Sampler("nsga2", "NSGAIISampler", "is evolution, for several metrics", constraints=True),
        Sampler("nsga3", "NSGAIIISampler", "is evolution, for many metrics", constraints=True),
        Sampler("gp", "GPSampler", "is a Gaussian process", constraints=True, packages=("scipy", "torch")),
        Sampler("cmaes", "CmaEsSampler", "is CMA-ES, for numbers", several_metrics=False, packages=("cmaes",)),
        Sampler("qmc", "QMCSampler", "spreads evenly and learns nothing", packages=("scipy",)),
    )
)
_POPULATION: Final = ("resource", "perturbation_interval", "quantile_fraction")
SCHEDULERS: Final[dict[str, SchedulerType]] = _named(
    (
        SchedulerType("fifo", "lets every trial finish", "energysweep.searching.schedulers:fifo"),
        SchedulerType(
            "asha",
            "stops the worse ones at each rung",
            "energysweep.searching.asha:make",
            keys=("resource", "grace_period", "max_resource", "reduction_factor"),
            ends_at_max_resource=True,
        ),
        SchedulerType(
            "hyperband",
            "pauses each at the rung of its bracket until the others are there, and stops the worse ones",
            "energysweep.searching.hyperband:make",
            keys=("resource", "max_resource", "reduction_factor"),
            ends_at_max_resource=True,
            needs_pauses=True,
        ),
        SchedulerType(
            "median",
            "stops those whose best is worse than the median of the others' means",
            "energysweep.searching.median:make",
            keys=("resource", "grace_period", "min_samples_required", "min_time_slice", "hard_stop"),
        ),
        SchedulerType(
            "pbt",
            "lets the worst go on from the best with their parameters, changed a little",
            "energysweep.searching.population:make",
            keys=(
                *_POPULATION,
                "burn_in_period",
                "hyperparam_mutations",
                "resample_probability",
                "perturbation_factors",
            ),
            needs=("perturbation_interval", "hyperparam_mutations"),
            needs_pauses=True,
            changes=True,
        ),
        SchedulerType(
            "pb2",
            "is pbt whose changes a Gaussian process chooses",
            "energysweep.searching.pb2:make",
            keys=(*_POPULATION, "hyperparam_bounds"),
            needs=("perturbation_interval", "hyperparam_bounds"),
            needs_pauses=True,
            changes=True,
            package=("sklearn", "scikit-learn"),
        ),
        SchedulerType(
            "race",
            "pauses and goes on, so that configurations spend the same joules until the winners are found",
            "energysweep.searching.race:race",
            keys=("winners",),
            needs_all=True,
        ),
        SchedulerType(
            "cap",
            "ends who has spent more than the winners to the target, without pausing",
            "energysweep.searching.race:cap",
            keys=("winners",),
            needs_target=True,
            needs_all=True,
            is_ordered=True,
        ),
    )
)


def said(rows: dict[str, Algorithm] | dict[str, SchedulerType] | dict[str, Sampler]) -> str:
    """What they do, in one sentence: ``grid tries all combinations, random draws them.``"""
    return ", ".join(f"{row.name} {row.does}" for row in rows.values()) + "."


def those(rows: Collection[Any]) -> str:
    """Their names: ``random or optuna``, and of three ``a, b or c``."""
    names = [row.name for row in rows]
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def reading(key: str) -> list[SchedulerType]:
    """The schedulers that read a key of ``scheduler``."""
    return [row for row in SCHEDULERS.values() if key in row.keys]
