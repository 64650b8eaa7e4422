"""What a sweep YAML may say. Every key's description stands below it and goes into the JSON Schema.

The models check one key at a time; rules between keys are in ``checks``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

from pydantic import BeforeValidator, Field, JsonValue, PrivateAttr, Strict
from pydantic_core import PydanticCustomError

from energysweep.core import records
from energysweep.core.objective import Objective as Rule
from energysweep.meters.base import Component
from energysweep.meters.kinds import ALLOWED as METERS
from energysweep.meters.kinds import AUTO
from energysweep.sweepfile.algorithms import ALGORITHMS, SAMPLERS, SCHEDULERS, Algorithm, SchedulerType, said
from energysweep.sweepfile.distributions import Model, Number, Positive
from energysweep.sweepfile.parameters import Parameter
from energysweep.sweepfile.trackers import Trackers
from energysweep.sweepfile.yaml import Document, write_document

MAX_TRIALS: Final = 100_000  # far above what one sweep can run; a slip of the keyboard makes millions

Mode = Literal["min", "max"]
if TYPE_CHECKING:
    AlgorithmName: TypeAlias = str
    SchedulerName: TypeAlias = str
    SamplerName: TypeAlias = str
else:
    AlgorithmName = Literal[tuple(ALGORITHMS)]
    SchedulerName = Literal[tuple(SCHEDULERS)]
    SamplerName = Literal[tuple(SAMPLERS)]

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,59}$")]
_Finite = Field(allow_inf_nan=False)
Text = Annotated[str, Field(min_length=1)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Bounds = Annotated[tuple[Number, Number], Strict(strict=False)]


class Objective(Model):
    """What a configuration is judged by."""

    metric: Text
    """A metric that the workload reports."""
    mode: Mode
    """Whether the metric is to be large (max) or small (min)."""
    target: Annotated[records.Target, _Finite] | None = None
    """The value to reach; the report compares the energy that it took."""
    stop_at_target: bool = False
    """End a trial once it has reached the target."""
    patience: records.Patience = 1
    """How many reports in a row must meet the target before it counts as reached."""

    @property
    def rule(self) -> Rule:
        """The rule by which reported values are judged."""
        return Rule(self.metric, self.mode, self.target, self.patience)


class Constraint(Model):
    """Within which limits a metric is to be."""

    at_most: Number | None = None
    """The largest allowed value."""
    at_least: Number | None = None
    """The smallest allowed value."""

    def excess(self, value: float) -> list[float]:
        """By how much a value is beyond each limit; none above 0: it is within them."""
        above = [] if self.at_most is None else [value - self.at_most]
        return above if self.at_least is None else [*above, self.at_least - value]


class Search(Model):
    """How configurations are chosen."""

    algorithm: Annotated[AlgorithmName, Field(description=said(ALGORITHMS))] = "grid"
    num_samples: Annotated[int, Field(ge=1)] | None = None
    """How many configurations are drawn; with grids, for each of their combinations. Not of algorithm grid."""
    seed: int = 0
    """Seed of the drawing."""
    sampler: Annotated[SamplerName, Field(description=f"optuna: what it chooses by. {said(SAMPLERS)}")] = "tpe"
    sampler_settings: Mapping[str, JsonValue] = {}
    """optuna: the sampler's settings by Optuna's names, such as n_startup_trials: numbers, truth values and texts."""
    metrics: Annotated[Mapping[str, Mode], Field(min_length=1)] | None = None
    """The metrics to optimise together, each min or max, if the algorithm can; by default the objective."""

    constraints: Annotated[Mapping[str, Constraint], Field(min_length=1)] | None = None
    """optuna: limits of metrics, such as energy_joules; what is within them is preferred."""

    @property
    def learns_from(self) -> tuple[str, ...]:
        """The metrics that it asks for beside the objective."""
        return tuple(dict.fromkeys([*(self.metrics or ()), *(self.constraints or ())]))

    @property
    def kind(self) -> Algorithm:
        """The algorithm's row of the table."""
        return ALGORITHMS[self.algorithm]


class Scheduler(Model):
    """Which trials are stopped early."""

    type: Annotated[SchedulerName, Field(description=said(SCHEDULERS))] = "fifo"
    resource: Text = "training_iteration"
    """The metric that counts what a trial has used, such as energy_joules (Tune's time_attr). Not of race and cap."""
    grace_period: Positive = 1
    """asha, median: no trial is stopped before it has used this much (Tune's grace_period)."""
    max_resource: Positive | None = None
    """asha, hyperband: a trial ends when it has used this much (Tune's max_t); 100 or 81 training_iterations."""
    reduction_factor: Annotated[float, Field(gt=1, allow_inf_nan=False)] | None = None
    """asha, hyperband: one in so many trials goes on after a rung (Tune's reduction_factor); 4 or 3."""
    min_samples_required: Annotated[int, Field(ge=1)] = 3
    """median: of so many others a median is made, and of no fewer (Tune's min_samples_required)."""
    min_time_slice: NotNegative | None = None
    """median: before there are enough, a trial yields to those that wait after so much (Tune's); never by default."""
    hard_stop: bool = True
    """median: false pauses the worse ones, which go on after all others (Tune's hard_stop)."""
    perturbation_interval: Positive | None = None
    """pbt, pb2: a trial is compared each time that it has used this much more (Tune's perturbation_interval)."""
    burn_in_period: NotNegative = 0
    """pbt: no trial is compared before it has used this much (Tune's burn_in_period)."""
    quantile_fraction: Annotated[float, Field(ge=0, le=0.5)] = 0.25
    """pbt, pb2: so many go on from the checkpoint of one of as many best (Tune's quantile_fraction)."""
    hyperparam_mutations: Annotated[Mapping[str, Parameter], Field(min_length=1)] | None = None
    """pbt: what changes, by the names of parameters: a list of values, or a distribution."""
    resample_probability: Annotated[float, Field(ge=0, le=1)] = 0.25
    """pbt: how likely a changed value is drawn anew (Tune's resample_probability)."""
    perturbation_factors: Annotated[tuple[Positive, Positive], Strict(strict=False)] = (1.2, 0.8)
    """pbt: otherwise a number is multiplied by one of these two (Tune's perturbation_factors)."""
    hyperparam_bounds: Annotated[Mapping[str, Bounds], Field(min_length=1)] | None = None
    """pb2: what changes, by the names of parameters: its lowest and highest value (Tune's hyperparam_bounds)."""
    winners: Annotated[int, Field(ge=1)] = 3
    """race, cap: how many configurations must reach the target; these are repeated, and the answer is the cheapest."""

    @property
    def kind(self) -> SchedulerType:
        """The scheduler's row of the table."""
        return SCHEDULERS[self.type]


class Hardware(Model):
    """What every trial of a hardware profile reserves."""

    resources: Mapping[str, Positive] = {"cpu": 1.0}
    """Numbers of cpu (1 if not named) and gpu, and Ray's custom resources by name."""
    labels: Mapping[str, str] = {}
    """Ray node labels that the node must have."""

    @property
    def cpu(self) -> float:
        """Logical CPUs that a trial reserves."""
        return self.resources.get("cpu", 1.0)

    @property
    def gpu(self) -> float:
        """GPUs that a trial reserves; below 1, a share of one."""
        return self.resources.get("gpu", 0.0)

    @property
    def custom(self) -> dict[str, float]:
        """Ray's custom resources."""
        return {name: amount for name, amount in self.resources.items() if name not in ("cpu", "gpu")}


class Stage(Model):
    """What runs before the sweep's configurations, once for each repeat and hardware profile, such as a pretraining."""

    parameters: Mapping[str, Parameter] = {}
    """What differs from the sweep's constants; constants only."""
    objective: Objective | None = None
    """What the stage is judged by; by default as the sweep."""
    stop: Mapping[str, Number] | None = None
    """When its trials end; by default as the sweep's."""


class Carbon(Model):
    """The grid that the energy came from; the world's average if nothing is given."""

    country: Text | None = None
    """ISO 3166 code of two or three letters."""
    region: Text | None = None
    """A region of the country: a state of the USA, a province of Canada or China, a Nordic bidding zone."""
    grams_per_kwh: Annotated[records.GramsPerKwh, _Finite] | None = None
    """Grid intensity in grams of CO2e per kWh, instead of a country."""
    pue: Annotated[records.Pue, _Finite] = 1.0
    """Power usage effectiveness: what the building draws for each joule of the computers."""
    market_grams_per_kwh: Annotated[records.GramsPerKwh, _Finite] | None = None
    """Grams per kWh by contract (scope 2, market-based): told beside the grid's, by which all else is counted."""


_Limit = Annotated[Positive, Field(le=records.MAX_BUDGET)]


class Budget(Model):
    """What the sweep may use in all its parts together; it ends when one of these is spent."""

    energy_joules: _Limit | None = None
    """Joules that it may be charged with: trials, their start-up and overhead, also of what is lost or pruned."""
    emissions_grams: _Limit | None = None
    """Grams of CO2e of these joules; needs a grid under carbon."""
    cost: _Limit | None = None
    """What these joules may cost, in the currency of price."""
    duration_seconds: _Limit | None = None
    """How long the sweep may run; the time between its parts does not count."""

    @property
    def limits(self) -> dict[str, float]:
        """Those that are given, by their names."""
        return self.model_dump(exclude_none=True)


def _no_table(value: Any) -> Any:
    if isinstance(value, str):
        message = "must be a number, the price of a kilowatt-hour; a table of hours is not read"
        raise PydanticCustomError("price", "{message}", {"message": message})
    return value


class Price(Model):
    """What energy costs."""

    per_kwh: Annotated[Positive, Field(le=records.MAX_PRICE), BeforeValidator(_no_table)]
    """Price of a kilowatt-hour, a number. The building's share (carbon.pue) is paid for, too."""
    currency: Text = "EUR"
    """Its currency, a short word for people, such as EUR."""


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Results(Model):
    """How a command reports, if it prints no JSON."""

    pattern: Annotated[
        Sequence[Text], Field(min_length=1), BeforeValidator(_listed, json_schema_input_type=str | list[str])
    ]
    """Regular expressions, one or a list. A named group, (?P<accuracy>[0-9.]+), is a metric; the last reports."""


class SweepSpec(Model):
    """A sweep: what is trained, in which configurations, on what hardware. Made by ``load_spec``.

    Paths (of ``workload``, ``working_dir``, ``storage`` and replay traces) are absolute once loaded.
    """

    name: Name
    """Name of the sweep: up to 60 letters, digits, dots, dashes and underscores."""
    workload: Text | None = None
    """The training code, any Ray Tune trainable: module:attr or path.py:attr. Either this or command."""
    command: Annotated[Sequence[str], Field(min_length=1)] | None = None
    """A program and its arguments, with {parameter} where a value goes; it prints one JSON object per report."""
    results: Results | None = None
    """How a command reports, if it prints no JSON."""
    parameters: Mapping[str, Parameter] = {}
    """What the workload gets: constants and distributions by name."""
    space: Text | None = None
    """A function that makes the configurations (Optuna's define-by-run): module:attr or path.py:attr."""
    stages: Mapping[Name, Stage] = {}
    """What runs first, in this order; a trial with pretrained: {from: NAME} goes on from its checkpoint."""
    objective: Objective
    """The metric that a configuration is judged by, and the target that it should reach."""
    repeats: Annotated[int, Field(ge=1)] = 1
    """Trials per configuration; each gets its number, from 0, as the parameter seed."""
    search: Search = Search()
    """How configurations are chosen."""
    scheduler: Scheduler = Scheduler()
    """Which trials are stopped early."""
    stop: Mapping[str, Number] = {}
    """A trial ends when one of these metrics has reached its number (Tune's rule)."""
    hardware: Mapping[Name, Hardware] = {}
    """Hardware profiles; every configuration runs on each. Without any, a trial reserves one CPU."""
    max_concurrent_trials: Annotated[int, Field(ge=1)] | None = None
    """Trials at the same time; by default as many as there are resources for."""
    max_failures: Annotated[int, Field(ge=0)] = 0
    """How often a failed trial is started again."""
    storage: Text | None = None
    """Tune's storage path, a folder or a URI; several nodes need a shared one."""
    environment: Mapping[str, str] = {}
    """Environment variables of the trials."""
    working_dir: Text | None = None
    """The trials' working folder; by default the folder of the sweep's file."""
    runtime_env: Mapping[str, JsonValue] = {}
    """Ray's runtime environment of the trials."""
    tags: Annotated[Sequence[str], BeforeValidator(_listed, json_schema_input_type=str | list[str])] = []
    """What people sort runs by: one text or a list; `energysweep account --by tag` adds up by them."""
    owner: str | None = None
    """Who answers for it, a person or a team; by default ENERGYSWEEP_OWNER, else the user who starts it."""
    carbon: Carbon = Carbon()
    """The grid that the energy came from."""
    budget: Budget | None = None
    """What the sweep may use at most."""
    price: Price | None = None
    """What energy costs."""
    trackers: Trackers | None = None
    """Where else the run is told as it goes: mlflow, wandb, tensorboard."""
    meters: Annotated[Sequence[str], Field(min_length=1, description=f"Each of {METERS}; auto stands alone.")] = [AUTO]
    idle_power_watts: Mapping[Component, Annotated[records.Watts, _Finite]] = {}
    """Idle power of a host's cpu, dram and gpu, if it is known."""

    _document: Document = PrivateAttr(default_factory=Document)
    _source: Path | None = PrivateAttr(default=None)
    _functions: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def document(self) -> Document:
        """What was loaded; later checks make their errors from it (``spec.document.error(problem, path)``)."""
        return self._document

    @property
    def source(self) -> Path | None:
        """The absolute path of the file that it was loaded from."""
        return self._source

    @property
    def functions(self) -> dict[str, Any]:
        """What was imported for it, by how it is named: once, whatever becomes of a file while it runs."""
        return self._functions

    @property
    def folder(self) -> Path:
        """The folder that relative paths start from: the file's, or the current one."""
        return Path.cwd() if self._source is None else self._source.parent

    @property
    def profiles(self) -> dict[str, Hardware]:
        """The hardware profiles; one without a name if the sweep names none."""
        return dict(self.hardware) or {"": Hardware()}

    def to_yaml(self) -> str:
        """YAML that loads as the same sweep from any folder."""
        # A module or a script beside the file must be found from elsewhere, too.
        return self.model_copy(update={"working_dir": self.working_dir or str(self.folder)}).to_bare_yaml()

    def to_bare_yaml(self) -> str:
        """YAML of the sweep as it is; modules beside its file are looked for in the folder that it is read from."""
        return write_document(self.model_dump(exclude_defaults=True))
