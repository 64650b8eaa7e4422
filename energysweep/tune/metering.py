"""How the trials of a run are metered, and the lease of the one that an actor works for now."""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

import ray
from ray import tune
from ray.exceptions import RayError
from ray.tune import Trainable
from ray.tune.result import RESULT_DUPLICATE

from energysweep.accounting.accounts import ShownMetrics, Sweep
from energysweep.agent.client import NOTHING_SPENT, AgentClient, Lease, Spent
from energysweep.agent.lifecycle import LOOPBACK, connect
from energysweep.agent.proof import new_key
from energysweep.agent.protocol import Hello, within_bounds
from energysweep.agent.server import DEFAULT_PORT
from energysweep.core import spending
from energysweep.core.errors import AgentError, AgentUnreachable, InputError, LeaseRefused
from energysweep.core.host import Host
from energysweep.core.objective import ELSEWHERE, OUR_NAMES
from energysweep.core.phases import StartUp, unwatch, unwatched, watch
from energysweep.core.spending import Measurement
from energysweep.meters import Component
from energysweep.meters.visible_gpus import name_gpus, visible_ids
from energysweep.tune.elsewhere import Elsewhere
from energysweep.tune.points import config_text, hardware_of
from energysweep.tune.registry import Registry
from energysweep.tune.results import own_metrics, passed_on

log = logging.getLogger(__name__)

# What keeps an agent from measuring: it has gone, it refuses, the one that is there now has other meters or listens
# elsewhere, or Ray cannot tell of it. Nothing of that ends a trial or a sweep.
UNMEASURED: Final = (AgentError, InputError, RayError)


@dataclass(frozen=True)
class Metering:
    """How the trials of a run are metered; travels to the workers inside the trainable's class.

    Attributes:
        run: the run id; None: the name of Tune's experiment.
        meters: kinds of meters for an agent that has to be started.
        idle_power_watts: idle floors, if the user knows them.
        sweep: the grid's intensity, and what dashboards show of the sweep.
        shown: metrics that dashboards show before others.
        varying: the parameters that differ between configurations, which dashboards show; None in one's own Tuner.
        is_cluster: the driver may be on another host: agents listen on their node's address. None: if Ray has more
            than one node.
        port: for the HTTP of an agent that has to be started; the same whoever starts it, so that one that takes
            another's place is found where that was.
        key: of the run.
    """

    run: str | None = None
    meters: tuple[str, ...] = ("auto",)
    idle_power_watts: Mapping[Component, float] = field(default_factory=dict)
    sweep: Sweep = field(default_factory=Sweep)
    shown: tuple[str, ...] = ()
    varying: tuple[str, ...] | None = None
    is_cluster: bool | None = None
    port: int = DEFAULT_PORT
    key: str = field(default_factory=new_key, repr=False)

    def connect(self, run: str, quiet: bool = False) -> AgentClient:
        """Talk to the agent of the host that this process is on.

        Raises:
            AgentError, InputError
        """
        is_cluster = len(ray.nodes()) > 1 if self.is_cluster is None else self.is_cluster
        bind = ray.util.get_node_ip_address() if is_cluster else LOOPBACK
        return connect(self.hello(run, quiet), self.meters, self.port, bind)

    def hello(self, run: str, quiet: bool = False) -> Hello:
        """What a process of this run says first to its host's agent."""
        shown = within_bounds(self.sweep)
        return Hello(run=run, key=self.key, idle_power_watts=dict(self.idle_power_watts), sweep=shown, quiet=quiet)


class TrialEnergy:
    """The lease of the trial that an actor works for now. Thread-safe: a function asks in a thread of its own.

    If the agent goes away, the training goes on. The next report asks for another agent; what the trial had cost until
    then stays counted, what it spends in between is not measured.

    Args:
        metering: how it is metered.
        can_report: the trainable is a function, which reports when it likes.

    Attributes:
        added: what the last result carries beside the workload's own metrics.
    """

    def __init__(self, metering: Metering, *, can_report: bool) -> None:
        self.can_report = can_report
        self._metering = metering
        self._lock = threading.RLock()
        self._trial = ""
        self.added: Mapping[str, float] = {}
        self._client: AgentClient | None = None
        self._lease: Lease | None = None
        self._startup: StartUp | None = None
        self._elsewhere_work: Elsewhere | None = None
        self._shown = ShownMetrics(metering.shown)
        self._last: Spent | None = None  # the most that anybody was told
        self._elsewhere = NOTHING_SPENT  # what this host's agent does not know of the trial
        self._open: Callable[[], Lease] | None = None
        self._lease_id: str | None = None

    def begin(self, trainable: Trainable, config: dict[str, Any]) -> None:
        """Open a lease for the trainable's trial, whose config in Tune is this. It begins with its start-up."""
        self.end()
        _refuse_several_bundles(trainable)
        self._trial, self.added = trainable.trial_id or "trial", {}
        self._shown = ShownMetrics(self._metering.shown)
        self._last, self._elsewhere = None, NOTHING_SPENT
        self._startup = None
        self._lease_id = None
        self._open = lambda: self._open_lease(trainable, config)
        try:
            self._lease = self._open()
        except UNMEASURED as error:
            if isinstance(error, InputError) and not self._has_been_measured_here(trainable):
                raise  # what is wrong was so from the beginning, and is the user's to mend
            self._unmeasured(error)
        self._startup = StartUp(self._change_phase)
        watch(self._startup)
        self._elsewhere_work = Elsewhere(self._works_elsewhere)
        self._elsewhere_work.watch()
        spending.begin_trial(self)

    def begin_work(self) -> None:
        """Start-up is over, but for what is loaded later."""
        if self._startup is not None:
            self._startup.work_begins()

    def _works_elsewhere(self) -> None:
        log.warning(
            "this trial has Ray tasks or actors work in other processes, which hold no lease: what they draw is the"
            " run's overhead, or background, and in no number of this trial"
        )
        if self._lease is not None:
            with suppress(AgentError), unwatched():
                self._lease.note_elsewhere()

    def _change_phase(self, is_startup: bool) -> None:
        lease = self._lease
        if lease is not None:
            with suppress(AgentError):  # the next report finds out as well, and opens another lease
                lease.change_phase(in_startup=is_startup)

    def added_to(self, result: dict[str, Any], is_function: bool) -> dict[str, Any]:
        """A step's result with what it carries beside the workload's own metrics."""
        if RESULT_DUPLICATE in result:  # only says that a function has returned; Tune does not log it
            return result
        if self._metering.run is not None:  # one's own Tuner gets what one's workload reports
            passed = passed_on(result, self._metering.shown)
            if is_function:  # Tune keeps this one with the checkpoint, too
                result.clear()
                result.update(passed)
            result = passed
        with unwatched(), self._lock:
            self.added = self._report(result)
        result |= self.added
        if self._elsewhere_work is not None and self._elsewhere_work.has_told:
            result[ELSEWHERE] = True
        return result

    def _report(self, result: Mapping[str, Any]) -> dict[str, float]:
        before = self._last
        try:
            if self._lease is None:
                self._lease = self._reopen()
            before = before or self._lease.before.plus(self._elsewhere)
            now = self._lease.report(self._shown.of(own_metrics(result))).plus(self._elsewhere)
        except UNMEASURED as error:
            self._unmeasured(error)
            if before is None:  # never measured is no energy of 0
                return dict.fromkeys(sorted(OUR_NAMES), math.nan)
            now = replace(before, power_watts=None)
        self._last = now
        return {
            "energy_joules": now.energy_joules,
            "active_energy_joules": now.active_energy_joules,
            "startup_joules": now.startup_joules,
            "power_watts": _or_nan(now.power_watts),
            "emissions_grams": _or_nan(self._metering.sweep.emissions_grams(now.energy_joules)),
        }

    def report(self, metrics: Mapping[str, Any]) -> None:
        """Report to Tune, from the function that trains. Comes back when Tune wants the next result.

        Args:
            metrics: of a framework's log; of these what a column can hold, and nothing of Tune's names or ours.

        Raises:
            SystemExit: Tune wants no more of this trial.
        """
        tune.report(own_metrics(metrics))

    def spent(self) -> Measurement | None:
        """What the trial has cost so far, as its next report would tell it; None while its agent does not answer."""
        with self._lock:
            if self._lease is None or self._client is None:
                return None
            try:
                now = self._lease.ask().plus(self._elsewhere)
            except AgentError:  # the next report finds out as well, and opens another lease
                return None
            if not now.is_known:
                return None
            self._last = now
            return Measurement(
                self._trial,
                now.energy_joules,
                now.active_energy_joules,
                emissions_grams=self._metering.sweep.emissions_grams(now.energy_joules),
                source=self._client.agent["notes"],
            )

    def end(self) -> None:
        """Close the lease, if there is one."""
        spending.end_trial(self)
        if self._startup is not None:
            unwatch(self._startup)
        if self._elsewhere_work is not None:
            self._elsewhere_work.unwatch()
        with self._lock:
            lease, self._lease = self._lease, None
            if lease is not None:
                try:
                    lease.end()
                except AgentError as error:
                    self._unmeasured(error)

    def _reopen(self) -> Lease:
        """Another lease for the same trial, after the agent had gone."""
        if self._open is None:
            raise AgentUnreachable("the trial has not begun")
        lease = self._open()
        if self._elsewhere_work is not None and self._elsewhere_work.has_told:
            lease.note_elsewhere()
        if self._last is not None:
            # A new agent does not know what the trial had cost; one that was away for a moment does.
            self._elsewhere = self._last.minus(lease.before)
        return lease

    def _open_lease(self, trainable: Trainable, config: dict[str, Any]) -> Lease:
        resources = trainable.trial_resources.required_resources if trainable.trial_resources else {}
        run = self._run_of(trainable)
        if self._client is None:
            self._client = self._metering.connect(run)
            Registry(run).register_agent(self._client.agent["host"], self._client.agent["url"])
        self._elsewhere = Registry(run).spent_elsewhere(self._trial, self._client.agent["window"])
        lease = self._client.open(
            self._trial,
            cpus=resources.get("CPU", 0.0),
            gpus=_gpus(resources.get("GPU", 0.0)),
            config=config_text(config, self._metering.varying),
            hardware=hardware_of(config),
            lease_id=self._lease_id,
            in_startup=self._startup is None or self._startup.is_on,
        )
        self._lease_id = lease.id
        return lease

    def _run_of(self, trainable: Trainable) -> str:
        return self._metering.run or str(trainable._storage.experiment_dir_name)  # noqa: SLF001 - no public way

    def _has_been_measured_here(self, trainable: Trainable) -> bool:
        try:
            return Registry(self._run_of(trainable)).has_agent(Host.here().boot_id)
        except UNMEASURED:
            return False

    def _unmeasured(self, error: Exception) -> None:
        log.warning("this trial is not measured for a while: %s", error)
        self._lease = None
        if isinstance(error, LeaseRefused):  # an agent that was away may have closed it
            self._lease_id = None
        if self._client is not None:
            self._client.close()
            self._client = None


def _refuse_several_bundles(trainable: Trainable) -> None:
    resources = trainable.trial_resources
    if resources is not None and sum(1 for bundle in resources.bundles if bundle) > 1:
        raise InputError(
            "a trial of several resource bundles works in other processes, perhaps on other nodes, which hold no"
            " lease: energysweep cannot meter it yet"
        )


def _gpus(amount: float) -> dict[str, float]:
    """The GPUs that Ray gave this actor, by UUID if they can be named so, with the fraction of each."""
    if amount <= 0:
        return {}
    ids = [str(gpu) for gpu in ray.get_gpu_ids()]
    gpus = name_gpus(ids or visible_ids(os.environ) or [], os.environ)
    if gpus.problem:
        log.warning("a GPU of this trial is not measured: %s", gpus.problem)
    return {name: min(1.0, amount / len(gpus.names)) for name in gpus.names}


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
