"""Grafana dashboards as code: built here, written to files or published by the command line.

Public names: ``dashboards``, ``export``, ``TAG``, ``VERSION_TAG``, ``Json``.
"""

from energysweep.monitoring.dashboard import TAG, VERSION_TAG
from energysweep.monitoring.grafana import dashboards, export
from energysweep.monitoring.panels import Json

__all__ = ["TAG", "VERSION_TAG", "Json", "dashboards", "export"]
