"""A Grafana server's HTTP API, by the package grafana-api: what publishing dashboards needs of it.

Whatever the server, or what stands in front of it, answers instead of what was asked for becomes one ``SweepError``
or ``InputError`` with what to do about it.

Source: Grafana's HTTP API reference (folders, dashboards by uid, dashboard versions, data sources, health).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from energysweep.errors import InputError, SweepError, one_line
from energysweep.links import is_token, redirected, web_address

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
