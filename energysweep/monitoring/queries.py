"""The PromQL that dashboards are made of.

What every expression has to put right:

- Prometheus adds labels of its own (``instance``, ``job``, on Kubernetes ``pod``). An agent that comes back at another
  address leaves the same series twice: ``max by`` the labels of metrics.py makes them one before any sum.
- Two agents may share a node, each with books of its own about all of it, and one agent may be scraped under two
  instances. ``max by`` would take a bucket from one's books and the next from the other's, and their sum would not be
  the meters'. So of ``energysweep_node_*`` all series of a node are taken from one agent: see ``_books``.
- A trial that moves has a series per node: summed after that.
- A trial's series are gone 5 minutes after it ends. So totals are the highest value in the dashboard's time range,
  which is also right for a sweep that has ended. A trial that ended before the range is not among them, and what a
  trial drew before its first scrape is in no rate. The sweep's own counters miss neither.
- An info series may stand at several nodes: made one before it is joined. Should a trial ever have two texts, one is
  taken (``topk``): otherwise the join would fail, for all trials.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from energysweep.core.metrics import (
    NODE_ENERGY,
    SWEEP_EMISSIONS,
    SWEEP_ENERGY,
    TRIAL_APART_EMISSIONS,
    TRIAL_APART_ENERGY,
    TRIAL_EMISSIONS,
    TRIAL_ENERGY,
    TRIAL_INFO,
    TRIAL_RESULT,
    Family,
)
from energysweep.meters.kinds import MODELS
from energysweep.monitoring.panels import NONE


def source_is(kinds: Sequence[str], sign: str = "=") -> str:
    """The condition that joules are from one of these kinds of meter, or with ``!=`` from none of them."""
    return f'source{sign}"{kinds[0]}"' if len(kinds) == 1 else f'source{sign[0]}~"{"|".join(kinds)}"'


ESTIMATED = source_is(MODELS)


def now(metric: Family, where: str) -> str:
    """What a gauge shows at the moment."""
    return f"max by ({_by(metric)}) ({metric}{{{where}}})"


def highest(metric: Family, where: str) -> str:
    """The total of a trial's or a sweep's counter, also when it has ended within the range."""
    return f"max by ({_by(metric)}) (max_over_time({metric}{{{where}}}[$__range]))"


def last(metric: Family, where: str) -> str:
    """The last value of a gauge within the range."""
    return f"max by ({_by(metric)}) (last_over_time({metric}{{{where}}}[$__range]))"


def latest(metric: Family, where: str) -> str:
    """What a gauge of a sweep shows at the moment, or showed last within the range.

    For a gauge that changes: a sweep that was interrupted and resumed has its series twice, from two agents, and where
    labels name what changes, the series of those that they named before have a last value, too. Neither must be taken
    for what the sweep ended with. The series that was there last is looked for once a minute, because it stays for
    five after the sweep's end; where that finds none, the lowest last value is shown.
    """
    series = f"{metric}{{{where}}}"
    seen = f"topk by (sweep) (1, max_over_time(timestamp({series})[$__range:1m]))"
    ended = f"max by ({_by(metric)}) (last_over_time({series}[$__range]) and {seen})"
    return f"{now(metric, where)} or on (sweep) ({ended}) or on (sweep) bottomk by (sweep) (1, {last(metric, where)})"


def rate(metric: Family, where: str) -> str:
    """What a counter grows by per second; of joules: watts.

    No joule between two scrapes is missed, but what a series showed when it was first scraped is in no rate: of a
    trial that is shorter than the scrape interval, all of it.
    """
    return f"max by ({_by(metric)}) (rate({metric}{{{where}}}[$__rate_interval]))"


def increase(metric: Family, where: str) -> str:
    """What a counter of an agent's own doings grew by; where several agents were on a node, the largest of theirs."""
    return f"max by ({_by(metric)}) ({_grown(metric, where)})"


def apart(families: Mapping[str, Family], query: Callable[[Family, str], str], where: str) -> str:
    """What is apart of trials' energy, in the buckets that it has among a sweep's own: there it has other series.

    Args:
        families: by bucket.
        query: of each of them.
        where: the condition.
    """
    return " or ".join(
        f'label_replace({query(family, where)}, "bucket", "{bucket}", "", "")' for bucket, family in families.items()
    )


def node_power(metric: Family, nodes: str) -> str:
    """Watts of a node's energy, by the metric's labels, of the agent whose books are taken at the time."""
    return (
        f"max by ({_by(metric)})"
        f" (rate({metric}{{{nodes}}}[$__rate_interval]) and ignoring ({_own(metric)}) {_books(nodes)})"
    )


def node_energy(metric: Family, nodes: str, also: str = "") -> str:
    """Joules of a node within the range, by the metric's labels.

    An agent counts for the part of its time in which its books are taken: all of it if it was alone, or the longest
    there; nothing of it if a longer one was there all the time. So agents that followed each other are added, and
    those at the same time are not. Where they overlap, an agent's joules are divided by time, as if it had drawn the
    same power throughout; the factor is one for all of its series, so owners sum up to the meters nevertheless.

    Args:
        metric: NODE_ENERGY or NODE_BUCKETS.
        nodes: which nodes.
        also: further conditions on the metric.
    """
    every = "[$__range:$__interval]"
    part = f"count_over_time(({_books(nodes)}){every}) / count_over_time(({_meters(nodes)}){every})"
    where = f"{nodes}, {also}" if also else nodes
    return f"sum by ({_by(metric)}) (({_grown(metric, where)}) * ignoring ({_own(metric)}) group_left () ({part}))"


def _grown(metric: Family, where: str) -> str:
    """What each series grew by between its first and last scrape within the range.

    Exact, so that what adds up in the agent adds up here, unless the counter began again in between: PromQL's own
    ``increase`` knows of that, but carries each series on to the ends of the range by its own slope.
    Not for trials: what a series showed when it was first scraped does not count.
    """
    seen = f"{metric}{{{where}}}[$__range]"
    return f"max_over_time({seen}) - min_over_time({seen}) and resets({seen}) == 0 or increase({seen})"


def _books(nodes: str) -> str:
    """The agent whose books are taken, one for each node: that whose meters have counted most, so the longest there.

    Its labels are the node and all that Prometheus adds (``instance`` and others).
    """
    return f"topk by (node) (1, {_meters(nodes)})"


def _meters(nodes: str) -> str:
    """What all meters of each agent have counted, of agents that were scraped a moment ago."""
    return f"sum without ({_own(NODE_ENERGY)}) (last_over_time({NODE_ENERGY}{{{nodes}}}[$__rate_interval]))"


def _own(metric: Family) -> str:
    """The labels of a node's metric, without the node's."""
    return ", ".join(label for label in metric.labels if label != "node")


def _by(metric: Family) -> str:
    """The metric's own labels, without those that Prometheus adds."""
    return ", ".join(metric.labels)


def per_trial(expression: str) -> str:
    """Summed over nodes, components, buckets and sources."""
    return f"sum by (sweep, trial) ({expression})"


def described(expression: str, info: str) -> str:
    """An expression per trial, with the labels ``config`` and ``hardware`` from an info one (``now`` or ``last``)."""
    return (
        f"{expression} * on (sweep, trial) group_left (config, hardware)"
        f" topk by (sweep, trial) (1, max by (sweep, trial, config, hardware) ({info}))"
    )


def chosen(expression: str, where: str) -> str:
    """An expression per trial, of trials with a certain hardware; without the join that labels need."""
    return f"{expression} and on (sweep, trial) {TRIAL_INFO}{{{where}}}"


def named(expression: str, label: str) -> str:
    """With words where a label is empty or blank."""
    return f'label_replace({expression}, "{label}", "{NONE}", "{label}", " *")'


def share(part: str, whole: str) -> str:
    """A part of a whole, 0 where there is none of it. Both have the same labels."""
    return f"(({part}) or 0 * ({whole})) / (({whole}) > 0)"


# What the dashboards ask about trials --------------------------------------------------------------------------------

# Grafana fills a variable of many values in as a regular expression, escaped for PromQL.
TRIALS = 'sweep=~"$sweep", node=~"$node"'
INFO = 'sweep=~"$sweep", hardware=~"$hardware"'
SWEEPS = 'sweep=~"$sweep"'


def energy(info: str = INFO) -> str:
    """Joules."""
    return described(per_trial(highest(TRIAL_ENERGY, TRIALS)), last(TRIAL_INFO, info))


def estimated_energy(info: str = INFO) -> str:
    """Joules that come from a model."""
    return described(per_trial(highest(TRIAL_ENERGY, f"{TRIALS}, {ESTIMATED}")), last(TRIAL_INFO, info))


def emissions(info: str = INFO) -> str:
    """Grams of CO2e."""
    return described(per_trial(highest(TRIAL_EMISSIONS, TRIALS)), last(TRIAL_INFO, info))


def charged_energy(by: str) -> str:
    """Joules of whole sweeps: trials, start-up and overhead, whether or not their trials have series within the range.

    Of a Tuner of one's own no driver tells: all its trials within the range with their start-up, whichever are chosen.
    """
    of_driver, of_trials = _charged_energy(SWEEPS)
    return f"sum by ({by}) ({of_driver}) or sum by ({by}) ({of_trials})"


def charged_emissions(by: str) -> str:
    """Grams of CO2e of whole sweeps, like their joules."""
    of_trials = f"{highest(TRIAL_EMISSIONS, SWEEPS)} or {apart(TRIAL_APART_EMISSIONS, highest, SWEEPS)}"
    return f"sum by ({by}) ({highest(SWEEP_EMISSIONS, SWEEPS)}) or sum by ({by}) ({of_trials})"


def charged_estimated_part(by: str) -> str:
    """The part of whole sweeps' joules that comes from a model, 0 where all was measured."""
    estimated = _charged_energy(f"{SWEEPS}, {ESTIMATED}")
    parts = (
        share(f"sum by ({by}) ({part})", f"sum by ({by}) ({whole})")
        for part, whole in zip(estimated, _charged_energy(SWEEPS), strict=True)
    )
    return " or ".join(parts)


def _charged_energy(where: str) -> tuple[str, str]:
    """Joules of whole sweeps: as a driver tells, and as trials tell, which is without overhead."""
    of_trials = f"{highest(TRIAL_ENERGY, where)} or {apart(TRIAL_APART_ENERGY, highest, where)}"
    return highest(SWEEP_ENERGY, where), of_trials


def objective(info: str = INFO) -> str:
    """The last value of the chosen metric; of a trial that moved, the larger of its nodes' last values."""
    result = last(TRIAL_RESULT, f'{TRIALS}, metric="$metric"')
    return described(f"max by (sweep, trial) ({result})", last(TRIAL_INFO, info))


def estimated_part(by: str) -> str:
    """The part of the joules that comes from a model, 0 where all was measured."""
    return share(f"sum by ({by}) ({estimated_energy()})", f"sum by ({by}) ({energy()})")
