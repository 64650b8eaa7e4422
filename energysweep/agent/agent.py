"""The agent of one host, as its clients see it: windows, leases, and a second that passes.

No sockets, no threads of its own: ``server`` lets programs talk to it and calls ``tick`` once a second. ``observer``
sees, ``books`` books, ``keeper`` keeps both over a restart, ``telling`` tells those who only ask.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence

from energysweep.accounting.accounts import Energy, Lease, Sweep
from energysweep.accounting.books import QUIET_SECONDS, SERIES_SECONDS, Books, QuietSeconds
from energysweep.accounting.floors import FloorMemory
from energysweep.accounting.observer import Observer, Presence, Speaker
from energysweep.accounting.processes import ProcessTable, Root
from energysweep.accounting.windows import Coverage, Window
from energysweep.agent import guard, proof
from energysweep.agent.state import Address, Keeper, StateFile
from energysweep.agent.telling import Telling
from energysweep.core.errors import LeaseRefused
from energysweep.core.host import Host
from energysweep.core.records import READ_AT_MOST_EVERY_SECONDS
from energysweep.meters import Component, Opened

SCAN_AT_MOST_EVERY_SECONDS = 0.002  # a trial that opens where another just closed needs no second scan
ABANDONED_SECONDS = 60.0  # how long a sweep without any process keeps its window: its driver may come back


class Agent:
    """Books the energy of one host. Thread-safe.

    Args:
        host: the host.
        meters: its open meters.
        kinds: the kinds of meters that were asked for.
        floors: what is remembered of idle floors.
        own: the agent's own process, which serves all sweeps; None if it is part of a sweep's tree (embedded).
        table: the host's processes; those of its procfs if None.
        state: where it keeps what the next agent resumes; None keeps nothing.
        series_seconds: how long the series of a trial that has ended stay.

    Attributes:
        telling: what it tells those who only ask.
    """

    def __init__(
        self,
        host: Host,
        meters: Opened,
        kinds: Sequence[str] = ("auto",),
        floors: FloorMemory | None = None,
        own: Root | None = None,
        table: ProcessTable | None = None,
        state: StateFile | None = None,
        series_seconds: float = SERIES_SECONDS,
    ) -> None:
        self.host = host
        self.kinds = kinds
        self.lock = threading.RLock()
        self._observer = Observer(host, meters, own, table)
        self.counters = self._observer.counters
        self._books = Books(
            host, self.counters, floors or FloorMemory(None), self._observer.logical_cpus, series_seconds
        )
        self.windows, self.node, self.node_watts = self._books.windows, self._books.node, self._books.node_watts
        self._keeper = Keeper(host, self._observer, self._books, state)
        self.telling = Telling(host, self.lock, self._observer, self._books, self._keeper)
        self._presence = Presence(self._observer)
        self._observe()

    # A restart -------------------------------------------------------------------------------------------------------

    def resume(self) -> None:
        """Go on from the state that an earlier agent of this boot has left, and book the gap as one interval.

        Leases and members whose processes live stay for a minute, until they have come back.
        """
        with self.lock:
            if self._keeper.restore():
                self._presence.await_all(self.host.clock())
                self._observe()

    def save(self) -> None:
        """Write down what the next agent has to know, if anything changed: at most ten times a second."""
        with self.lock:
            self._keeper.save_if_due()

    def end(self, *, keep_state: bool) -> None:
        """The last reading. From now on nothing is told to drivers.

        Args:
            keep_state: another agent may go on from here.
        """
        with self.lock:
            if self._keeper.keeps:
                self._observe()
                self._keeper.end(keep_state=keep_state)

    @property
    def address(self) -> Address | None:
        """Where its server is found; None if it has none. The next agent on this host has it from this one."""
        return self._keeper.address

    @address.setter
    def address(self, address: Address) -> None:
        self._keeper.address = address

    # Windows and members -------------------------------------------------------------------------------------------

    def open_window(
        self, run: str, idle_power_watts: Mapping[Component, float] | None = None, key: str = "", peer: str = ""
    ) -> Window:
        """The window of a run: a new one that counts from zero, or the one that is open.

        Args:
            run: the run id.
            idle_power_watts: idle floors that the user gave.
            key: of the run; the first one binds it.
            peer: who asks.

        Raises:
            LeaseRefused: the run has another key, or there are too many runs.
        """
        with self.lock:
            proof.check(run, key, peer, self.windows.get(run), self.host.clock())
            window = self._books.open_window(run)
            if window is None:
                guard.make_room_for_window(self.windows, peer)
                self._observer.begin()
                self._observe()
                window = self._books.add_window(run, idle_power_watts or {})
                window.key, window.peer = proof.fingerprint(key), peer
                self._note_change()
            return window

    def close_window(self, run: str) -> None:
        """Close a run's leases and its window, after a last reading. The window can still be read."""
        with self.lock:
            window = self._books.open_window(run)
            if window is None:
                return
            self._close_leases(lambda lease: lease.run == run)
            self._observe()
            window.close()
            self._presence.leave(lambda _, member: member.run == run)
            self._note_change()

    def join(self, run: str, root: Root, speaker: int | None = None) -> None:
        """A process of a run's own (its driver, or a worker): what it does without a lease is the run's overhead.

        It is, until ``disconnect``, for each of its connections.

        Args:
            run: the run.
            root: the process.
            speaker: the number of the connection that says so; None: the process itself, whoever speaks for it.
        """
        with self.lock:
            self._observer.advance()
            self._presence.join(root, run, speaker)

    def disconnect(self, speaker: Speaker) -> None:
        """A connection has ended: close the leases that it holds; its process is no member by it any more.

        A lease that another connection has taken over stays open.
        """
        with self.lock:
            self._close_leases(lambda lease: self._presence.holds(speaker, lease.id))
            self._observer.advance()
            self._presence.leave(lambda other, _: other == speaker)

    # Leases ----------------------------------------------------------------------------------------------------------

    def open_lease(
        self,
        run: str,
        lease_id: str,
        trial: str,
        root: Root,
        cpus: float,
        gpus: Mapping[str, float],
        config: str = "",
        hardware: str = "",
        speaker: int | None = None,
        *,
        in_startup: bool = False,
    ) -> Energy:
        """From now on the process tree works for the trial.

        Args:
            run: a run with an open window.
            lease_id: unique; chosen by the client, so that a repeated request opens one lease, and that a client whose
                agent was restarted finds its lease again.
            trial: the trial's id.
            root: the root of the process tree.
            cpus: reserved logical CPUs.
            gpus: fractions of GPUs, by the names that ``Opened.held`` takes.
            config, hardware: short readable texts for the dashboards.
            speaker: the number of the connection that asks, and holds the lease from now on.
            in_startup: it begins with its start-up, until ``change_phase``.

        Returns:
            What earlier leases of this trial on this host have cost.

        Raises:
            LeaseRefused: no window, or the lease is another process's or trial's, or a later connection has taken it
                over.
        """
        with self.lock:
            window = self._books.open_window(run)
            if window is None:
                raise LeaseRefused(f"run {run!r} has no open window on this host")
            if self._is_open_again(window, lease_id, trial, root, speaker):
                if lease_id in self._observer.leases:
                    self.change_phase(lease_id, in_startup=in_startup)
                return window.trial(trial).energy()
            guard.check_room_for_lease(self.windows, self._observer.leases.values(), window, trial)
            held = self._observer.held_gpus(gpus)
            cpus = min(cpus, self._observer.logical_cpus)  # Ray lets a trial reserve more than there is
            self._bring_up()
            opened, opened_at = self.host.clock(), self.host.wall_clock()
            lease = Lease(lease_id, run, trial, root, cpus, held, opened, opened_at, in_startup=in_startup)
            window.open_lease(lease)
            account = window.trial(trial)
            account.config, account.hardware = config or account.config, hardware or account.hardware
            self._observer.leases[lease_id] = lease
            self._presence.hold(lease_id, speaker)
            self._note_change()
            return account.energy()

    def _is_open_again(self, window: Window, lease_id: str, trial: str, root: Root, speaker: int | None) -> bool:
        """Whether a client asks again for a lease that it has, perhaps after the agent's restart."""
        if lease_id not in window.leases:
            if any(lease_id in other.leases for other in self.windows.values()):
                raise LeaseRefused(f"lease {lease_id} is of another run")
            return False
        lease = window.leases[lease_id]
        if (lease.trial, lease.root) != (trial, root):
            raise LeaseRefused(f"lease {lease_id} is of another trial or process")
        if lease.closed is None:  # of a closed one only its trial's energy is told
            self._presence.hold(lease_id, speaker)
        return True

    def change_phase(self, lease_id: str, *, in_startup: bool, speaker: int | None = None) -> None:
        """From now on a lease is in start-up, or works; what it has used until now counts as what it did until now.

        Raises:
            LeaseRefused: there is no such open lease, or a later connection has taken it over.
        """
        with self.lock:
            lease = self._held(lease_id, speaker)
            if lease.in_startup != in_startup:
                self._bring_up()
                lease.in_startup = in_startup
                self._note_change()

    def note_elsewhere(self, lease_id: str, speaker: int | None = None) -> None:
        """A lease's process has others work that hold no lease: what they draw is not in it.

        Raises:
            LeaseRefused: there is no such open lease, or a later connection has taken it over.
        """
        with self.lock:
            self._held(lease_id, speaker).works_elsewhere = True
            self._note_change()

    def report(self, lease_id: str, results: Mapping[str, float] | None = None, speaker: int | None = None) -> Energy:
        """What the lease's trial has cost until now, over all its leases on this host, and its power since last time.

        Raises:
            LeaseRefused: there is no such open lease, or a later connection has taken it over.
        """
        with self.lock:
            lease = self._held(lease_id, speaker)
            self._observe_if_due()
            account = self.windows[lease.run].trial(lease.trial)
            account.note_results(results or {})
            watts = account.power_since_report(self.counters)
            self._note_change()
            return account.energy()._replace(power_watts=watts)

    def spent(self, lease_id: str, speaker: int | None = None) -> Energy:
        """What the lease's trial has cost until now, as a report would tell it; counts as none.

        Raises:
            LeaseRefused: there is no such open lease, or a later connection has taken it over.
        """
        with self.lock:
            lease = self._held(lease_id, speaker)
            self._observe_if_due()
            self._note_change()  # what is told here is known to the next agent, too
            return self.windows[lease.run].trial(lease.trial).energy()

    def close_lease(self, run: str, lease_id: str, speaker: int | None = None) -> Energy:
        """Take a last reading and close the lease; closing it again only tells what the trial has cost.

        Raises:
            LeaseRefused: the run never had such a lease, its driver has settled it, or a later connection has taken it
                over.
        """
        with self.lock:
            self._presence.check_holder(lease_id, speaker)
            window = self.windows.get(run)
            if window is None or lease_id not in window.leases:
                raise LeaseRefused(f"run {run!r} has no lease {lease_id}")
            lease = window.leases[lease_id]
            account = window.trial(lease.trial)
            if lease.closed is not None:
                return account.energy()
            self._close_leases(lambda each: each is lease)
            return account.energy()

    def coverage(self, run: str, lease_id: str) -> Coverage | None:
        """How well a lease was measured; None where nobody knows any more."""
        with self.lock:
            return self._books.window(run).coverage(lease_id)

    def close_trial(self, run: str, trial: str, *, is_over: bool = False) -> None:
        """Close all leases of a trial: its driver knows that it has ended before its worker does.

        Args:
            run, trial: which one.
            is_over: no other lease will follow, so that its account can go when its series do.
        """
        with self.lock:
            self._close_leases(lambda lease: (lease.run, lease.trial) == (run, trial))
            window = self.windows.get(run)
            if is_over and window is not None and trial in window.trials:
                window.trials[trial].is_over = True

    def update_sweep(self, run: str, sweep: Sweep) -> None:
        """What a driver says of its sweep, for the dashboards."""
        with self.lock:
            self._books.window(run).sweep = sweep
            self._note_change()

    def update_agents(self, run: str, agents: Mapping[str, str]) -> None:
        """Which other agents serve a run: the names of their nodes by address."""
        with self.lock:
            self._books.window(run).sweep.agents = dict(agents)
            self._note_change()

    # Time passes -------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Once a second: read, book, and let go of what has ended."""
        with self.lock:
            began = self.host.clock()
            self._observe()
            self._close_abandoned()
            clocks = self._observer.clocks
            self._close_leases(lambda lease: not clocks.alive(lease.root))  # a connection may live on in a forked child
            self._dismiss_awaited()
            self._books.measure_watts()
            self._books.forget(self._observer.advanced)
            self._keeper.save_at_tick(began)
            self.telling.health.tick_seconds = self.host.clock() - began

    def measure_quiet(self, sleep: Callable[[float], object], without: Collection[Component] = ()) -> None:
        """Measure the idle floors over two seconds, if they are not known better and the host is quiet.

        Args:
            sleep: ``time.sleep``, or the test's.
            without: components whose floor the user gave.
        """
        quiet = QuietSeconds(self._observer, self._books, without)
        if not quiet.are_needed:
            return
        self.tick()
        quiet.begin()
        sleep(QUIET_SECONDS)
        with self.lock:
            self._observe()
            watts = quiet.watts()
            if watts is not None:
                self._books.quiet_watts = watts

    # Inside --------------------------------------------------------------------------------------------------------

    def _observe(self) -> None:
        """Read all meters, bring everything else up to the same moment, and book what the counters saw."""
        for interval in self._observer.observe():
            self._books.book(interval)
            self._keeper.changed |= bool(self._books.open_windows())

    def _observe_if_due(self) -> bool:
        """Read the meters, unless they were read a moment ago."""
        is_due = self.host.clock() - self._observer.read_at >= READ_AT_MOST_EVERY_SECONDS
        if is_due:
            self._observe()
        return is_due

    def _bring_up(self) -> None:
        """Bring everything up to now, and read the meters if that is due."""
        is_scanned = self._observe_if_due()
        if not is_scanned and self.host.clock() - self._observer.advanced >= SCAN_AT_MOST_EVERY_SECONDS:
            self._observer.advance()

    def _held(self, lease_id: str, speaker: int | None) -> Lease:
        self._presence.check_holder(lease_id, speaker)
        lease = self._observer.leases.get(lease_id)
        if lease is None:
            raise LeaseRefused(f"lease {lease_id} is not open")
        return lease

    def _note_change(self) -> None:
        self._keeper.changed = True
        self._keeper.save_if_due()

    def _close_leases(self, is_meant: Callable[[Lease], bool]) -> None:
        meant = [lease for lease in self._observer.leases.values() if is_meant(lease)]
        if not meant:
            return
        self._observe()
        for lease in meant:
            self.windows[lease.run].close_lease(lease)
            del self._observer.leases[lease.id]
            self._presence.release(lease.id)
        self._note_change()

    def _dismiss_awaited(self) -> None:
        """Let go of those whom a restarted agent has waited for, and who have not come back."""
        missing = self._presence.missing(self.host.clock())
        if missing:
            self._close_leases(lambda lease: lease.id in missing)
            self._presence.leave(lambda speaker, _: speaker in missing)

    def _close_abandoned(self) -> None:
        """Close the windows of sweeps whose processes have all gone."""
        now, clocks = self._observer.advanced, self._observer.clocks
        alive = {each.run for each in self._observer.members if clocks.alive(each.root)}
        alive |= {each.run for each in self._observer.leases.values() if clocks.alive(each.root)}
        for window in self._books.open_windows():
            if window.run in alive:
                window.last_seen = now
            elif now - window.last_seen > ABANDONED_SECONDS:
                self.close_window(window.run)
