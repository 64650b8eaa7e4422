"""Of `helm test`: two short trials run on the cluster, and the agents of their nodes have measured each of them."""

import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

SWEEP = """
name: helm-test
command:
  - python3
  - -c
  - |
    import json, time
    end = time.process_time() + 3
    while time.process_time() < end:
        pass
    print(json.dumps(dict(score=1.0)))
parameters:
  value: {grid: [1, 2]}
objective: {metric: score, mode: max}
carbon: {grams_per_kwh: 0}
"""

with tempfile.TemporaryDirectory() as folder:
    sweep = Path(folder) / "sweep" / "sweep.yaml"
    sweep.parent.mkdir()
    sweep.write_text(SWEEP)
    command = ["energysweep", "submit", str(sweep), "--address", os.environ["DASHBOARD"], "--fetch", folder]
    for setting in json.loads(os.environ["SETTINGS"]):
        command += ["--set", setting]
    if code := subprocess.run(command, check=False).returncode:
        sys.exit(f"energysweep submit has ended with {code}: see above")
    (file,) = Path(folder).glob("*/summary.json")
    summary = json.loads(file.read_text())
    with (file.parent / "trials.csv").open(newline="") as table:
        trials = list(csv.DictReader(table))
unmeasured = [trial["trial"] for trial in trials if trial["energy_joules"] == "n/a"]
if unmeasured:
    sys.exit(
        f"{len(unmeasured)} of {len(trials)} trials were not measured: {', '.join(unmeasured)}. No agent was on their"
        " nodes, or none that may be reached from this namespace: what came before this line says why"
    )
meters = sorted({f"{each['component']} by {each['source']} on {each['node']}" for each in summary["meters"]})
sign = "≈" if any("estimate" in trial["source"].split("+") for trial in trials) else ""
joules = summary["totals"]["trials_energy_joules"]
print(f"{len(trials)} trials have run and cost {sign}{joules:.1f} J, by: {', '.join(meters)}")
