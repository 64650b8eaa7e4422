"""The driver's connection to its own host's agent; if the agent goes away, another one takes its place."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

from energysweep.accounting.accounts import Sweep
from energysweep.agent import protocol
from energysweep.agent.client import NOTHING_SPENT, AgentClient, Spent
from energysweep.agent.discovery import address_of
from energysweep.core.errors import AgentError, AgentUnreachable, LedgerError, one_line
from energysweep.ledger.intake import Intake
from energysweep.ledger.run_state import RunState
from energysweep.tune.registry import Registry
from energysweep.tune.trial import UNMEASURED, Metering

log = logging.getLogger("ray.energysweep")  # into the run folder's ray.log, with Ray's own words


class AgentLink:
    """What a driver says to its host's agent. Nothing here stops a sweep: training is worth more than its metering.

    Args:
        metering: how the run is metered.
        registry: where it is registered.

    Raises:
        AgentError, InputError: the first agent cannot be reached or started.
    """

    def __init__(self, metering: Metering, registry: Registry) -> None:
        self._metering, self._registry = metering, registry
        self._lock = threading.Lock()
        self._complaint = ""
        self._client = self._connect(quiet=True)

    @property
    def notes(self) -> str:
        """Which meters it has, and why not better ones."""
        return str(self._client.agent["notes"])

    @property
    def url(self) -> str:
        """Where its HTTP answers."""
        return str(self._client.agent["url"])

    def close_trial(self, trial: str, *, is_over: bool) -> None:
        """A trial has ended; for good, if it is over."""
        self._say(lambda client: client.close_trial(trial, is_over=is_over))

    def update(self, sweep: Sweep) -> None:
        """How the sweep stands."""
        self._say(lambda client: client.update(sweep))

    def close_window(self) -> None:
        """The sweep is over."""
        self._say(AgentClient.close_window)

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def _say(self, words: Callable[[AgentClient], None]) -> None:
        with self._lock:
            try:
                try:
                    words(self._client)
                except AgentUnreachable:
                    self._client.close()
                    self._client = self._connect()
                    words(self._client)
                self._complaint = ""
            except UNMEASURED as error:  # tried again at the next word
                if str(error) != self._complaint:
                    self._complaint = str(error)
                    log.warning("this host's agent does not hear the driver: %s", error)

    def _connect(self, quiet: bool = False) -> AgentClient:
        client = self._metering.connect(self._metering.run or "", quiet)
        try:
            self._registry.register_agent(client.agent["host"], client.agent["url"])
        except BaseException:
            client.close()
            raise
        return client


# Which agents of a run Prometheus should scrape: those that answer, and for a while those that do not ----------------

SILENT_SECONDS = 10.0  # several polls
KEPT_SECONDS = 300.0  # an agent that is down is an alert, which needs its target


class ScrapeTargets:
    """Who has answered the driver, and when last.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._answered: dict[str, tuple[str, float]] = {}

    def note(self, url: str, node: str) -> None:
        """An agent has just answered."""
        self._answered[url] = (node, self._clock())

    def keep(self, urls: Iterable[str]) -> None:
        """Forget the others: another agent has taken their place."""
        known = set(urls)
        self._answered = {url: answered for url, answered in self._answered.items() if url in known}

    def listed(self, lost_addresses: Callable[[], set[str]]) -> dict[str, str]:
        """The names of nodes by address (host:port) of the agents to scrape.

        One that has not answered for a while has left if its node has; otherwise it is kept for five minutes, so that
        its being down is seen.

        Args:
            lost_addresses: of nodes that the cluster has lost; asked only if somebody is silent.
        """
        now = self._clock()
        silent = {url: now - at for url, (_, at) in self._answered.items() if now - at > SILENT_SECONDS}
        lost = lost_addresses() if silent else set()
        return {
            address_of(url): node
            for url, (node, _) in self._answered.items()
            if url not in silent or (silent[url] <= KEPT_SECONDS and urlsplit(url).hostname not in lost)
        }


# What the agents say, once a second ----------------------------------------------------------------------------------

POLL_SECONDS = 1.0


class OwnAgent(Protocol):
    """The agent of the driver's host; an ``AgentLink`` is one."""

    @property
    def url(self) -> str: ...

    def close_trial(self, trial: str, *, is_over: bool) -> None: ...

    def close_window(self) -> None: ...


class Agents(Protocol):
    """Where the agents of a run are found; a ``Registry`` is one."""

    def agents(self) -> list[str]: ...


class Answering(Protocol):
    """An agent as a driver asks it; ``RemoteAgent`` does so over HTTP."""

    def totals(self, window: str, since: int) -> dict[str, Any]: ...

    def tell(self, request: protocol.CloseTrial | protocol.Agents | protocol.CloseWindow) -> None: ...


class Poller:
    """Asks every agent of a run once a second for what has changed, and keeps it in the ledger.

    Attributes:
        watts: mean power of all metered devices, by their newest readings; None before it is known.
        targets: which agents answer.
        problem: why it has stopped to ask: what came could not be kept.
        failures: polls that something else has ended before their end.

    Args:
        intake: takes what they answer.
        state: what has been told of the run so far.
        began: the sweep's beginning on ``clock``.
        polled: called after each poll, in its thread.
        own: the agent of the driver's host.
        registry: where all agents of the run are registered.
        remote: the agent at an address.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        intake: Intake,
        state: RunState,
        began: float,
        polled: Callable[[], None],
        own: OwnAgent,
        registry: Agents,
        remote: Callable[[str], Answering],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.watts: float | None = None
        self.targets = ScrapeTargets(clock)
        self._intake = intake
        self._state = state
        self._began = began
        self._own = own
        self._registry = registry
        self._remote = remote
        self._clock = clock
        self._after_poll = polled
        self._since: dict[str, tuple[str, int]] = {}  # by agent: window and revision that are in the ledger
        self._answering: set[str] = set()  # at the last poll
        self._unusable: dict[str, str] = {}  # what others answered then, and why it could not be taken
        self._told: dict[str, tuple[str, Mapping[str, str]]] = {}  # window, and the agents it was told of
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._poll_for_ever, daemon=True, name="energysweep-poller")
        self.problem: LedgerError | None = None
        self.failures = 0

    @property
    def notes(self) -> Mapping[str, str]:
        """By node, which meters were taken and why not better ones."""
        return self._intake.notes

    def start(self) -> None:
        """Begin to poll."""
        self._thread.start()

    def stop(self, within_seconds: float | None = None) -> None:
        """Poll a last time and end.

        Args:
            within_seconds: how long to wait for its thread, which may wait for Ray; None: to its end.

        Raises:
            LedgerError: what came could not be kept.
            AgentError: an agent's last answer cannot be used; all others' are taken.
        """
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(within_seconds)
        if self.problem is not None:
            raise self.problem
        self.poll()
        if self._unusable:
            told = ", ".join(f"{url} ({why})" for url, why in self._unusable.items())
            raise AgentError(f"what these agents answer cannot be used, so that their last joules are missing: {told}")

    def spent(self, trial: str, at_least: Spent = NOTHING_SPENT) -> dict[str, Spent]:
        """What a trial has cost so far, by window.

        Args:
            trial: the trial's id.
            at_least: what it has reported. That may be more than the last poll had brought from a host that is lost
                now; it is added to its last window: should that window still be there, its agent knows better.
        """
        booked = self._state.booked(trial)
        spent = {window: Spent(each.active + each.idle, each.active, each.startup) for window, each in booked.items()}
        for each in spent.values():
            at_least = at_least.minus(each)
        if spent:
            last = next(reversed(spent))
            spent[last] = spent[last].plus(at_least)
        return spent

    def close_trial(self, trial: str, *, is_over: bool) -> None:
        """Have every agent close the trial's leases: its driver knows that it has ended before its worker does.

        Args:
            trial: the trial's id.
            is_over: no other attempt will follow.
        """
        self._own.close_trial(trial, is_over=is_over)
        self._tell_others(protocol.CloseTrial(trial=trial, is_over=is_over))

    def tell_agents(self, agents: Mapping[str, str]) -> None:
        """Tell the agents of other hosts who all serve this run: the names of their nodes by address."""
        for url in self._answering:
            window, _ = self._since[url]
            if url != self._own.url and self._told.get(url) != (window, agents):
                with contextlib.suppress(AgentUnreachable):
                    self._remote(url).tell(protocol.Agents.within_bounds(agents))
                    self._told[url] = (window, agents)

    def close_windows(self) -> None:
        """Have every agent take a last reading and close the run's window."""
        self._own.close_window()
        self._tell_others(protocol.CloseWindow())

    def _tell_others(self, request: protocol.CloseTrial | protocol.CloseWindow) -> None:
        for url in self._registry.agents():
            if url != self._own.url:
                with contextlib.suppress(AgentUnreachable):
                    self._remote(url).tell(request)

    def poll(self) -> None:
        """Ask all agents once. One that does not answer is asked again next time."""
        with self._lock:
            urls = self._registry.agents()
            self.targets.keep(urls)
            answering, self._unusable = set[str](), {}
            for url in urls:
                try:
                    self._ask(url)
                    answering.add(url)
                except AgentUnreachable:
                    continue
                except LedgerError:
                    raise
                except Exception as error:  # an answer that is no agent's: the joules of the others are not lost for it
                    self.failures += 1
                    self._unusable[url] = one_line(f"{type(error).__name__}: {error}")
                    log.exception("what the agent at %s answers cannot be used", url)
            self._answering = answering
            self.watts = self._intake.readings.watts(self._since[url][0] for url in self._answering)

    def _ask(self, url: str) -> None:
        window, revision = self._since.get(url, ("", 0))
        answer = self._remote(url).totals(window, revision)
        self._intake.take(answer, self._clock() - self._began)
        self.targets.note(url, answer["node"])
        # Said only now that it is in the ledger: asking with this number acknowledges it.
        self._since[url] = (answer["window"], answer["revision"])

    def _poll_for_ever(self) -> None:
        while not self._stopping.wait(POLL_SECONDS):
            try:
                self.poll()
                self._after_poll()
            except LedgerError as error:  # kept for the driver, which must not go on without its ledger
                self.problem = error
                return
            except Exception:  # such as of a Ray whose head is restarted: unless agents are asked on, joules are lost
                self.failures += 1
                log.exception("could not ask all agents")
