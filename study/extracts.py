"""Small files with all that the study's document needs to know of a run, for the repository.

An extract is a run's Summary without what names a machine, and without what can be worked out again from its trials.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from energysweep.core.naming import configuration_text
from energysweep.core.objective import Objective
from energysweep.ledger.model import extent
from energysweep.ledger.ranking import with_ties
from energysweep.ledger.summary import configurations_of, headline, stages_of
from energysweep.ledger.trials import TrialSummary
from energysweep.report import Summary, write_whole

_SUMMARY: Final = TypeAdapter(Summary)
_WORKED_OUT: Final = {"configurations", "extent", "headline", "stages"}
_FOLDERS: Final = re.compile(r"[^\s=]*/")
_NO_EXTENT: Final = {"status": "", "planned": 0, "ended": 0, "failed": 0, "open": 0}
_NO_HEADLINE: Final = {"sentence": ""}


def write_extract(summary: Summary, folder: Path) -> Path:
    """Write the extract of a run into ``folder``, under the name of its sweep."""
    bare = replace(
        summary,
        trials=tuple(_anonymous(trial, summary.objective) for trial in summary.trials),
        meters=tuple(replace(meter, node="", device=meter.component) for meter in summary.meters),
        lost_nodes=(),
        unheard_nodes=(),
        unmeasured_gpus=(),
        workload=_FOLDERS.sub("", summary.workload),
        damage=tuple(each.partition(" (")[0] for each in summary.damage),  # what follows holds a row of the ledger
    )
    said = _SUMMARY.dump_python(bare, mode="json", exclude=_WORKED_OUT)
    said["stage_metrics"] = {stage.stage: stage.metric for stage in summary.stages}
    path = folder / f"{summary.name}.json"
    write_whole(path, _lines(said))
    return path


def read_extract(path: Path) -> Summary:
    """The run again, with everything worked out that its report shows."""
    said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    metrics = said.pop("stage_metrics")
    said.setdefault("sources", sorted({meter["source"] for meter in said["meters"]}))  # older ones name meters alone
    nothing = {"configurations": (), "extent": _NO_EXTENT, "headline": _NO_HEADLINE, "stages": ()}
    bare = _SUMMARY.validate_python({**said, **nothing})
    bare = replace(bare, trials=tuple(_named(trial, bare.varying) for trial in bare.trials))
    own = [trial for trial in bare.trials if not trial.stage]
    configurations = with_ties(configurations_of(own, bare.objective, bare.varying), bare.objective)
    stages = stages_of(bare.trials, {name: Objective(metric) for name, metric in metrics.items() if metric})
    found = extent({"status": bare.status}, bare.trials)
    said_of_all = headline(configurations, bare.objective, found)
    return replace(bare, configurations=configurations, extent=found, headline=said_of_all, stages=stages)


def read_extracts(folder: Path) -> list[Summary]:
    """All runs of a folder, in the order of their names."""
    return [read_extract(path) for path in sorted(folder.glob("*.json"))]


def _named(trial: TrialSummary, varying: Sequence[str]) -> TrialSummary:
    """With the text of its configuration as it is written today, whatever the extract has."""
    return replace(trial, config=configuration_text(trial.parameters, varying, trial.stage))


def _anonymous(trial: TrialSummary, objective: Objective | None) -> TrialSummary:
    kept = {name: value for name, value in trial.metrics.items() if objective is not None and name == objective.metric}
    return replace(trial, nodes=(), error=None, metrics=kept)


def _lines(said: dict[str, Any]) -> str:
    """JSON with a line for each trial and meter, so that a change shows where it is."""
    parts = [f"{json.dumps(name)}: {_value(value)}" for name, value in said.items()]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _value(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(json.dumps(each, allow_nan=False) for each in value) + "\n]"
    return json.dumps(value, allow_nan=False)
