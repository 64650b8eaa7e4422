"""Print what energysweep costs as a Markdown table: ``python -m benchmarks.run [trials] [agent] [loop] [scrape]``."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from collections.abc import Callable
from importlib.metadata import version

from benchmarks.rows import HEADER, Row, as_markdown

# Names and not functions: the children of the agent's benchmark import this module too, and what it imports (Ray,
# PyTorch) would be missing from the start times that they measure.
BENCHMARKS = {
    "trials": "benchmarks.tuning",
    "agent": "benchmarks.agent",
    "loop": "benchmarks.tuning",
    "scrape": "benchmarks.scrape",
}


def main(names: list[str]) -> int:
    """Run the named benchmarks, all if none is named."""
    unknown = set(names) - BENCHMARKS.keys()
    if unknown:
        print(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    names_of_packages = ("ray", "torch", "codecarbon", "prometheus-client")
    packages = ", ".join(f"{name} {version(name)}" for name in names_of_packages)
    print(f"{os.cpu_count()} logical CPUs, Python {platform.python_version()}, {packages}\n")
    print(HEADER, flush=True)
    for name in names or BENCHMARKS:
        bench: Callable[[], list[Row]] = getattr(importlib.import_module(BENCHMARKS[name]), f"bench_{name}")
        for row in bench():
            print(as_markdown(row), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
