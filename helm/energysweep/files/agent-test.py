"""Of `helm test`: the agent of this pod's node answers to trials, and where METRICS is set it has meters."""

import json
import os
import re
import socket
import sys
import urllib.request

leases, metrics = os.environ["LEASES"], os.environ.get("METRICS")
host, _, port = leases.rpartition(":")
try:
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b'{"op": "none"}\n')
        answer = json.loads(connection.makefile().readline())
except (OSError, ValueError) as error:
    sys.exit(f"no agent answers at {leases} on this pod's node: {error}")
if answer.get("ok") is not False:  # nothing that it knows was asked for, so a reason is the right answer
    sys.exit(f"what answers at {leases} is no agent: {answer}")
print("the agent answers at", leases)
if metrics:
    try:
        with urllib.request.urlopen(f"{metrics}/metrics", timeout=10) as page:
            text = page.read().decode()
    except OSError as error:
        sys.exit(f"the agent shows no metrics at {metrics}: {error}")
    series = re.compile(r'^energysweep_node_energy_joules_total{.*?component="(.*?)".*?source="(.*?)"', re.MULTILINE)
    found = series.findall(text)
    if not found:
        sys.exit("the agent has no meter: its log says why")
    print("its meters:", ", ".join(sorted({f"{component} by {source}" for component, source in found})))
