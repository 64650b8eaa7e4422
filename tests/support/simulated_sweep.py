"""A whole run in simulated time: a ``RunningSweep`` with its registry and scrape targets, against simulated nodes.

In place of Tune a test's own script says what happens to the trials, in place of Ray's key-value store there is a dict,
and a second of the poller's passes whenever the script waits for one. No Ray, no sockets, no threads that poll.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from ray.exceptions import RaySystemError

from energysweep.accounting.accounts import Sweep
from energysweep.agent import protocol
from energysweep.agent.discovery import TargetsFile
from energysweep.core import carbon
from energysweep.driver.poller import Poller
from energysweep.driver.recorder import Recorder
from energysweep.driver.running import Outside, RunningSweep
from energysweep.driver.session import StopSignals
from energysweep.ledger.store import Ledger
from energysweep.report.live import Status
from energysweep.searching.budget import Spending
from energysweep.searching.schedulers import Decided
from energysweep.simulation.node import Node
from energysweep.sweepfile import SweepSpec, points
from energysweep.tune.points import KEY, Checkpoints, wrap
from energysweep.tune.registry import Registry
from tests.support.simulated_run import RUN, Asked, World


class Values:
    """What a cluster's head keeps for a run.

    Attributes:
        is_away: the head is restarted.
    """

    def __init__(self) -> None:
        self.is_away = False
        self._values: dict[str, bytes] = {}

    def put(self, key: str, value: bytes) -> None:
        self._check()
        self._values[key] = value

    def get(self, key: str) -> bytes | None:
        self._check()
        return self._values.get(key)

    def under(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        self._check()
        yield from [(key, value) for key, value in self._values.items() if key.startswith(prefix)]

    def _check(self) -> None:
        if self.is_away:
            raise RaySystemError("the head does not answer")


class Told:
    """A display that keeps what it is told; at its end it does what a test wants."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.status: Callable[[], Status] | None = None
        self.at_its_end: Callable[[], object] = lambda: None

    def start(self, status: Callable[[], Status]) -> None:
        self.status = status

    def event(self, text: str) -> None:
        self.events.append(text)

    def stop(self) -> None:
        self.at_its_end()


class OwnLink:
    """The connection to the agent of the driver's node; while that is away nothing is said."""

    def __init__(self, node: Node, url: str) -> None:
        self._node = node
        self.url = url
        self.notes = "simulated"
        self.is_closed = False

    def close_trial(self, trial: str, *, is_over: bool) -> None:
        self._say(protocol.CloseTrial(trial=trial, is_over=is_over))

    def close_window(self) -> None:
        self._say(protocol.CloseWindow())

    def update(self, sweep: Sweep) -> None:
        if self._node.agent is not None:
            self._node.agent.update_sweep(RUN, sweep)

    def close(self) -> None:
        self.is_closed = True

    def _say(self, request: protocol.CloseTrial | protocol.CloseWindow) -> None:
        if self._node.agent is not None:
            Asked(self._node).tell(request)


# What happens to the trials of a stage (or, with an empty name, of the sweep itself), by their names.
Script = Callable[["SimulatedSweep", str, list[str]], None]


class SimulatedSweep:
    """One driver of a run; another one on the same ledger resumes it.

    Attributes:
        nonsense: what agents say in place of their totals, by address.
        at_each_pause: what happens whenever it waits for who is silent.
    """

    def __init__(
        self,
        world: World,
        values: Values,
        ledger: Ledger,
        spec: SweepSpec,
        folder: Path,
        script: Script,
        signals: StopSignals | None = None,
        pilot: SweepSpec | None = None,
    ) -> None:
        self.world, self.values = world, values
        self.progress = Told()
        self.signals = signals or StopSignals()
        self.nonsense: dict[str, dict[str, Any]] = {}
        self.at_each_pause: Callable[[], object] = lambda: None
        self.targets = folder / "targets.json"
        self.checkpoints: dict[str, str] = {}
        self.gone_on_from: Checkpoints = {}
        self._nodes = {f"http://{node.name}:9770": node for node in world.nodes}
        self._folder = folder
        self._script = script
        self._configs: dict[str, Any] = {}
        self._poller: Poller | None = None
        registry = Registry(RUN, values)

        def connect() -> OwnLink:
            world.enter(world.nodes[0])
            return self._register(world.nodes[0])

        outside = Outside(
            connect,
            registry,
            lambda url: Asked(self._nodes[url], self.nonsense.get(url)),
            lambda: {str(urlsplit(url).hostname) for url, node in self._nodes.items() if node.is_lost},
            self._keep,
            world.clock,
            world.clock,
            self._pause,
        )
        grid = carbon.resolve(grams_per_kwh=100.0)
        self.sweep = RunningSweep(spec, RUN, grid, self.progress, outside, self.signals, TargetsFile(self.targets))
        self.sweep.take_up(ledger, self, pilot=pilot)

    def run(self) -> list[str]:
        """From its beginning to its end; returns what a person must know."""
        problems = self.sweep.run(self._folder)
        self.sweep.close()
        return problems

    def url(self, node: Node) -> str:
        return next(url for url, each in self._nodes.items() if each is node)

    def _register(self, node: Node) -> OwnLink:
        Registry(RUN, self.values).register_agent(node.name, self.url(node))
        return OwnLink(node, self.url(node))

    def _pause(self, seconds: float) -> None:
        self.at_each_pause()
        self.world.wait(seconds)

    def _keep(self, poller: Poller) -> None:
        self._poller = poller

    # In place of Tune ------------------------------------------------------------------------------------------------

    def fit(
        self, spec: SweepSpec, stage: str, checkpoints: Checkpoints, recorder: Recorder, spending: Spending | None
    ) -> Mapping[str, str]:
        self.spending = spending
        self._recorder = recorder
        self.gone_on_from = dict(checkpoints)
        found = {
            f"{stage or 't'}{number}": {KEY: wrap(point, False, stage, checkpoints)}
            for number, point in enumerate(points(spec))
        }
        self._configs |= found
        ended = recorder.ended_results()
        self._script(self, stage, [trial for trial in found if trial not in ended])
        return {trial: place for trial, place in self.checkpoints.items() if trial in found}

    def is_pruned(self, trial: str) -> bool:
        return False

    def newly_decided(self) -> list[Decided]:
        return []

    def newly_said(self) -> list[str]:
        return []

    # What a script can say -------------------------------------------------------------------------------------------

    def wait(self, seconds: int) -> None:
        """Time passes, and the poller looks once in each second."""
        for _ in range(seconds):
            self.world.wait(1.0)
            assert self._poller is not None
            self._poller.look()

    def begin(self, trial: str, node: Node) -> None:
        """A worker of a trial registers its agent and begins."""
        self.world.work(trial, node)
        self._register(node)
        self._recorder.on_trial_start(0, [], self._trial(trial))

    def report(self, trial: str, accuracy: float) -> float:
        """Returns its joules, with those of its other windows, which its worker finds in the registry."""
        node, _, _ = self.world.workers[trial]
        assert node.agent is not None
        elsewhere = Registry(RUN, self.values).spent_elsewhere(trial, node.agent.windows[RUN].id)
        joules = self.world.joules(trial) + elsewhere.energy_joules
        result = {"accuracy": accuracy, "energy_joules": joules, "active_energy_joules": joules}
        self._recorder.on_trial_result(0, [], self._trial(trial), result)
        return joules

    def checkpoint(self, trial: str) -> None:
        self._recorder.on_checkpoint(0, [], self._trial(trial), None)
        self.checkpoints[trial] = f"/checkpoints/{trial}"

    def complete(self, trial: str) -> None:
        self._recorder.on_trial_complete(0, [], self._trial(trial))
        self.world.leave(trial)

    def fail(self, trial: str) -> None:
        """Its worker dies, and Tune tries it again."""
        self.world.leave(trial)
        self._recorder.on_trial_recover(0, [], self._trial(trial))

    def config(self, trial: str) -> dict[str, Any]:
        """Its config in Tune."""
        return dict(self._configs[trial])

    def lose(self, trial: str) -> None:
        """Its node is lost, and Tune hears that its worker died."""
        node, _, _ = self.world.workers[trial]
        node.is_lost = True
        self.world.leave(trial)
        self._recorder.on_trial_recover(0, [], self._trial(trial))

    def _trial(self, trial: str) -> Any:
        return SimpleNamespace(trial_id=trial, config=self._configs[trial], pickled_error_file=None)
