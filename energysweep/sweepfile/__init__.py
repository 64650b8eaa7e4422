"""The sweep YAML: load it, check it, and say which trials it makes."""

from energysweep.sweepfile.checks import check_trackers
from energysweep.sweepfile.load import json_schema, load_spec
from energysweep.sweepfile.model import (
    Budget,
    Carbon,
    Hardware,
    Objective,
    Price,
    Scheduler,
    Search,
    Stage,
    SweepSpec,
)
from energysweep.sweepfile.samplers import check_search
from energysweep.sweepfile.space import Count, Point, count_sentence, point, points, seeds, trial_count, varying
from energysweep.sweepfile.stages import origin, stage_spec, with_origin
from energysweep.sweepfile.workload import (
    Imported,
    check_workload,
    find_workload,
    load_workload,
    render_command,
)

__all__ = [
    "Budget",
    "Carbon",
    "Count",
    "Hardware",
    "Imported",
    "Objective",
    "Point",
    "Price",
    "Scheduler",
    "Search",
    "Stage",
    "SweepSpec",
    "check_search",
    "check_trackers",
    "check_workload",
    "count_sentence",
    "find_workload",
    "json_schema",
    "load_spec",
    "load_workload",
    "origin",
    "point",
    "points",
    "render_command",
    "seeds",
    "stage_spec",
    "trial_count",
    "varying",
    "with_origin",
]
