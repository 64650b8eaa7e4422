"""What a sweep YAML may say. Every key's description stands below it and goes into the JSON Schema.

The models check one key at a time; rules between keys are in ``checks``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    PrivateAttr,
    Strict,
    Tag,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from energysweep.core import records
from energysweep.core.objective import Objective as Rule
from energysweep.meters.base import Component
from energysweep.meters.kinds import ALLOWED as METERS
from energysweep.meters.kinds import AUTO
from energysweep.sweepfile.algorithms import ALGORITHMS, SCHEDULERS, Algorithm, SchedulerType, said
from energysweep.sweepfile.yaml import Document, listed, write_document

Mode = Literal["min", "max"]
if TYPE_CHECKING:
    AlgorithmName: TypeAlias = str
    SchedulerName: TypeAlias = str
else:
    AlgorithmName = Literal[tuple(ALGORITHMS)]
    SchedulerName = Literal[tuple(SCHEDULERS)]

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,59}$")]
Number = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Finite = Field(allow_inf_nan=False)
Text = Annotated[str, Field(min_length=1)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class Grid(_Model):
    """Every value is tried."""

    grid: Annotated[Sequence[JsonValue], Field(min_length=1)]
    """The values, each once."""


class Choice(_Model):
    """One of the values is drawn (algorithms random and optuna)."""

    choice: Annotated[Sequence[JsonValue], Field(min_length=1)]
    """The values; all are equally likely."""


class Uniform(_Model):
    """A number is drawn from a range (algorithms random and optuna)."""

    uniform: Annotated[tuple[Number, Number], Strict(strict=False)]
    """Lowest and highest value."""


class LogUniform(_Model):
    """A number whose logarithm is drawn from a range (algorithms random and optuna)."""

    loguniform: Annotated[tuple[Positive, Positive], Strict(strict=False)]
    """Lowest and highest value, both above 0."""


class RandInt(_Model):
    """A whole number is drawn from a range (algorithms random and optuna)."""

    randint: Annotated[tuple[int, int], Strict(strict=False)]
    """Lowest value, and the first one above the range."""


Distribution = Grid | Choice | Uniform | LogUniform | RandInt
DISTRIBUTIONS = ("grid", "choice", "uniform", "loguniform", "randint")
_FOREIGN = {
    "min",
    "max",
    "low",
    "high",
    "lower",
    "upper",
    "value",
    "values",
    "distribution",
    "range",
    "log",
    "q",
    "step",
}


def _known_distribution(value: Any) -> Any:
    if not isinstance(value, dict) or (len(value) == 1 and set(value) <= set(DISTRIBUTIONS)):
        return value
    near = [match for key in islice(value, 10) for match in get_close_matches(key[:30], DISTRIBUTIONS, n=1)]
    if value and not near and not any(key in value for key in DISTRIBUTIONS) and not _looks_like_a_distribution(value):
        return value
    hint = f"; did you mean {near[0]}?" if near and len(value) == 1 else ""
    allowed = ", ".join(DISTRIBUTIONS)
    message = f"has the keys {listed(value) if value else '(none)'}{hint}"
    message += f" (allowed: a constant, or a mapping with exactly one of {allowed}; a constant that looks like one: "
    message += "{grid: [{...}]})"
    # Braces would be taken for fields of the message.
    raise PydanticCustomError("distribution", "{message}", {"message": message})


def _looks_like_a_distribution(value: dict[str, Any]) -> bool:
    """``{values: [1, 2]}``, ``{min: 0, max: 1}``: how other tools write one, and no constant."""
    return (len(value) == 1 and isinstance(next(iter(value.values())), list)) or set(value) <= _FOREIGN


def _kind(value: Any) -> str:
    if isinstance(value, BaseModel):
        return f"<{next(iter(type(value).model_fields))}>"
    if isinstance(value, dict) and len(value) == 1 and set(value) <= set(DISTRIBUTIONS):
        return f"<{next(iter(value))}>"
    return "<constant>"


Parameter = Annotated[
    Annotated[Grid, Tag("<grid>")]
    | Annotated[Choice, Tag("<choice>")]
    | Annotated[Uniform, Tag("<uniform>")]
    | Annotated[LogUniform, Tag("<loguniform>")]
    | Annotated[RandInt, Tag("<randint>")]
    | Annotated[
        JsonValue,
        Tag("<constant>"),
        WithJsonSchema(
            {
                "description": "A constant.",
                "anyOf": [
                    {"type": ["string", "number", "boolean", "null", "array"]},
                    {
                        "type": "object",
                        "minProperties": 1,
                        "propertyNames": {"not": {"enum": list(DISTRIBUTIONS)}},
                        "not": {"maxProperties": 1, "additionalProperties": {"type": "array"}},
                    },
                ],
            }
        ),
    ],
    Discriminator(_kind),
    BeforeValidator(_known_distribution),
]


class Objective(_Model):
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


class Search(_Model):
    """How configurations are chosen."""

    algorithm: Annotated[AlgorithmName, Field(description=said(ALGORITHMS))] = "grid"
    num_samples: Annotated[int, Field(ge=1)] | None = None
    """How many configurations are drawn; with grids, for each of their combinations. Not of algorithm grid."""
    seed: int = 0
    """Seed of the drawing."""
    metrics: Annotated[Mapping[str, Mode], Field(min_length=1)] | None = None
    """The metrics to optimise together, each min or max, if the algorithm can; by default the objective."""

    @property
    def kind(self) -> Algorithm:
        """The algorithm's row of the table."""
        return ALGORITHMS[self.algorithm]


class Scheduler(_Model):
    """Which trials are stopped early."""

    type: Annotated[SchedulerName, Field(description=said(SCHEDULERS))] = "fifo"
    resource: Text = "training_iteration"
    """asha: the metric that counts what a trial has used, such as energy_joules (Tune's time_attr)."""
    grace_period: Positive = 1
    """asha: no trial is stopped before it has used this much (Tune's grace_period)."""
    max_resource: Positive | None = None
    """asha: a trial ends when it has used this much (Tune's max_t); 100 if the resource is training_iteration."""
    reduction_factor: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 4
    """asha: one in so many trials goes on after a rung (Tune's reduction_factor)."""
    winners: Annotated[int, Field(ge=1)] = 3
    """race, cap: how many configurations must reach the target; these are repeated, and the answer is the cheapest."""

    @property
    def kind(self) -> SchedulerType:
        """The scheduler's row of the table."""
        return SCHEDULERS[self.type]


class Hardware(_Model):
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


class Stage(_Model):
    """What runs before the sweep's configurations, once for each repeat and hardware profile, such as a pretraining."""

    parameters: Mapping[str, Parameter] = {}
    """What differs from the sweep's constants; constants only."""
    objective: Objective | None = None
    """What the stage is judged by; by default as the sweep."""
    stop: Mapping[str, Number] | None = None
    """When its trials end; by default as the sweep's."""


class Carbon(_Model):
    """The grid that the energy came from; the world's average if nothing is given."""

    country: Text | None = None
    """ISO 3166 code of two or three letters."""
    region: Text | None = None
    """A region of the country, such as a state of the USA."""
    grams_per_kwh: Annotated[records.GramsPerKwh, _Finite] | None = None
    """Grid intensity in grams of CO2e per kWh, instead of a country."""
    pue: Annotated[records.Pue, _Finite] = 1.0
    """Power usage effectiveness: what the building draws for each joule of the computers."""


class Budget(_Model):
    """What the sweep may use in all its parts together; it ends when one of these is spent."""

    energy_joules: Annotated[Positive, Field(le=records.MAX_JOULES)] | None = None
    """Joules that it may be charged with: trials, their start-up and overhead, also of what is lost or pruned."""
    emissions_grams: Positive | None = None
    """Grams of CO2e of these joules; needs a grid under carbon."""
    cost: Positive | None = None
    """What these joules may cost, in the currency of price."""
    duration_seconds: Positive | None = None
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


class Price(_Model):
    """What energy costs."""

    per_kwh: Annotated[Positive, BeforeValidator(_no_table)]
    """Price of a kilowatt-hour, a number. The building's share (carbon.pue) is paid for, too."""
    currency: Text = "EUR"
    """Its currency, a short word for people, such as EUR."""


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Results(_Model):
    """How a command reports, if it prints no JSON."""

    pattern: Annotated[
        Sequence[Text], Field(min_length=1), BeforeValidator(_listed, json_schema_input_type=str | list[str])
    ]
    """Regular expressions, one or a list. A named group, (?P<accuracy>[0-9.]+), is a metric; the last reports."""


class SweepSpec(_Model):
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
    """Free text for people: one text or a list."""
    carbon: Carbon = Carbon()
    """The grid that the energy came from."""
    budget: Budget | None = None
    """What the sweep may use at most."""
    price: Price | None = None
    """What energy costs."""
    meters: Annotated[Sequence[str], Field(min_length=1, description=f"Each of {METERS}; auto stands alone.")] = [AUTO]
    idle_power_watts: Mapping[Component, Annotated[records.Watts, _Finite]] = {}
    """Idle power of a host's cpu, dram and gpu, if it is known."""

    _document: Document = PrivateAttr(default_factory=Document)
    _source: Path | None = PrivateAttr(default=None)

    @property
    def document(self) -> Document:
        """What was loaded; later checks make their errors from it (``spec.document.error(problem, path)``)."""
        return self._document

    @property
    def source(self) -> Path | None:
        """The absolute path of the file that it was loaded from."""
        return self._source

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
