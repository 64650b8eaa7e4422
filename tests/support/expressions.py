"""All that the dashboards ask Prometheus, for tests that ask one that has watched a real sweep."""

from __future__ import annotations

import pytest

from energysweep.monitoring import dashboards
from tests.support.grafana import panels

# What the account shows is recorded minute by minute, which a test's sweep does not wait for: test_account.py.
LIVE = tuple(dashboard for dashboard in dashboards() if dashboard["uid"] != "energysweep-account")
DASHBOARDS = {dashboard["uid"]: dashboard for dashboard in LIVE}
TARGETS = [
    pytest.param(dashboard, panel["title"], query, id=f"{dashboard['uid']}: {panel['title']}: {query['refId']}")
    for dashboard in LIVE
    for panel in panels(dashboard)
    for query in panel["targets"]
    if "expr" in query
]
VARIABLES = [
    pytest.param(dashboard, variable, id=f"{dashboard['uid']}: ${variable['name']}")
    for dashboard in LIVE
    for variable in dashboard["templating"]["list"]
    if variable["type"] == "query"
]
# No data, and why.
EMPTY_WHILE_IT_RUNS = {
    ("When they ran, and whose they are", "ends"): "the sweep has not ended",
}
