"""All dashboards as files, and published to a Grafana server by its HTTP API (with the package grafana-api).

Whatever the server, or what stands in front of it, answers instead of what was asked for becomes one ``SweepError``
or ``InputError`` with what to do about it.

Source: Grafana's HTTP API reference (folders, dashboards by uid, dashboard versions, data sources, health).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from packaging.version import InvalidVersion, Version

from energysweep import __version__
from energysweep.core.errors import InputError, SweepError, one_line
from energysweep.core.inputs import is_token, redirected, web_address
from energysweep.monitoring.account import account_dashboard
from energysweep.monitoring.configurations import configurations_dashboard
from energysweep.monitoring.dashboard import TAG, VERSION_TAG_PREFIX
from energysweep.monitoring.nodes import nodes_dashboard
from energysweep.monitoring.panels import Json
from energysweep.monitoring.sweep import sweep_dashboard

OLDEST_VERSION = (11, 1)  # XY charts have their format since then
_ANSWER_SECONDS = 15.0


class GrafanaRefused(SweepError):
    """The server answered with an HTTP status that says no.

    Args:
        status: the HTTP status.
        said: the server's own message.
        asked: what was asked for, such as ``POST /api/folders``.
    """

    def __init__(self, status: int, said: str, asked: str) -> None:
        self.status = status
        super().__init__(f"Grafana answered {status} to {asked}: {said}" if said else f"Grafana: {status} to {asked}")


class Grafana:
    """One server and one token.

    Args:
        url: its address, with its path if it is served below one.
        token: of a service account with the role Editor, for data sources Admin.
        timeout_seconds: for each request.

    Raises:
        InputError: that is no web address, or the package grafana-api is not installed.
    """

    def __init__(self, url: str, token: str, timeout_seconds: float = _ANSWER_SECONDS) -> None:
        try:
            from grafana_api.grafana_face import GrafanaFace  # noqa: PLC0415 - an optional dependency
        except ImportError as error:
            raise InputError(
                "publishing needs the package grafana-api: pip install 'energysweep[grafana]'", key="dashboards publish"
            ) from error
        parts = web_address(url, "--url")
        if not is_token(token):
            raise InputError("give the token of a service account: --token, or GRAFANA_TOKEN", key="--token")
        self.url = url.rstrip("/")
        prefix = parts.path.strip("/")
        self._face = GrafanaFace(
            token,
            host=parts.netloc,
            protocol=parts.scheme,
            url_path_prefix=f"{prefix}/" if prefix else "",
            timeout=timeout_seconds,
        )
        self._api = self._face.api
        self._api.s.hooks["response"].append(self._refuse)

    def version(self) -> str:
        """Of the server.

        Raises:
            InputError: it is older than 11.1, or no Grafana.
            SweepError: it does not answer.
        """
        with self._errors_translated():
            said = self._api.GET("/health")
        version = one_line(said.get("version", "")) if isinstance(said, Mapping) else ""
        if not version and isinstance(said, Mapping) and "database" in said:
            return "unknown"  # anonymous callers may be refused the version
        numbers = re.match(r"([0-9]{1,4})(?:\.([0-9]{1,4}))?", version)
        if not numbers:
            raise InputError(f"{self.url} is no Grafana server", key="--url")
        if (int(numbers[1]), int(numbers[2] or 0)) < OLDEST_VERSION:
            needed = ".".join(map(str, OLDEST_VERSION))
            raise InputError(
                f"{self.url} is Grafana {version}; the dashboards need {needed} or newer, for their XY chart",
                key="--url",
            )
        return version

    def folder(self, uid: str) -> Mapping[str, Any] | None:
        """A folder, None if there is none of this uid."""
        found: Mapping[str, Any] | None = self._if_there(lambda: self._face.folder.get_folder(uid))
        return found

    def create_folder(self, uid: str, title: str) -> None:
        """Make a folder. Raises GrafanaRefused with status 409 or 412 if it exists."""
        with self._errors_translated():
            self._face.folder.create_folder(title, uid)

    def dashboard(self, uid: str) -> Mapping[str, Any] | None:
        """A dashboard (``dashboard`` and ``meta``), None if there is none of this uid."""
        found: Mapping[str, Any] | None = self._if_there(lambda: self._face.dashboard.get_dashboard(uid))
        return found

    def last_message(self, uid: str) -> str | None:
        """The message that a dashboard was last saved with, None if its history cannot be read."""
        said = self._if_there(lambda: self._api.GET(f"/dashboards/uid/{uid}/versions?limit=1"))
        versions = said.get("versions", []) if isinstance(said, Mapping) else said or []
        return str(versions[0].get("message") or "") if versions else None

    def save_dashboard(self, dashboard: Mapping[str, Any], folder_uid: str, message: str) -> None:
        """Save a dashboard, if nobody else has since its ``version``. Raises GrafanaRefused with status 412 if so."""
        with self._errors_translated():
            self._face.dashboard.update_dashboard(
                {"dashboard": dict(dashboard), "folderUid": folder_uid, "message": message, "overwrite": False}
            )

    def data_sources(self) -> list[Mapping[str, Any]]:
        """All data sources. Raises GrafanaRefused with status 403 if the token may not see them."""
        with self._errors_translated():
            found: list[Mapping[str, Any]] = self._face.datasource.list_datasources()
        return found

    def create_data_source(self, uid: str, name: str, url: str) -> None:
        """Make a data source for a Prometheus that Grafana itself reaches at ``url``."""
        with self._errors_translated():
            self._face.datasource.create_datasource(
                {"uid": uid, "name": name, "type": "prometheus", "url": url, "access": "proxy", "isDefault": False}
            )

    def _if_there(self, ask: Any) -> Any:
        try:
            with self._errors_translated():
                return ask()
        except GrafanaRefused as error:
            if error.status == 404:
                return None
            raise

    @contextlib.contextmanager
    def _errors_translated(self) -> Iterator[None]:
        import requests  # noqa: PLC0415 - comes with grafana-api

        try:
            yield
        except requests.Timeout as error:
            raise SweepError(f"Grafana at {self.url} did not answer in time") from error
        except requests.exceptions.JSONDecodeError as error:
            raise InputError(f"{self.url} is no Grafana server: it does not answer in JSON", key="--url") from error
        except requests.RequestException as error:
            raise SweepError(f"Grafana at {self.url} cannot be reached: {_cause(error)}") from error

    def _refuse(self, response: Any, *_: Any, **__: Any) -> None:
        """Raise what an HTTP status above 300 means, before requests follows it and grafana-api reads the body."""
        if response.status_code < 300:
            return
        if response.status_code < 400:
            response.close()  # nobody reads its body
            # A POST that follows a redirect arrives as a GET.
            raise redirected(self.url, response.headers.get("Location"), "--url")
        asked = f"{response.request.method} {urlsplit(response.request.url).path}"
        said = _message(response)
        if response.status_code == 401:
            raise InputError("Grafana does not know this token (401): it is wrong, or it has expired", key="--token")
        if response.status_code == 403:
            raise GrafanaRefused(403, f"{said} (the token's role has not the right to do this)".lstrip(), asked)
        raise GrafanaRefused(response.status_code, said, asked)


def _cause(error: Exception) -> str:
    """The system's word, out of requests' wrapping of urllib3's wrapping of it."""
    found = re.search(r"\[(?:Errno -?\d+|SSL: \w+)\] ([^'\"()]+)", str(error))
    return found.group(1).strip() if found else type(error).__name__


def _message(response: Any) -> str:
    try:
        said = response.json()
    except ValueError:
        return ""  # a proxy's page of HTML tells a person nothing
    return one_line(said.get("message", "")) if isinstance(said, Mapping) else ""


# Publishing: idempotent, and never at the expense of what somebody else made -----------------------------------------
#
# A dashboard of ours carries the tag ``energysweep``, and each of its saves by us a message that ends with the
# fingerprint of what was saved. So four questions have an answer without a memory of our own: is it ours (the tag), is
# it the same (the newest fingerprint is that of what we would save), has a person changed it since (the newest save
# has no message of ours), is it of a newer energysweep than this one (its tag ``energysweep-version:...``).

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


# All dashboards, and their files -------------------------------------------------------------------------------------


def dashboards() -> tuple[Json, ...]:
    """*Sweep*, *Configurations*, *Nodes* and *Account* in Grafana's classic JSON, for Grafana 11.1 to 13."""
    return (sweep_dashboard(), configurations_dashboard(), nodes_dashboard(), account_dashboard())


def text(dashboard: Json) -> str:
    """A dashboard as its file has it."""
    return json.dumps(dashboard, indent=2, ensure_ascii=False) + "\n"


def export(folder: Path) -> list[Path]:
    """Write each dashboard into a file of the folder, which is made if it is missing.

    Returns:
        The files, named by uid.

    Raises:
        InputError: the folder cannot be written.
    """
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for dashboard in dashboards():
            file = folder / f"{dashboard['uid']}.json"
            file.write_text(text(dashboard), encoding="utf-8")
            written.append(file)
    except OSError as error:
        raise InputError(f"dashboards cannot be written there: {error.strerror}", file=str(folder)) from error
    return written
