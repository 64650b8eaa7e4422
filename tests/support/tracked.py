"""Trackers as a person finds them, read back by their own means: servers, files of events, files of runs."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from energysweep.core.runfolder import LEDGER
from energysweep.ledger.store import read_ledger
from energysweep.ledger.summary import summarise
from energysweep.report.files import trials_csv
from energysweep.trackers.tensorboard import written_at
from tests.support.ports import free_port

FINAL = "final/"


@dataclass
class There:
    """One run, as a tracker has it.

    Attributes:
        reports: values by name, by step; of a step that is there twice, the place is a list.
        final: the final numbers and texts.
    """

    reports: dict[int, dict[str, list[float]]] = field(default_factory=dict)
    final: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    name: str = ""
    group: str = ""
    status: str = ""

    def note(self, step: int, name: str, value: float) -> None:
        self.reports.setdefault(step, {}).setdefault(name, []).append(value)


def told(folder: Path) -> dict[str, dict[str, str]]:
    """The rows of trials.csv by trial."""
    rows = csv.DictReader(io.StringIO(trials_csv(summarise(read_ledger(folder / LEDGER)))))
    return {row["trial"]: row for row in rows}


def check_equal(there: dict[str, list[There]], folder: Path) -> None:
    """One run for each trial and one for the sweep, whose numbers are those of trials.csv to the last digit, and whose
    reports are the ledger's, each once.
    """
    rows, data = told(folder), read_ledger(folder / LEDGER)
    assert there.keys() == rows.keys() | {""}
    assert {len(runs) for runs in there.values()} == {1}
    for trial, row in rows.items():
        (found,) = there[trial]
        shown = {name: text for name, text in row.items() if not name.startswith("param.")}
        wrong = {name: (found.final.get(name), text) for name, text in shown.items()}
        assert {name: pair for name, pair in wrong.items() if not is_as(*pair)} == {}
        assert found.group == data.run["id"]
        reports = [each for each in data.results if each.trial == trial]
        assert sorted(found.reports) == [each.iteration for each in reports]
        for each in reports:
            values = found.reports[each.iteration]
            assert values["iteration"] == [each.iteration]
            assert values.get("energy_joules", [None]) == [each.energy_joules]
            assert values.get("active_energy_joules", [None]) == [each.active_energy_joules]
            assert values.get("power_watts", [None]) == [each.power_watts]
            for name, value in each.metrics.items():
                assert values[name] == [value]
    totals = summarise(data).totals
    (sweep,) = there[""]
    assert sweep.final["energy_joules"] == totals.energy_joules
    assert sweep.final["overhead_joules"] == totals.buckets["overhead"]
    assert sweep.final["status"] == data.run["status"]


def is_as(value: Any, text: str) -> bool:
    """Whether a tracker's value is that of a cell in trials.csv; some have floats only, and no truth values."""
    if value is None:
        return text == "n/a"
    if isinstance(value, bool | str):
        return str(value).lower() == text.lower()
    return bool(value == float(text))


# MLflow --------------------------------------------------------------------------------------------------------------


@contextmanager
def mlflow_server(folder: Path, port: int = 0) -> Iterator[str]:
    """A server of MLflow on loopback, whose store is a SQLite file; yields its address once it answers."""
    port = port or free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--default-artifact-root", str(folder)]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment.pop("ENERGYSWEEP_SOCKET", None)  # by which a test ends what its sweeps have left
    with (folder / "server.log").open("ab") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True, cwd=folder)
    try:
        while not _answers(f"{url}/health"):
            if server.poll() is not None:
                raise AssertionError((folder / "server.log").read_text(errors="replace")[-3000:])
        yield url
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        time.sleep(0.2)  # until it is asked again
        return False


def in_mlflow(uri: str, experiment: str, run: str) -> dict[str, list[There]]:
    """The runs of a sweep by trial."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    there: dict[str, list[There]] = {}
    if found is None:
        return there
    runs = client.search_runs([found.experiment_id], max_results=1000)
    names = {each.info.run_id: each for each in runs}
    for each in runs:
        tags = each.data.tags
        parent = names.get(tags.get("mlflow.parentRunId", ""))
        group = parent.data.tags["energysweep.run"] if parent else tags.get("energysweep.run", "")
        one = There(name=each.info.run_name, group=group, status=each.info.status, parameters=dict(each.data.params))
        for name in each.data.metrics:
            history = client.get_metric_history(each.info.run_id, name)
            if name.startswith(FINAL):
                last = max(history, key=lambda metric: (metric.step, metric.timestamp))
                one.final[name.removeprefix(FINAL)] = last.value
                continue
            for metric in history:
                one.note(metric.step, name, metric.value)
        one.final |= {
            name.removeprefix(FINAL): None if text == "n/a" else text
            for name, text in tags.items()
            if name.startswith(FINAL)
        }
        one.labels = {
            name.removeprefix("energysweep."): text for name, text in tags.items() if name.startswith("energysweep.")
        }
        assert one.labels["run"] == run
        there.setdefault(one.labels.get("trial", ""), []).append(one)
    return there


# W&B -----------------------------------------------------------------------------------------------------------------


def in_wandb(folder: Path) -> dict[str, list[There]]:
    """The offline runs in a run folder by trial."""
    there: dict[str, list[There]] = {}
    for path in sorted((folder / "wandb").glob("offline-run-*/run-*.wandb")):
        one = _offline_run(path)
        there.setdefault(one.labels.get("trial", ""), []).append(one)
    return there


def _offline_run(path: Path) -> There:
    from wandb.proto import wandb_internal_pb2 as messages

    one = There()
    config: dict[str, Any] = {}
    for data in _pieces(path.read_bytes()):
        record = messages.Record()
        record.ParseFromString(data)
        match record.WhichOneof("record_type"):
            case "run":
                one.name, one.group = record.run.display_name, record.run.run_group
                config |= {each.key: json.loads(each.value_json) for each in record.run.config.update}
            case "config":
                config |= {each.key: json.loads(each.value_json) for each in record.config.update}
            case "history":
                values = {_key(each): json.loads(each.value_json) for each in record.history.item}
                for name, value in values.items():
                    if not name.startswith("_"):
                        one.note(int(values["_step"]), name, value)
            case "summary":
                final = {_key(each): json.loads(each.value_json) for each in record.summary.update}
                one.final |= {
                    name.removeprefix(FINAL): value for name, value in final.items() if name.startswith(FINAL)
                }
            case "exit":
                one.status = str(record.exit.exit_code)
    one.labels = {
        name.removeprefix("energysweep."): text for name, text in config.items() if name.startswith("energysweep.")
    }
    one.parameters = {name: value for name, value in config.items() if not name.startswith(("energysweep.", "_"))}
    return one


def _key(item: Any) -> str:
    return item.key or "/".join(item.nested_key)


def _pieces(data: bytes) -> Iterator[bytes]:
    """W&B's file is LevelDB's log behind seven bytes: blocks of 32 KiB, of pieces with checksum, length and kind."""
    at, whole = 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield whole
            whole = b""


# TensorBoard ---------------------------------------------------------------------------------------------------------


def in_tensorboard(folder: Path) -> dict[str, list[There]]:
    """What the event files in a run folder hold, by trial."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.plugins.hparams import metadata
    from tensorboard.util.tensor_util import make_ndarray

    there: dict[str, list[There]] = {}
    for place in sorted((folder / "tensorboard").iterdir()):
        one = There(name=place.name)
        for path in sorted(place.glob("*tfevents*"), key=written_at):
            for event in EventFileLoader(str(path)).Load():
                for value in event.summary.value:
                    if value.tag == "energysweep":
                        one.labels = _cells(make_ndarray(value.tensor).item().decode())
                    elif value.tag == "_hparams_/session_start_info":
                        start = metadata.parse_session_start_info_plugin_data(value.metadata.plugin_data.content)
                        one.parameters = {
                            name: getattr(each, each.WhichOneof("kind")) for name, each in start.hparams.items()
                        }
                    elif value.tag == "_hparams_/session_end_info":
                        end = metadata.parse_session_end_info_plugin_data(value.metadata.plugin_data.content)
                        one.status = str(end.status)
                    elif value.tag.startswith(FINAL):
                        one.final[value.tag.removeprefix(FINAL)] = float(make_ndarray(value.tensor).item())
                    else:
                        one.note(event.step, value.tag, float(make_ndarray(value.tensor).item()))
        texts = {name.removeprefix(FINAL): text for name, text in one.labels.items() if name.startswith(FINAL)}
        one.final = {name: None if text == "n/a" else text for name, text in texts.items()} | one.final
        one.group = one.labels["run"]
        there.setdefault(one.labels.get("trial", ""), []).append(one)
    return there


def _cells(table: str) -> dict[str, str]:
    """The rows of a table in Markdown, of two columns."""
    plain = [line.replace("\\|", "\0") for line in table.splitlines()[2:]]
    pairs = [line.removeprefix("| ").removesuffix(" |").partition(" | ") for line in plain]
    return {_unescaped(name): _unescaped(text) for name, _, text in pairs}


def _unescaped(text: str) -> str:
    return "".join(part[:1] + part[1:] for part in text.replace("\0", "|").replace("\\\\", "\0").split("\\")).replace(
        "\0", "\\"
    )
