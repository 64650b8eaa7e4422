"""What a driver says to the agents of its run, and what they answer.

``AgentLink`` is the connection to the agent of its own host, where another one may take its place. ``Poller`` asks the
agents of all hosts once a second for what has changed, brings it into the run's state and ledger, and takes their last
readings at the end. An agent that does not answer holds up neither the others nor the trials.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from energysweep.accounting.accounts import Sweep
from energysweep.agent import protocol
from energysweep.agent.client import NOTHING_SPENT, AgentClient, Spent
from energysweep.agent.discovery import ScrapeTargets
from energysweep.core.buckets import WORK_BUCKETS
from energysweep.core.errors import AgentError, AgentUnreachable, LedgerError, one_line
from energysweep.driver.asking import HURRIED_SECONDS, LOOK_SECONDS, AllAtOnce, Silence
from energysweep.ledger.intake import Intake
from energysweep.ledger.run_state import RunState
from energysweep.tune.metering import UNMEASURED, Metering
from energysweep.tune.registry import Registry

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


# What the agents say, once a second ----------------------------------------------------------------------------------

POLL_SECONDS = 1.0
LAST_SECONDS = 10.0  # at the end of a run: for agents that do not answer at once
_AGAIN_SECONDS = 0.5


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
        hurried: whether the run is to end without waiting for who is silent.
        pause: waits so many seconds.
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
        hurried: Callable[[], bool] = lambda: False,
        pause: Callable[[float], object] = time.sleep,
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
        self._hurried = hurried
        self._pause = pause
        self._after_poll = polled
        self._all = AllAtOnce(clock, hurried)
        self._silence = Silence(clock)
        self._left_open: set[str] = set()  # others whose window is to be closed, and that have not heard it
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
        """Poll a last time and end. Who does not answer is asked again for 10 s, unless the run ends in a hurry.

        Args:
            within_seconds: how long to wait for its thread, which may wait for Ray; None: to its end.

        Raises:
            LedgerError: what came could not be kept.
            AgentError: an agent's last answer cannot be used, or was not waited for; all others' are taken.
        """
        self._stopping.set()
        self._wait_for_thread(within_seconds)
        if self.problem is not None:
            raise self.problem
        silent = self._poll_to_the_end()
        if self._unusable:
            told = ", ".join(f"{url} ({why})" for url, why in self._unusable.items())
            raise AgentError(f"what these agents answer cannot be used, so that their last joules are missing: {told}")
        if silent and self._hurried():
            raise AgentError(
                "ended in a hurry, without waiting for agents that did not answer at once: their last joules may be"
                f" missing: {', '.join(silent)}"
            )

    def _wait_for_thread(self, within_seconds: float | None) -> None:
        if within_seconds is not None:
            if self._thread.is_alive():
                self._thread.join(within_seconds)
            return
        while self._thread.is_alive() and not self._hurried():
            self._thread.join(LOOK_SECONDS)
        if self._thread.is_alive():
            self._thread.join(HURRIED_SECONDS)

    def _poll_to_the_end(self) -> list[str]:
        """Returns who has not answered."""
        until = self._clock() + LAST_SECONDS
        with self._lock:
            silent = self._ask_for_totals(self._registered())
        while (silent or self._left_open) and not self._hurried() and self._clock() + _AGAIN_SECONDS <= until:
            self._pause(_AGAIN_SECONDS)
            before = self._left_open
            self._left_open = self._tell(sorted(before), protocol.CloseWindow())
            again = {*silent, *(before - self._left_open)}  # a window that is closed only now has had another reading
            with self._lock:
                silent = self._ask_for_totals(sorted(again))
        return silent

    def spent(self, trial: str, at_least: Spent = NOTHING_SPENT) -> dict[str, Spent]:
        """What a trial has cost so far, by window.

        Args:
            trial: the trial's id.
            at_least: what it has reported. That may be more than the last poll had brought from a host that is lost
                now; it is added to its last window: should that window still be there, its agent knows better.
        """
        booked = self._state.booked(trial)
        spent = {
            window: Spent(math.fsum(each[name] for name in WORK_BUCKETS), each["active"], each["startup"])
            for window, each in booked.items()
        }
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
        self._tell(
            [url for url in self._others() if self._silence.is_over(url)],
            protocol.CloseTrial(trial=trial, is_over=is_over),
        )

    def tell_agents(self, agents: Mapping[str, str]) -> None:
        """Tell the agents of other hosts who all serve this run: the names of their nodes by address."""
        windows = {url: self._since[url][0] for url in sorted(self._answering) if url != self._own.url}
        news = [url for url, window in windows.items() if self._told.get(url) != (window, agents)]
        silent = self._tell(news, protocol.Agents.within_bounds(agents))
        self._told |= {url: (windows[url], agents) for url in news if url not in silent}

    def close_windows(self) -> None:
        """Have every agent take a last reading and close the run's window. Who does not hear it is told in ``stop``."""
        self._own.close_window()
        self._left_open = self._tell(self._others(), protocol.CloseWindow())

    def _others(self) -> list[str]:
        return [url for url in self._registry.agents() if url != self._own.url]

    def _tell(
        self, urls: Sequence[str], request: protocol.CloseTrial | protocol.Agents | protocol.CloseWindow
    ) -> set[str]:
        """Returns who has not heard it."""
        heard = set()
        for url, answer in self._all.ask(urls, lambda url: self._remote(url).tell(request)):
            if answer is None or isinstance(answer.exception(), AgentUnreachable):
                continue
            heard.add(url)
            if (error := answer.exception()) is not None:  # no other agent is to miss it for this one
                self.failures += 1
                log.error("what the agent at %s was told went wrong", url, exc_info=error)
        return set(urls) - heard

    def poll(self) -> None:
        """Ask all agents once. One that does not answer is asked again next time, later and later."""
        with self._lock:
            self._ask_for_totals([url for url in self._registered() if self._silence.is_over(url)])

    def _registered(self) -> list[str]:
        """All agents; nothing is kept of others, in whose place they are."""
        urls = self._registry.agents()
        self.targets.keep(urls)
        self._answering &= set(urls)
        self._unusable = {url: why for url, why in self._unusable.items() if url in urls}
        return urls

    def _ask_for_totals(self, urls: Collection[str]) -> list[str]:
        """Returns who has not answered. What the others say is taken here, one after another in the order of ``urls``.

        Raises:
            LedgerError: it could not be kept.
        """
        since = {url: self._since.get(url, ("", 0)) for url in urls}
        silent = set(urls)
        for url, answer in self._all.ask([*urls], lambda url: self._remote(url).totals(*since[url])):
            self._answering.discard(url)
            self._unusable.pop(url, None)
            if answer is None or isinstance(answer.exception(), AgentUnreachable):
                self._silence.note(url)
                continue
            silent.remove(url)
            self._silence.end(url)
            try:
                self._take(url, answer.result())
                self._answering.add(url)
            except LedgerError:
                raise
            except Exception as error:  # an answer that is no agent's: the joules of the others are not lost for it
                self.failures += 1
                self._unusable[url] = one_line(f"{type(error).__name__}: {error}")
                log.exception("what the agent at %s answers cannot be used", url)
        self.watts = self._intake.readings.watts(self._since[url][0] for url in sorted(self._answering))
        return sorted(silent)

    def _take(self, url: str, answer: Mapping[str, Any]) -> None:
        self._intake.take(answer, self._clock() - self._began)
        self.targets.note(url, answer["node"])
        # Said only now that it is in the ledger: asking with this number acknowledges it.
        self._since[url] = (answer["window"], answer["revision"])

    def _poll_for_ever(self) -> None:
        while not self._stopping.wait(POLL_SECONDS) and self.problem is None:
            self.look()

    def look(self) -> None:
        """What is done once a second; nothing goes through it, so that the agents are asked on."""
        try:
            self.poll()
            self._after_poll()
        except LedgerError as error:  # kept for the driver, which must not go on without its ledger
            self.problem = error
        except Exception:  # such as of a Ray whose head is restarted: unless agents are asked on, joules are lost
            self.failures += 1
            log.exception("could not ask all agents")
