"""Publish the dashboards to a Grafana server: idempotent, and never at the expense of what somebody else made.

A dashboard of ours carries the tag ``energysweep``, and each of its saves by us a message that ends with the
fingerprint of what was saved. So four questions have an answer without a memory of our own: is it ours (the tag), is
it the same (the newest fingerprint is that of what we would save), has a person changed it since (the newest save has
no message of ours), is it of a newer energysweep than this one (its tag ``energysweep-version:...``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from packaging.version import InvalidVersion, Version

from energysweep import __version__
from energysweep.errors import SweepError, one_line
from energysweep.monitoring.dashboard import TAG, VERSION_TAG_PREFIX
from energysweep.monitoring.grafana import Grafana, GrafanaRefused

DATA_SOURCE_UID = "energysweep-prometheus"
_MESSAGE = "energysweep dashboards publish"

Done = Literal["created", "updated", "unchanged", "kept", "not published"]


@dataclass(frozen=True)
class Published:
    """What became of a folder, a data source or a dashboard.

    Attributes:
        what: its name for a person.
        done: ``kept``: left as somebody else made it; ``not published``: the server should have it, and has not.
        why: more about it; empty if there is nothing to say.
    """

    what: str
    done: Done
    why: str = ""


def publish(
    grafana: Grafana,
    dashboards: Sequence[Mapping[str, Any]],
    *,
    folder_uid: str = "energysweep",
    folder_title: str = "energysweep",
    prometheus_url: str | None = None,
    replace: bool = False,
) -> Iterator[Published]:
    """Make the folder, the data source if there is none, and the dashboards; yields what was done, as it is done.

    Args:
        grafana: the server.
        dashboards: their JSON models; each has a ``uid`` and the tag ``energysweep``.
        folder_uid, folder_title: the folder they stand in.
        prometheus_url: where Grafana reaches Prometheus, for a data source if the server has none of that kind.
        replace: also overwrite dashboards of ours that a person has changed, or a newer energysweep has made (Grafana's
            history keeps them).

    Raises:
        InputError: the address, the token or the server's version is wrong.
        SweepError: the server cannot be reached, refuses or fails; what was yielded before is done.
    """
    grafana.version()
    yield _publish_folder(grafana, folder_uid, folder_title)
    yield _publish_data_source(grafana, prometheus_url)
    for dashboard in dashboards:
        yield _publish_dashboard(grafana, dashboard, folder_uid, replace=replace)


def fingerprint(dashboard: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits that stand for a dashboard's content."""
    content = {key: value for key, value in dashboard.items() if key not in ("id", "version")}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def _publish_folder(grafana: Grafana, uid: str, title: str) -> Published:
    what = f"folder {title}"
    if grafana.folder(uid) is not None:
        return Published(what, "unchanged")
    try:
        grafana.create_folder(uid, title)
    except GrafanaRefused as error:
        if error.status not in (409, 412):
            raise
        if grafana.folder(uid) is None:
            raise SweepError(
                f"Grafana has another folder called {title!r}; name the one to use by its uid: --folder UID"
            ) from error
        return Published(what, "unchanged")  # somebody was faster
    return Published(what, "created")


def _publish_data_source(grafana: Grafana, prometheus_url: str | None) -> Published:
    what = "data source Prometheus"
    try:
        found = [each for each in grafana.data_sources() if each.get("type") == "prometheus"]
        if found:
            return Published(what, "unchanged", f"the server has {one_line(found[0].get('name', 'one'))}")
        if prometheus_url is None:
            return Published(what, "kept", "the server has none; make one, or say where it is: --prometheus URL")
        grafana.create_data_source(DATA_SOURCE_UID, "energysweep Prometheus", prometheus_url)
    except GrafanaRefused as error:
        if error.status == 403:
            done: Done = "kept" if prometheus_url is None else "not published"
            return Published(what, done, "the token may not see or make data sources; an administrator has to")
        if error.status == 409:
            return Published(what, "unchanged", "somebody was faster")
        raise
    return Published(what, "created", prometheus_url)


def _publish_dashboard(grafana: Grafana, dashboard: Mapping[str, Any], folder_uid: str, *, replace: bool) -> Published:
    uid = str(dashboard["uid"])
    what = f"dashboard {dashboard['title']}"
    mark = f"[{fingerprint(dashboard)}]"
    there = grafana.dashboard(uid)
    if there is None:
        problem = _save(grafana, {**dashboard, "id": None, "version": 0}, folder_uid, mark)
        return Published(what, "created") if problem is None else Published(what, "not published", problem)
    model, meta = there["dashboard"], there.get("meta", {})
    if TAG not in model.get("tags", ()):
        return Published(what, "not published", f"another dashboard has the uid {uid}: it lacks the tag {TAG}")
    if meta.get("provisioned"):
        why = "it is provisioned from a file; put the new one there: dashboards export"
        return Published(what, "not published", why)
    said = grafana.last_message(uid)
    if said is not None and said.endswith(mark):
        return Published(what, "unchanged")
    kept = _why_kept(model, dashboard, said)
    if kept is not None and not replace:
        return Published(what, "kept", kept)
    target = {**dashboard, "id": model.get("id"), "version": model.get("version")}
    # Where a person has moved it, it stays.
    problem = _save(grafana, target, str(meta.get("folderUid", folder_uid)), mark)
    return Published(what, "updated") if problem is None else Published(what, "not published", problem)


def _why_kept(there: Mapping[str, Any], ours: Mapping[str, Any], said: str | None) -> str | None:
    """Why ours should not replace the one that is there, last saved with that message; None if it may."""
    found, own = _version(there), _version(ours)
    if found is not None and own is not None and found > own:
        return f"it is of energysweep {found}, newer than this one; --replace puts the older one there"
    if said is None or not said.startswith(_MESSAGE):
        return "somebody has changed it; --replace overwrites it, Grafana keeps its history"
    return None


def _version(dashboard: Mapping[str, Any]) -> Version | None:
    for tag in dashboard.get("tags", ()):
        if str(tag).startswith(VERSION_TAG_PREFIX):
            try:
                return Version(str(tag).removeprefix(VERSION_TAG_PREFIX))
            except InvalidVersion:  # a person has written it
                return None
    return None


def _save(grafana: Grafana, dashboard: Mapping[str, Any], folder_uid: str, mark: str) -> str | None:
    """Save it; why not, if somebody else was there first."""
    try:
        grafana.save_dashboard(dashboard, folder_uid, f"{_MESSAGE} {__version__} {mark}")
    except GrafanaRefused as error:
        if error.status == 412:
            return f"it was saved by somebody at the same moment, or one of its name is there; publish again ({error})"
        raise
    return None
