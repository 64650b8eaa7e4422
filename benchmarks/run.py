"""Print what energysweep costs as a Markdown table: ``python -m benchmarks.run [trials] [agent] [loop]``."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from importlib.metadata import version

from benchmarks.agent import bench_agent
from benchmarks.rows import HEADER, Row, as_markdown
from benchmarks.tuning import bench_loop, bench_trials

BENCHMARKS: dict[str, Callable[[], list[Row]]] = {"trials": bench_trials, "agent": bench_agent, "loop": bench_loop}


def main(names: list[str]) -> int:
    """Run the named benchmarks, all if none is named."""
    unknown = set(names) - BENCHMARKS.keys()
    if unknown:
        print(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    packages = ", ".join(f"{name} {version(name)}" for name in ("ray", "torch", "codecarbon"))
    print(f"{os.cpu_count()} logical CPUs, Python {platform.python_version()}, {packages}\n")
    print(HEADER, flush=True)
    for name in names or BENCHMARKS:
        for row in BENCHMARKS[name]():
            print(as_markdown(row), flush=True)
    return 0


if __name__ == "__main__":  # the benchmarks' children import this module, too
    sys.exit(main(sys.argv[1:]))
