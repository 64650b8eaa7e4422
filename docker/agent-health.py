"""Whether the agent of this container has read its meters lately: its /healthz, at the container's own name."""

import http.client
import os
import socket
import sys

address = os.environ.get("ENERGYSWEEP_HEALTH_ADDRESS", socket.gethostname())
connection = http.client.HTTPConnection(address, int(os.environ.get("ENERGYSWEEP_HEALTH_PORT", "9770")), timeout=4)
connection.request("GET", "/healthz")
response = connection.getresponse()
sys.exit(f"{response.status} {response.read().decode()}" if response.status != 200 else 0)
