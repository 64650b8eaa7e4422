"""Grafana dashboards as code: built here, written to files or published by the command line.

Public names: ``dashboards``, ``export``, ``TAG``, ``VERSION_TAG``, ``Json``.
"""

from energysweep.monitoring.dashboard import TAG, VERSION_TAG
from energysweep.monitoring.fields import Json
from energysweep.monitoring.files import dashboards, export

__all__ = ["TAG", "VERSION_TAG", "Json", "dashboards", "export"]
