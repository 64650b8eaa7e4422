"""Runs a sweep on the head of a cluster, by ``ray submit CLUSTER.yaml deploy/ray/sweep.py sweeps/quickstart.yaml``.

``ray submit`` copies this file to the head and runs it there, in the home folder; the sweep's file is the head's own.
What follows it goes to ``energysweep run``, such as ``--run-id``.
"""

import os
import sys
from pathlib import Path

from energysweep.cli import main

RESULTS = os.environ.get("ENERGYSWEEP_RESULTS", str(Path.home() / "energysweep-results"))

if __name__ == "__main__":
    sys.exit(main(["run", "--address", "auto", "--output", RESULTS, *sys.argv[1:]]))
