"""What a scrape of a node with 2,000 live trials costs, against prometheus_client's own objects of the same content."""

from __future__ import annotations

import gzip
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from urllib.request import ProxyHandler, Request, build_opener

from prometheus_client import CollectorRegistry, Counter, Gauge, parser
from prometheus_client.openmetrics.exposition import generate_latest

from benchmarks.rows import Row, paired
from energysweep.accounting.accounts import Sweep
from energysweep.accounting.processes import Root
from energysweep.agent.agent import Agent
from energysweep.agent.exporter import exposition
from energysweep.agent.server import AgentServer
from energysweep.core.metrics import FAMILIES
from energysweep.simulation.node import LOGICAL_CPUS, Node

ACCEPTS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"  # as Prometheus says


class Clock:
    """Stands still but for what it is moved on, until it runs by itself."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._runs_since: float | None = None

    def __call__(self) -> float:
        return self._seconds + (0.0 if self._runs_since is None else time.monotonic() - self._runs_since)

    def advance(self, seconds: float) -> None:
        """Now is so much later."""
        self._seconds += seconds

    def run(self) -> None:
        """From now on it is as fast as the real one."""
        self._runs_since = time.monotonic()


def busy_node(trials: int) -> Agent:
    """The agent of a simulated node with so many trials at work, each with a result and with joules of its own."""
    clock = Clock()
    node = Node(0, clock, Random(0), 0.0, has_gpu=False, state_folder=None)  # noqa: S311 - a simulation without faults
    agent = node.agent
    assert agent is not None  # noqa: S101
    agent.open_window("mnist-20260101T000000Z").sweep = Sweep(380.0, "DEU", "given")
    agent.join("mnist-20260101T000000Z", node.processes.fork())
    cpus: dict[Root, float] = {}
    for number in range(trials):
        root = node.processes.fork()
        share = LOGICAL_CPUS / trials
        cpus[root] = share * number / trials
        config = f"learning_rate=0.{number:05d}, batch_size={16 * (number % 16)} seed={number % 3}"
        lease, trial = f"lease-{number}", f"{number * 2654435761 % 2**32:08x}"
        agent.open_lease("mnist-20260101T000000Z", lease, trial, root, share, {}, config, "cpu")
        agent.report(lease, {"accuracy": number / 7})
    for _ in range(3):
        clock.advance(100.0)
        node.advance(clock(), 100.0, cpus)
        agent.tick()
    clock.run()
    return agent


def bench_scrape(trials: int = 2000, repetitions: int = 15) -> list[Row]:
    """Text and compression alone, in turn; then a whole scrape over HTTP while the agent ticks; and the sizes."""
    agent = busy_node(trials)
    registry = as_children(exposition(agent.telling.snapshot(), "").text)
    ours, theirs, snapshots, scrapes, waits = [], [], [], [], []
    for _ in range(repetitions):
        ours.append(_cpu(lambda: gzip.compress(exposition(agent.telling.snapshot(), ACCEPTS).text.encode(), 1)))
        theirs.append(_cpu(lambda: gzip.compress(generate_latest(registry))))
        snapshots.append(_cpu(agent.telling._take_snapshot))  # noqa: SLF001 - the part that holds the lock
        waits.append(_wall(lambda: gzip.compress(generate_latest(registry))))
    with tempfile.TemporaryDirectory() as folder:
        server = AgentServer(agent, Path(folder) / "agent.sock", port=0)
        server.start()
        for _ in range(repetitions):
            scrapes.append(_wall(lambda: _scrape(server.url)))
            time.sleep(0.3)  # at another moment of the agent's second
        server.stop()
    text = exposition(agent.telling.snapshot(), ACCEPTS).text.encode()
    packed = len(gzip.compress(text, 1))
    what = f"{trials} live trials"
    return [
        paired(f"CPU for the text of {what} and gzip, against prometheus_client's children", ours, theirs, "ms", None),
        paired("CPU with the agent's lock held (the picture), against the same", snapshots, theirs, "ms", None),
        paired(
            "a scrape of it over HTTP while the agent ticks, against only making the same", scrapes, waits, "ms", None
        ),
        Row(
            f"size of it ({text.count(10)} lines), gzip against plain",
            f"{packed / 1e6:.2f} MB",
            f"{len(text) / 1e6:.2f} MB",
            packed / len(text),
        ),
    ]


def as_children(text: str) -> CollectorRegistry:
    """The same content in prometheus_client's own objects, as programs usually have them: one child for each series."""
    registry = CollectorRegistry()
    kinds = {"counter": Counter, "gauge": Gauge}
    metrics = {
        family.name: kinds[family.kind](family.name, family.help, family.labels, registry=registry)
        for family in FAMILIES
    }
    for family in parser.text_string_to_metric_families(text):
        for sample in family.samples:
            child = metrics[sample.name].labels(**sample.labels)
            child.inc(sample.value)
    return registry


def _scrape(url: str) -> None:
    request = Request(f"{url}/metrics", headers={"Accept": ACCEPTS, "Accept-Encoding": "gzip"})  # noqa: S310 - our own
    with build_opener(ProxyHandler({})).open(request, timeout=60) as answer:
        answer.read()


def _cpu(do: Callable[[], object]) -> float:
    """Milliseconds of CPU time: others who use this machine do not change it."""
    began = time.thread_time()
    do()
    return (time.thread_time() - began) * 1000


def _wall(do: Callable[[], object]) -> float:
    began = time.perf_counter()
    do()
    return (time.perf_counter() - began) * 1000
