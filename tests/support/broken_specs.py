"""Sweeps that are wrong, each in one way, with what a person must be told (the command line uses them, too)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from energysweep.sweepfile.algorithms import ALGORITHMS, those

WORK = "def train(config):\n    pass\n\n\nconstant = 3\n"

GOOD = """\
name: good
workload: work.py:train
parameters:
  learning_rate: {grid: [1e-3, 1e-2]}
  batch_size: {grid: [16, 64, 256]}
  epochs: 20
objective: {metric: accuracy, mode: max, target: 0.95}
repeats: 3
search: {algorithm: grid}
scheduler: {type: fifo}
stop: {training_iteration: 50}
hardware:
  small: {resources: {cpu: 1}}
  large: {resources: {cpu: 4, gpu: 1}, labels: {ray.io/accelerator-type: H100}}
environment: {OMP_PROC_BIND: "true"}
carbon: {grams_per_kwh: 380}
meters: [estimate]
idle_power_watts: {cpu: 20}
"""


def good(old: str = "", new: str = "") -> str:
    """The good sweep with one thing changed."""
    assert old in GOOD
    return GOOD.replace(old, new, 1)


PROGRAM = """\
name: good
command: [train, "{size}"]
parameters: {size: {grid: [1, 2]}}
objective: {metric: accuracy, mode: max}
scheduler: {type: @}
"""


def population(also: str = "", *, repeats: int = 1, one_profile: bool = True) -> str:
    """The good sweep as a population, with one thing more."""
    keys = f"perturbation_interval: 1, hyperparam_mutations: {{batch_size: [16, 64]}}, {also}"
    content = good("type: fifo", f"type: pbt, {keys}").replace("repeats: 3", f"repeats: {repeats}")
    large = next(line for line in GOOD.splitlines() if line.startswith("  large:"))
    return content.replace(f"{large}\n", "") if one_profile else content


@dataclass(frozen=True)
class Broken:
    """One wrong sweep.

    Attributes:
        id: what is wrong, in words.
        content: the file's text or bytes; None: there is no file; ``FOLDER``: the path is a folder.
        key: the key path that the message must name, None if it is about the whole file.
        fragment: what the message must say.
        files: other files beside it.
        options: what follows ``--set``.
        found_by: ``load_spec`` or, for what is imported or executed, ``check_workload``.
    """

    id: str
    content: str | bytes | None
    key: str | None
    fragment: str
    files: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    found_by: str = "load_spec"

    def write(self, folder: Path) -> Path:
        """Write the sweep and what lies beside it; returns its path."""
        for name, text in {"work.py": WORK, **self.files}.items():
            (folder / name).write_text(text)
        path = folder / "sweep.yaml"
        if self.content == FOLDER:
            path.mkdir()
        elif isinstance(self.content, bytes):
            path.write_bytes(self.content)
        elif self.content is not None:
            path.write_text(self.content)
        return path


FOLDER = "(a folder)"
COMMAND = ("workload: work.py:train", "command: [python3, train.py]")


def _distribution(text: str) -> str:
    return good("learning_rate: {grid: [1e-3, 1e-2]}", f"learning_rate: {text}")


def _stage(text: str) -> str:
    return good("  epochs: 20", f"  pretrained: {{grid: [null, {{from: base}}]}}\nstages:\n  {text}")


def _constrained(text: str, more: str = "") -> str:
    search = f"algorithm: optuna, num_samples: 4{more}, constraints: {{{text}}}"
    return good("algorithm: grid", search).replace("{grid: ", "{choice: ")


BROKEN = [
    # the file
    Broken("no such file", None, None, "there is no such file"),
    Broken("a folder", FOLDER, None, "is a folder"),
    Broken("an empty file", "", None, "is empty"),
    Broken("only a comment", "# nothing\n", None, "is empty"),
    Broken("bytes that are no text", b"\x89PNG\r\n\x1a\n\x00", None, "is not a text in UTF-8"),
    Broken("a null character", b"name: a\x00b\n", None, "is not valid YAML"),
    Broken("a list", "- name: a\n", None, "must be a mapping"),
    Broken("two documents", GOOD + "---\n" + GOOD, None, "single document"),
    Broken("a tab", good("  epochs: 20", "\tepochs: 20"), None, "a tab indents this line"),
    Broken("a bracket that stays open", good("[16, 64, 256]", "[16, 64, 256"), None, "is not valid YAML"),
    Broken("a duplicate key", GOOD + "repeats: 4\n", "repeats", "stands here twice (first on line 8)"),
    Broken("a duplicate parameter", good("  epochs: 20", "  epochs: 20\n  epochs: 30"), "parameters.epochs", "twice"),
    Broken(
        "a tag that would run code",
        good("epochs: 20", 'epochs: !!python/object/apply:os.system ["echo no"]'),
        "parameters.epochs",
        "the tag !!python/object/apply:os.system is not allowed",
    ),
    Broken("a timestamp tag", good("20}", "!!timestamp 2020-01-01}"), "idle_power_watts.cpu", "!!timestamp"),
    Broken("a number as a key", good("epochs: 20", "20: epochs"), "parameters", "a key must be text, not 20"),
    Broken(
        "aliases of aliases",
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}]\n" for a, b in ("ab", "bc", "cd"))
        + "e: [*d, *d, *d, *d, *d, *d, *d, *d, *d]\n",
        "e",
        "stands for more than 20000 values",
    ),
    Broken("a list that holds itself", "a: &a [*a]\n", None, "contains itself"),
    Broken("a thousand brackets", "a: " + "[" * 1000, None, "nested too deeply"),
    # keys and types
    Broken("an unknown key", good("repeats: 3", "repeat: 3"), "repeat", "did you mean repeats?"),
    Broken("an unknown key inside", good("target: 0.95", "tarjet: 0.95"), "objective.tarjet", "did you mean target?"),
    Broken(
        "an unknown key of a profile",
        good("{resources: {cpu: 1}}", "{resource: {cpu: 1}}"),
        "hardware.small.resource",
        "did you mean resources?",
    ),
    Broken("no name", good("name: good\n"), "name", "is missing"),
    Broken("no mode", good(", mode: max"), "objective.mode", "is missing"),
    Broken("a mode that is none", good("mode: max", "mode: maximum"), "objective.mode", "'min' or 'max'"),
    Broken("no objective", good("objective: {metric: accuracy, mode: max, target: 0.95}\n"), "objective", "is missing"),
    Broken("a name with slashes", good("name: good", "name: runs/good"), "name", "letters, digits"),
    Broken("a name that is too long", good("name: good", "name: " + "x" * 61), "name", "1 to 60"),
    Broken("a name that is a number", good("name: good", "name: 12"), "name", 'write "12" in quotes'),
    Broken("negative repeats", good("repeats: 3", "repeats: -3"), "repeats", "must be at least 1, not -3"),
    Broken("repeats as text", good("repeats: 3", "repeats: three"), "repeats", 'a whole number, not "three"'),
    Broken("half a repeat", good("repeats: 3", "repeats: 2.5"), "repeats", "a whole number, not 2.5"),
    Broken("repeats: true", good("repeats: 3", "repeats: true"), "repeats", "a whole number, not true"),
    Broken(
        "a switch that says yes",
        good("target: 0.95", "target: 1, stop_at_target: yes"),
        "objective.stop_at_target",
        'must be true or false, not "yes"',
    ),
    Broken("negative failures", GOOD + "max_failures: -1\n", "max_failures", "at least 0"),
    Broken("nothing at the same time", GOOD + "max_concurrent_trials: 0\n", "max_concurrent_trials", "at least 1"),
    Broken("a variable that is no text", good('"true"', "true"), "environment.OMP_PROC_BIND", 'write "true" in quotes'),
    Broken(
        "a stop at a word",
        good("{training_iteration: 50}", "{training_iteration: soon}"),
        "stop.training_iteration",
        "must be a number",
    ),
    Broken(
        "hardware as a list",
        good("small: {resources: {cpu: 1}}", "small: [cpu]"),
        "hardware.small",
        "must be a mapping",
    ),
    # parameters
    Broken("parameters as a list", good("parameters:\n", "parameters: [a]\nx:\n"), "parameters", "must be a mapping"),
    Broken(
        "a misspelt distribution", _distribution("{gird: [1, 2]}"), "parameters.learning_rate", "did you mean grid?"
    ),
    Broken(
        "two distributions", _distribution("{grid: [1], choice: [2]}"), "parameters.learning_rate", "exactly one of"
    ),
    Broken("a mapping as a value", _distribution("{}"), "parameters.learning_rate", "exactly one of"),
    Broken("another tool's distribution", _distribution("{values: [1, 2]}"), "parameters.learning_rate", "exactly one"),
    Broken("another tool's range", _distribution("{min: 0, max: 1}"), "parameters.learning_rate", "exactly one of"),
    Broken(
        "a distribution beside a key", _distribution("{grid: [1], x: 2}"), "parameters.learning_rate", "exactly one"
    ),
    Broken("a mapping with .nan", _distribution("{x: .nan, y: 1}"), "parameters.learning_rate.x", "not .nan"),
    # stages
    Broken("a stage that is a text", _stage("base: pretraining"), "stages.base", "must be a mapping"),
    Broken("an unknown key of a stage", _stage("base: {parameter: {}}"), "stages.base.parameter", "did you mean param"),
    Broken(
        "a grid in a stage",
        _stage("base: {parameters: {batch_size: {grid: [1, 2]}}}"),
        "stages.base.parameters.batch_size",
        "a stage is one configuration",
    ),
    Broken(
        "a misspelt distribution in a stage",
        _stage("base: {parameters: {batch_size: {gird: [1, 2]}}}"),
        "stages.base.parameters.batch_size",
        "did you mean grid?",
    ),
    Broken(
        "an objective of a stage without a mode",
        _stage("base: {objective: {metric: loss}}"),
        "stages.base.objective.mode",
        "is missing",
    ),
    Broken(
        "a stage that stops at no target",
        _stage("base: {objective: {metric: loss, mode: min, stop_at_target: true}}"),
        "stages.base.objective.stop_at_target",
        "needs a target",
    ),
    Broken("a seed in a stage", _stage("base: {parameters: {seed: 3}}"), "stages.base.parameters.seed", "the repeat"),
    Broken("a stage that nobody uses", _stage("base: {}\n  spare: {}"), "stages.spare", "no trial goes on from it"),
    Broken(
        "a stage that is not there",
        _stage("base: {}").replace("{from: base}", "{from: bas}"),
        "parameters.pretrained.grid[1].from",
        "did you mean base?",
    ),
    Broken(
        "a checkpoint that is not there",
        good("  epochs: 20", "  pretrained: {from: /nowhere/checkpoint}"),
        "parameters.pretrained.from",
        "there is no checkpoint folder /nowhere/checkpoint",
    ),
    Broken(
        "a checkpoint that is a number",
        good("  epochs: 20", "  pretrained: {from: 3}"),
        "parameters.pretrained.from",
        "the name of a stage or the path",
    ),
    Broken(
        "an encoder frozen by a text",
        _stage("base: {}").replace("{from: base}", "{from: base, freeze_encoder: no}"),
        "parameters.pretrained.grid[1].freeze_encoder",
        "must be true or false, not 'no'",
    ),
    Broken(
        "an unknown key of what a trial goes on from",
        _stage("base: {}").replace("{from: base}", "{from: base, freeze: true}"),
        "parameters.pretrained.grid[1].freeze",
        "allowed are from and freeze_encoder; did you mean freeze_encoder?",
    ),
    Broken(
        "an encoder frozen by a number in a stage",
        _stage("base: {}\n  second: {parameters: {pretrained: {from: base, freeze_encoder: 1}}}"),
        "stages.second.parameters.pretrained.freeze_encoder",
        "must be true or false, not 1",
    ),
    Broken(
        "a stage that goes on from a later one",
        _stage("base: {parameters: {pretrained: {from: first}}}\n  first: {}"),
        "stages.base.parameters.pretrained.from",
        "the stage first runs later",
    ),
    Broken(
        "a command with stages",
        _stage("base: {}").replace(*COMMAND),
        "stages",
        "a command writes no checkpoint",
    ),
    Broken("an empty grid", _distribution("{grid: []}"), "parameters.learning_rate.grid", "must not be empty"),
    Broken("a grid without brackets", _distribution("{grid: 3}"), "parameters.learning_rate.grid", "must be a list"),
    Broken("a value twice", _distribution("{grid: [1, 2, 1]}"), "parameters.learning_rate.grid[2]", "twice"),
    Broken(
        "loguniform under grid",
        _distribution("{loguniform: [1e-4, 1e-1]}"),
        "parameters.learning_rate.loguniform",
        f"search.algorithm {those([row for row in ALGORITHMS.values() if row.draws])}",
    ),
    Broken(
        "choice under grid",
        _distribution("{choice: [1, 2]}"),
        "parameters.learning_rate.choice",
        "only grid and constants work",
    ),
    Broken(
        "an upside-down range", _distribution("{uniform: [2, 1]}"), "parameters.learning_rate.uniform", "low < high"
    ),
    Broken(
        "a logarithm of zero",
        _distribution("{loguniform: [0, 1]}"),
        "parameters.learning_rate.loguniform[0]",
        "must be above 0",
    ),
    Broken("half a range", _distribution("{uniform: [1]}"), "parameters.learning_rate.uniform", "[low, high]"),
    Broken(
        "a range of three", _distribution("{uniform: [1, 2, 3]}"), "parameters.learning_rate.uniform", "[low, high]"
    ),
    Broken(
        "fractions of integers",
        _distribution("{randint: [0.5, 2]}"),
        "parameters.learning_rate.randint[0]",
        "whole number",
    ),
    Broken("a value that is none", _distribution(".nan"), "parameters.learning_rate", "not .nan"),
    Broken("a parameter called seed", good("epochs: 20", "seed: 20"), "parameters.seed", "the number of the repeat"),
    Broken("a parameter with a dash", good("epochs: 20", "max-epochs: 20"), "parameters.max-epochs", "underscores"),
    Broken("a private parameter", good("epochs: 20", "_epochs: 20"), "parameters._epochs", "begins with a letter"),
    Broken("a million trials", good("repeats: 3", "repeats: 1000000"), "parameters", "at most 100000"),
    # search and scheduler
    Broken(
        "an unknown algorithm", good("algorithm: grid", "algorithm: optima"), "search.algorithm", "did you mean optuna"
    ),
    Broken("random without a number", good("algorithm: grid", "algorithm: random"), "search.num_samples", "needs it"),
    Broken("samples of a grid", good("algorithm: grid", "num_samples: 4"), "search.num_samples", "every combination"),
    Broken(
        "a grid under optuna",
        good("algorithm: grid", "algorithm: optuna, num_samples: 4"),
        "parameters.learning_rate.grid",
        "use choice",
    ),
    Broken("metrics without optuna", good("algorithm: grid", "metrics: {accuracy: max}"), "search.metrics", "only"),
    Broken(
        "constraints without optuna",
        good("algorithm: grid", "constraints: {energy_joules: {at_most: 5}}"),
        "search.constraints",
        "needs algorithm optuna",
    ),
    Broken(
        "constraints of a sampler that knows none",
        _constrained("a: {at_most: 5}", ", sampler: cmaes"),
        "search.constraints",
        "cmaes knows no constraints; tpe, nsga2, nsga3 or gp do",
    ),
    Broken("a constraint without a limit", _constrained("a/b: {}"), 'search.constraints["a/b"]', "at_most or at_least"),
    Broken("a constraint in signs", _constrained('a: {"<=": 5}'), 'search.constraints.a["<="]', "at_least, at_most"),
    Broken("a constraint that is a number", _constrained("a: 5"), "search.constraints.a", "be a mapping"),
    Broken("a limit that is a text", _constrained('a: {at_most: "5"}'), "search.constraints.a.at_most", "a number"),
    Broken("a limit that is infinite", _constrained("a: {at_most: .inf}"), "search.constraints.a.at_most", "finite"),
    Broken("no constraints", _constrained(""), "search.constraints", "not be empty"),
    Broken(
        "constraints that exclude each other",
        _constrained("a: {at_most: 1, at_least: 2}"),
        "search.constraints.a",
        "at_most 1 is below at_least 2",
    ),
    Broken("a scheduler that is none", good("type: fifo", "type: hyperbend"), "scheduler.type", "mean hyperband?"),
    Broken("a resource without asha", good("type: fifo", "resource: energy_joules"), "scheduler.resource", "asha"),
    Broken(
        "asha on joules without a limit",
        good("type: fifo", "type: asha, resource: energy_joules"),
        "scheduler.max_resource",
        "asha needs it",
    ),
    Broken(
        "a limit below the grace",
        good("type: fifo", "type: asha, grace_period: 9, max_resource: 3"),
        "scheduler.max_resource",
        "grace_period (9)",
    ),
    Broken(
        "a cap without a target",
        good("target: 0.95", "patience: 2").replace("type: fifo", "type: cap"),
        "objective.target",
        "cap",
    ),
    Broken(
        "a race that optuna chooses for",
        good("type: fifo", "type: race")
        .replace("algorithm: grid", "algorithm: optuna, num_samples: 4")
        .replace("grid: [1", "choice: [1"),
        "scheduler.type",
        "algorithm grid or random",
    ),
    Broken("a race of no winners", good("type: fifo", "type: race, winners: 0"), "scheduler.winners", "1"),
    Broken(
        "winners of asha", good("type: fifo", "type: asha, winners: 3"), "scheduler.winners", "only for race or cap"
    ),
    Broken(
        "Tune's name of a key", good("type: fifo", "type: hyperband, max_t: 9"), "scheduler.max_t", "max_resource here"
    ),
    Broken(
        "hyperband on joules without a limit",
        good("type: fifo", "type: hyperband, resource: energy_joules"),
        "scheduler.max_resource",
        "hyperband needs it",
    ),
    Broken(
        "a part of a unit",
        good("type: fifo", "type: hyperband, max_resource: 0.5"),
        "scheduler.max_resource",
        "whole units: at least 1",
    ),
    Broken(
        "a command that is to pause", PROGRAM.replace("@", "hyperband"), "scheduler.type", "a command has no checkpoint"
    ),
    Broken(
        "a command that is to pause for a median",
        PROGRAM.replace("@", "median, hard_stop: false"),
        "scheduler.hard_stop",
        "asha, median, race or cap can stop it",
    ),
    Broken(
        "places that paused trials would take",
        good("type: fifo", "type: hyperband")
        .replace("algorithm: grid", "algorithm: optuna, num_samples: 4")
        .replace("grid: [1", "choice: [1")
        + "max_concurrent_trials: 2\n",
        "max_concurrent_trials",
        "would count the trials that hyperband pauses",
    ),
    Broken(
        "a median of nobody",
        good("type: fifo", "type: median, min_samples_required: 0"),
        "scheduler.min_samples_required",
        "at least 1",
    ),
    Broken("grace of pbt", population("grace_period: 1"), "scheduler.grace_period", "only for asha or median"),
    Broken(
        "pbt without an interval",
        population().replace("perturbation_interval: 1, ", ""),
        "scheduler.perturbation_interval",
        "pbt needs it: a trial is compared",
    ),
    Broken(
        "pbt that changes nothing",
        population("burn_in_period: 1").replace("hyperparam_mutations: {batch_size: [16, 64]}, ", ""),
        "scheduler.hyperparam_mutations",
        "pbt needs it: what changes",
    ),
    Broken(
        "a mapping of nothing",
        population().replace("{batch_size: [16, 64]}", "{}"),
        "scheduler.hyperparam_mutations",
        "must not be empty",
    ),
    Broken("repeats of a population", population(repeats=3), "repeats", "none repeats another"),
    Broken("a population on two profiles", population(one_profile=False), "hardware", "give one"),
    Broken(
        "a population that optuna chooses",
        population()
        .replace("search: {algorithm: grid}", "search: {algorithm: optuna, num_samples: 4}")
        .replace("grid: [1", "choice: [1"),
        "scheduler.type",
        "pbt searches by itself: algorithm grid or random",
    ),
    Broken(
        "a population of one",
        population().replace("{grid: [1e-3, 1e-2]}", "0.1").replace("{grid: [16, 64, 256]}", "16"),
        "scheduler.type",
        "two configurations",
    ),
    Broken(
        "a change of what is none",
        population().replace("{batch_size: [16", "{batch_sise: [16"),
        "scheduler.hyperparam_mutations.batch_sise",
        "did you mean batch_size?",
    ),
    Broken(
        "a change that is no range",
        population().replace("[16, 64]}", "{normal: [1, 2]}}"),
        "scheduler.hyperparam_mutations.batch_size",
        "a list of values, or one of uniform",
    ),
    Broken(
        "a change to a choice",
        population().replace("[16, 64]}", "{choice: [1, 2]}}"),
        "scheduler.hyperparam_mutations.batch_size",
        "written as its list",
    ),
    Broken(
        "a change to a constant",
        population().replace("[16, 64]}", "3}"),
        "scheduler.hyperparam_mutations.batch_size",
        "must be a list of values",
    ),
    Broken(
        "a change within an empty range",
        population().replace("[16, 64]}", "{uniform: [2, 1]}}"),
        "scheduler.hyperparam_mutations.batch_size.uniform",
        "low < high",
    ),
    Broken(
        "a change of a part to a whole",
        population().replace("batch_size: [16, 64]}", "learning_rate: {randint: [1, 9]}}"),
        "scheduler.hyperparam_mutations.learning_rate",
        "whole numbers, and learning_rate may begin as 0.001",
    ),
    Broken(
        "a change of a word",
        population()
        .replace("epochs: 20", "epochs: many")
        .replace("batch_size: [16, 64]}", "epochs: {uniform: [1, 9]}}"),
        "scheduler.hyperparam_mutations.epochs",
        "changes by numbers",
    ),
    Broken(
        "a condition on what changes",
        population()
        .replace("epochs: 20", "epochs: {choice: [1], when: {batch_size: 16}}")
        .replace("algorithm: grid", "algorithm: random, num_samples: 2"),
        "scheduler.hyperparam_mutations.batch_size",
        "has a when, or stands in one",
    ),
    Broken(
        "bounds the wrong way round",
        population()
        .replace("type: pbt", "type: pb2")
        .replace("hyperparam_mutations: {batch_size: [16, 64]}", "hyperparam_bounds: {batch_size: [64, 16]}"),
        "scheduler.hyperparam_bounds.batch_size",
        "low below high",
    ),
    Broken("too large a part", population("quantile_fraction: 0.6"), "scheduler.quantile_fraction", "at most 0.5"),
    Broken(
        "one factor",
        population("perturbation_factors: [2]"),
        "scheduler.perturbation_factors",
        "[factor, other factor]",
    ),
    Broken(
        "a stop without a target", good("target: 0.95", "stop_at_target: true"), "objective.stop_at_target", "target"
    ),
    # hardware, carbon, meters
    Broken("Ray's CPU", good("cpu: 1}", "CPU: 1}"), "hardware.small.resources.CPU", "is written cpu"),
    Broken("no CPU at all", good("cpu: 1}", "cpu: 0}"), "hardware.small.resources.cpu", "must be above 0"),
    Broken("a GPU and a half", good("gpu: 1}", "gpu: 1.5}"), "hardware.large.resources.gpu", "whole number"),
    Broken("a profile with a slash", good("small:", "a/b:"), 'hardware["a/b"]', "letters, digits"),
    Broken("an unknown country", good("{grams_per_kwh: 380}", "{country: XYZ}"), "carbon.country", "XYZ"),
    Broken(
        "an unknown region",
        good("{grams_per_kwh: 380}", "{country: USA, region: atlantis}"),
        "carbon.region",
        "atlantis",
    ),
    Broken(
        "a region without a country",
        good("{grams_per_kwh: 380}", "{region: california}"),
        "carbon.region",
        "needs a country",
    ),
    Broken(
        "two intensities",
        good("{grams_per_kwh: 380}", "{grams_per_kwh: 380, country: DEU}"),
        "carbon.grams_per_kwh",
        "one or the other",
    ),
    Broken("a building that makes power", good("380", "380, pue: 0.9"), "carbon.pue", "at least 1"),
    # what a ledger would call damaged
    Broken("a target beyond all", good("0.95", "1e305"), "objective.target", "must be at most 1e+300, not 1e+305"),
    Broken("a target below all", good("0.95", "-1e305"), "objective.target", "must be at least -1e+300"),
    Broken("a target of 306 digits", good("0.95", "9" * 306), "objective.target", f"1e+300, not {'9' * 57}..."),
    Broken(
        "patience without end",
        good("0.95", "0.95, patience: 10000000000"),
        "objective.patience",
        "must be at most 1e+09, not 10000000000",
    ),
    Broken(
        "a contract that makes power clean twice",
        good("380", "380, market_grams_per_kwh: -1"),
        "carbon.market_grams_per_kwh",
        "at least 0",
    ),
    Broken("a grid beyond all", good("380", "1e300"), "carbon.grams_per_kwh", "must be at most 1e+09, not 1e+300"),
    Broken("a building beyond all", good("380", "380, pue: 1e5"), "carbon.pue", "must be at most 1000, not 100000.0"),
    Broken(
        "a building beyond all, abroad",
        good("grams_per_kwh: 380", "country: DEU, pue: 1e5"),
        "carbon.pue",
        "1000",
    ),
    Broken("idle power beyond all", good("{cpu: 20}", "{cpu: 1e300}"), "idle_power_watts.cpu", "at most 1e+12"),
    Broken("CPUs beyond all", good("{cpu: 1}", "{cpu: 1e7}"), "hardware.small.resources.cpu", "at most 1e+06"),
    Broken("GPUs beyond all", good("gpu: 1}", "gpu: 10000000}"), "hardware.large.resources.gpu", "at most 1e+06"),
    Broken("a budget of nothing", GOOD + "budget: {}\n", "budget", "one or more of energy_joules, emissions_grams"),
    Broken("a budget below zero", GOOD + "budget: {energy_joules: -1}\n", "budget.energy_joules", "must be above 0"),
    Broken("an endless budget", GOOD + "budget: {cost: .inf}\n", "budget.cost", "must be a finite number"),
    Broken("a budget beyond all", GOOD + "budget: {duration_seconds: 1e19}\n", "budget.duration_seconds", "1e+18"),
    Broken("a price beyond all", GOOD + "price: {per_kwh: 1e10}\n", "price.per_kwh", "1e+09"),
    Broken("a budget of watts", GOOD + "budget: {power: 5}\n", "budget.power", "allowed: cost, duration_seconds"),
    Broken("a budget in words", GOOD + "budget: {duration_seconds: 2h}\n", "budget.duration_seconds", "a number"),
    Broken("a cost without a price", GOOD + "budget: {cost: 2.5}\n", "budget.cost", "needs price"),
    Broken(
        "grams of nowhere",
        good("carbon: {grams_per_kwh: 380}\n") + "budget: {emissions_grams: 50}\n",
        "budget.emissions_grams",
        "needs carbon",
    ),
    Broken(
        "grams of a clean grid",
        good("grams_per_kwh: 380", "grams_per_kwh: 0") + "budget: {emissions_grams: 50}\n",
        "budget.emissions_grams",
        "can never be spent",
    ),
    Broken("a price by the hour", GOOD + "price: {per_kwh: hours.csv}\n", "price.per_kwh", "must be a number"),
    Broken("a price of nothing", GOOD + "price: {per_kwh: 0}\n", "price.per_kwh", "must be above 0"),
    Broken("a price without a price", GOOD + "price: {currency: EUR}\n", "price.per_kwh", "is missing"),
    Broken(
        "a currency of many words",
        GOOD + "price: {per_kwh: 1, currency: pieces of eight}\n",
        "price.currency",
        "at most 10 characters",
    ),
    *(
        Broken(f"an owner that is {what}", GOOD + f"owner: {text}\n", "owner", "must be 1 to 100 printable characters")
        for what, text in [("nobody", '""'), ("two lines", '"a\\nb"'), ("a novel", "a" * 101), ("indented", '" a"')]
    ),
    Broken("an owner that is a number", GOOD + "owner: 7\n", "owner", "must be text"),
    Broken("an empty tag", GOOD + 'tags: [a, ""]\n', "tags[1]", "must be 1 to 100 printable characters"),
    Broken("an unknown meter", good("[estimate]", "[ammeter]"), "meters[0]", "must be one of auto, rapl"),
    Broken("auto and another", good("[estimate]", "[auto, rapl]"), "meters", "stands alone"),
    Broken("a trace that is missing", good("[estimate]", '["replay:trace.csv"]'), "meters[0]", "there is no file"),
    Broken("a trace that does what", good("[estimate]", '["replay:work.py?after=stop"]'), "meters[0]", "?after=hold"),
    Broken("idle power below zero", good("{cpu: 20}", "{cpu: -1}"), "idle_power_watts.cpu", "at least 0"),
    Broken("idle power of a disk", good("{cpu: 20}", "{disk: 20}"), "idle_power_watts.disk", "'cpu', 'dram' or 'gpu'"),
    # what is trained
    Broken("no workload", good("workload: work.py:train\n"), None, "neither workload"),
    Broken("a workload and a command", GOOD + "command: [ls]\n", "command", "exactly one of the two"),
    Broken("a workload without attribute", good("work.py:train", "work.py"), "workload", "path.py:attr"),
    Broken(
        "a missing module",
        good("work.py:train", "no_such_module_anywhere:train"),
        "workload",
        "there is no module",
        found_by="check_workload",
    ),
    Broken("a missing file", good("work.py:", "wrok.py:"), "workload", "there is no file", found_by="check_workload"),
    Broken(
        "a missing function",
        good("work.py:train", "work.py:trian"),
        "workload",
        "did you mean train?",
        found_by="check_workload",
    ),
    Broken(
        "a workload that is a number",
        good("work.py:train", "work.py:constant"),
        "workload",
        "is a int, not",
        found_by="check_workload",
    ),
    Broken(
        "a workload that fails",
        good("work.py:", "bad.py:"),
        "workload",
        "ZeroDivisionError: division by zero",
        files={"bad.py": "1 / 0\n"},
        found_by="check_workload",
    ),
    Broken(
        "a workload that exits",
        good("work.py:", "bad.py:"),
        "workload",
        "SystemExit: 3",
        files={"bad.py": "raise SystemExit(3)\n"},
        found_by="check_workload",
    ),
    Broken(
        "a workload with a missing need",
        good("work.py:", "bad.py:"),
        "workload",
        "No module named 'absent_thing'",
        files={"bad.py": "import absent_thing\n"},
        found_by="check_workload",
    ),
    Broken(
        "a pattern for a workload",
        GOOD + "results: {pattern: '(?P<accuracy>.)'}\n",
        "results",
        "is for a command; a workload reports by itself",
    ),
    Broken(
        "a pattern that is none",
        good(*COMMAND) + "results: {pattern: 'acc (?P<accuracy>['}\n",
        "results.pattern[0]",
        "is no regular expression of Python: unterminated character set at position",
    ),
    Broken(
        "a pattern without a name",
        good(*COMMAND) + "results: {pattern: ['acc (?P<accuracy>.)', 'loss (.)']}\n",
        "results.pattern[1]",
        "'loss (.)' has no named group: (?P<accuracy>[0-9.]+) is a metric",
    ),
    Broken(
        "a pattern of a name that Tune has",
        good(*COMMAND) + "results: {pattern: '(?P<accuracy>.) (?P<done>.)'}\n",
        "results.pattern[0]",
        "done is in every result already",
    ),
    Broken(
        "patterns without the objective",
        good(*COMMAND) + "results: {pattern: ['(?P<loss>.)', '(?P<acc>.)']}\n",
        "objective.metric",
        "no group of results.pattern is called accuracy (there is acc, loss)",
    ),
    Broken("no pattern", good(*COMMAND) + "results: {pattern: []}\n", "results.pattern", "must not be empty"),
    Broken("a pattern of a number", good(*COMMAND) + "results: {pattern: 3}\n", "results.pattern", "must be"),
    Broken("results without a pattern", good(*COMMAND) + "results: {}\n", "results.pattern", "is missing"),
    Broken(
        "another key of results",
        good(*COMMAND) + "results: {pattern: '(?P<accuracy>.)', patern: a}\n",
        "results.patern",
        "did you mean pattern",
    ),
    Broken("an empty command", good(COMMAND[0], "command: []"), "command", "must not be empty"),
    Broken("a command as one text", good(COMMAND[0], "command: python train.py"), "command", "must be a list"),
    Broken(
        "a placeholder that is none", good(COMMAND[0], 'command: [echo, "{lr}"]'), "command[1]", "{lr} is no parameter"
    ),
    Broken("braces of JSON", good(COMMAND[0], """command: [echo, '{"a": 1}']"""), "command[1]", "{{"),
    Broken(
        "a missing program",
        good(COMMAND[0], "command: [no-such-program-here]"),
        "command[0]",
        "there is no program",
        found_by="check_workload",
    ),
    Broken(
        "a script that may not run",
        good(COMMAND[0], "command: [./work.py]"),
        "command[0]",
        "chmod +x",
        found_by="check_workload",
    ),
    # --set
    Broken("--set without a value", GOOD, None, "key.path=value", options=("repeats",)),
    Broken("--set of an unknown key", GOOD, "serch", "did you mean search?", options=("serch.algorithm=grid",)),
    Broken("--set of a wrong value", GOOD, "repeats", "--set repeats=no: repeats", options=("repeats=no",)),
    Broken("--set through a value", GOOD, "repeats", "no keys", options=("repeats.x=3",)),
    Broken("--set beyond a list", GOOD, "meters", "items are 0 to 0", options=("meters.7=rapl",)),
]
