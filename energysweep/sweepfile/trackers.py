"""The trackers that a sweep may name: one table, and what the file may say of each.

A tracker is its own module in ``trackers/``, which brings a run's records there, and one row and one model here.
docs/trackers.md names every row; tests/trackers/test_settings.py fails where it does not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field

from energysweep.core.inputs import checked_path, is_host, word
from energysweep.sweepfile.distributions import Model
from energysweep.sweepfile.yaml import KeyPath, Problem

_Text = Annotated[str, Field(min_length=1)]
_SQLITE: Final = "sqlite:///"
ADDRESS_VARIABLE: Final = "MLFLOW_TRACKING_URI"
_ADDRESSES: Final = f"http://HOST:PORT, https://HOST, {_SQLITE}FILE or databricks"


class Mlflow(Model):
    """MLflow: a run for the sweep, and one inside of it for each trial."""

    tracking_uri: _Text | None = None
    """Where its server is: http://HOST:PORT, https://HOST, sqlite:///FILE or databricks; else MLFLOW_TRACKING_URI."""
    experiment: _Text | None = None
    """Its experiment; by default the sweep's name."""


class Wandb(Model):
    """Weights & Biases: a run for each trial, and one for the sweep, in one group."""

    project: _Text | None = None
    """Its project; by default the sweep's name."""
    entity: _Text | None = None
    """The user or team; by default the account's own."""
    mode: Literal["online", "offline"] = "online"
    """offline writes files into the run folder, for `wandb sync`; it needs no account."""


class Tensorboard(Model):
    """TensorBoard: event files in the run folder, in a folder for each trial."""


def _nothing_said(value: Any) -> Any:
    return {} if value is None else value  # `tensorboard:` with nothing behind it


class Trackers(Model):
    """Where else the run is told, as it goes: all that they get is from the ledger."""

    mlflow: Annotated[Mlflow | None, BeforeValidator(_nothing_said)] = None
    """MLflow: its server, and the experiment."""
    wandb: Annotated[Wandb | None, BeforeValidator(_nothing_said)] = None
    """Weights & Biases: project, entity and mode."""
    tensorboard: Annotated[Tensorboard | None, BeforeValidator(_nothing_said)] = None
    """TensorBoard: {}."""

    @property
    def named(self) -> dict[str, Model]:
        """Those that are wanted, by name, each with what the file says of it."""
        given = {name: getattr(self, name) for name in TRACKERS}
        return {name: model for name, model in given.items() if model is not None}


@dataclass(frozen=True, slots=True)
class TrackerKind:
    """One row; its name is that of the key, of the module that is imported, and of the extra that brings it.

    Attributes:
        title: as people write it.
        model: what a sweep file may say of it.
        made_by: ``module:class`` of the ``Tracker``.
        secrets: the environment variables that hold what no file may.
    """

    name: str
    title: str
    model: type[Model]
    made_by: str
    secrets: tuple[str, ...] = ()


TRACKERS: Final[Mapping[str, TrackerKind]] = {
    row.name: row
    for row in (
        TrackerKind(
            "mlflow",
            "MLflow",
            Mlflow,
            "energysweep.trackers.mlflow:MlflowTracker",
            ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"),
        ),
        TrackerKind("wandb", "W&B", Wandb, "energysweep.trackers.wandb:WandbTracker", ("WANDB_API_KEY",)),
        TrackerKind("tensorboard", "TensorBoard", Tensorboard, "energysweep.trackers.tensorboard:TensorboardTracker"),
    )
}

# What a key is called that is to hold a secret.
_SECRET_KEY: Final = re.compile(r"key|token|secret|passw|pwd|user|login|auth|credential", re.IGNORECASE)


def secret_key(path: KeyPath) -> str | None:
    """Why a key that is none of a tracker's has no place in a file, if it is to hold a secret."""
    if path[:1] != ("trackers",) or not _SECRET_KEY.search(str(path[-1])):
        return None
    kind = TRACKERS.get(str(path[1])) if len(path) > 2 else None
    names = kind.secrets if kind is not None else tuple(name for row in TRACKERS.values() for name in row.secrets)
    text = "a sweep's file is copied into the run folder, so it holds no secrets"
    return f"{text}: set {' or '.join(names)} in the environment" if names else text


def without_secrets(text: str) -> str:
    """A text that may hold an address, or a ``--set`` option, without what only its owner should know."""
    text = re.sub(r"(?<=//)[^/@\s]*@", "***@", text)
    key, equals, value = text.partition("=")
    names = key.rpartition(".")[2] + (value if value.lstrip().startswith("{") else "")
    return f"{key}=***" if equals and key.strip().startswith("trackers") and _SECRET_KEY.search(names) else text


def check_named(trackers: Trackers) -> Iterator[Problem]:
    """Everything that is wrong with them, whatever is installed here."""
    if not trackers.named:
        yield Problem(("trackers",), f"names none: give one or more of {', '.join(TRACKERS)}")
    for name, model in trackers.named.items():
        for key, value in model.model_dump(exclude_none=True).items():
            path = ("trackers", name, key)
            if key == "tracking_uri":
                yield from (Problem(path, text) for text in _wrong_address(value))
                continue
            try:
                word(value)
            except ValueError as error:
                yield Problem(path, str(error))


def _wrong_address(uri: str) -> Iterator[str]:
    """What is wrong with where an MLflow is; the text itself is not told, it may hold a password."""
    user, password = TRACKERS["mlflow"].secrets[1:]
    secret = f"leave user, password and token out of the address: set {user} and {password}, or MLFLOW_TRACKING_TOKEN"
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        yield f"is no address of an MLflow: {_ADDRESSES}"
        return
    if "@" in parts.netloc or (parts.scheme != "sqlite" and (parts.query or parts.fragment)):
        yield secret
    elif uri.startswith(_SQLITE):
        name = uri.removeprefix(_SQLITE)
        if not name or "?" in name or not name.isprintable():
            yield f"names no file: {_SQLITE}FILE"
    elif uri == "databricks" or (parts.scheme == "databricks" and is_host(parts.netloc)):
        return
    elif parts.scheme not in ("http", "https") or not host or not is_host(host) or port == 0:
        yield f"is no address of an MLflow: {_ADDRESSES}; folders it no longer takes"


def with_absolute_file(trackers: Trackers, folder: Path) -> Trackers:
    """The same with the path of an SQLite file spelled out.

    Raises:
        ValueError: no file can have it; the text says why.
    """
    uri = trackers.mlflow.tracking_uri if trackers.mlflow is not None else None
    if trackers.mlflow is None or uri is None or not uri.startswith(_SQLITE) or uri == _SQLITE:
        return trackers
    path = (folder / checked_path(uri.removeprefix(_SQLITE))).resolve()
    return trackers.model_copy(
        update={"mlflow": trackers.mlflow.model_copy(update={"tracking_uri": f"{_SQLITE}{path}"})}
    )


def is_a_file_here(trackers: Trackers) -> bool:
    """Whether one of them is a file of this machine, which no other one has."""
    return trackers.mlflow is not None and (trackers.mlflow.tracking_uri or "").startswith(_SQLITE)


def why_not(name: str, settings: Model) -> str | None:
    """Why a tracker cannot be used with these settings here; None if it can."""
    kind = TRACKERS[name]
    if find_spec(name) is None:
        return f"{kind.title} is not installed: pip install 'energysweep[{name}]'"
    if not isinstance(settings, Mlflow):
        return None
    if settings.tracking_uri is None and not os.environ.get(ADDRESS_VARIABLE):
        return f"nobody says where it is: give tracking_uri ({_ADDRESSES}), or set {ADDRESS_VARIABLE}"
    if (settings.tracking_uri or "").startswith(_SQLITE) and find_spec("sqlalchemy") is None:
        return f"{_SQLITE} needs all of MLflow: pip install mlflow"
    return None
