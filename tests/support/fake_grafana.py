"""A loopback stand-in for a Grafana server: the part of its HTTP API that publishing dashboards meets.

It follows Grafana's own rules: a folder's uid and title are unique (412 and 409), a dashboard is only saved over the
version that it was read at (412, ``version-mismatch``), each save makes a version with its message, viewers may not
write (403), an unknown token is 401, a missing thing 404.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

Answer = tuple[int, Any]
TOKEN, VIEWER, EDITOR = "admin-token", "viewer-token", "editor-token"


class FakeGrafana:
    """The server.

    Attributes:
        version: what /api/health says.
        folders: titles by uid.
        dashboards: by uid: ``dashboard``, ``folderUid``, ``provisioned``, and ``messages``, one for each version.
        data_sources: as the API lists them.
        writes: what changed something, in order: method and path.
        fault: answers instead of the API if it returns something: a status and a body, for the method and path given.
        before_save: called before a dashboard is saved: somebody else may be faster.
        prefix: the path that the server is served below.
    """

    def __init__(self) -> None:
        self.version = "12.1.0"
        self.folders: dict[str, str] = {}
        self.dashboards: dict[str, dict[str, Any]] = {}
        self.data_sources: list[dict[str, Any]] = []
        self.writes: list[str] = []
        self.fault: Callable[[str, str], Answer | None] = lambda _method, _path: None
        self.before_save: Callable[[], None] = lambda: None
        self.prefix = ""
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def _do(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
                status, content = fake.answer(self.command, urlsplit(self.path).path, token, body)
                raw = content.encode() if isinstance(content, str) else json.dumps(content).encode()
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", str(content))
                self.send_header("Content-Type", "text/html" if isinstance(content, str) else "application/json")
                self.send_header("Content-Length", str(len(raw)))
                with suppress(ConnectionError):  # a client that did not wait is gone
                    self.end_headers()
                    self.wfile.write(raw)

            do_GET = do_POST = do_PUT = do_DELETE = _do  # noqa: N815 - the library's names

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}{self.prefix}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, token: str, body: Any) -> Answer:
        fault = self.fault(method, path)
        if fault is not None:
            return fault
        if not path.startswith(f"{self.prefix}/api/"):
            return 404, "<html>not found</html>"
        parts = path.removeprefix(f"{self.prefix}/api/").split("/")
        if parts == ["health"]:
            return 200, {"database": "ok", "version": self.version}
        if token not in (TOKEN, EDITOR, VIEWER):
            return 401, {"message": "Invalid API key"}
        if method != "GET" and token == VIEWER:
            return 403, {"message": "You'll need additional permissions to perform this action."}
        resource = {"folders": self._folders, "dashboards": self._dashboards, "datasources": self._data_sources}
        known = resource.get(parts[0])
        return known(method, parts[1:], token, body) if known else (404, {"message": "Not found"})

    def _folders(self, method: str, parts: list[str], _token: str, body: Any) -> Answer:
        if method == "POST":
            return self._create_folder(body)
        (uid,) = parts
        known = uid in self.folders
        return (200, {"uid": uid, "title": self.folders[uid]}) if known else (404, {"message": "not found"})

    def _dashboards(self, method: str, parts: list[str], _token: str, body: Any) -> Answer:
        match method, parts:
            case "GET", ["uid", uid]:
                return self._dashboard(uid)
            case "GET", ["uid", uid, "versions"]:
                messages = self.dashboards[uid]["messages"]
                versions = [{"version": n, "message": text} for n, text in enumerate(messages, start=1)]
                return 200, {"versions": versions[::-1]}
            case "POST", ["db"]:
                return self._save(body)
        return 404, {"message": "Not found"}

    def _data_sources(self, method: str, _parts: list[str], token: str, body: Any) -> Answer:
        if token != TOKEN:
            return 403, {"message": "You'll need additional permissions to perform this action."}
        if method == "GET":
            return 200, self.data_sources
        self.writes.append("data source")
        self.data_sources.append(body)
        return 200, {"message": "Datasource added"}

    def save_as_a_person(self, uid: str, **changes: Any) -> None:
        """Somebody edits a dashboard in the browser."""
        kept = self.dashboards[uid]
        kept["dashboard"] |= changes
        kept["messages"].append("")
        kept["dashboard"]["version"] = len(kept["messages"])

    def _create_folder(self, body: Any) -> Answer:
        if body["uid"] in self.folders:
            return 412, {"message": "the folder has been changed by someone else", "status": "version-mismatch"}
        if body["title"] in self.folders.values():
            return 409, {"message": "a folder with the same name already exists"}
        self.writes.append("folder")
        self.folders[body["uid"]] = body["title"]
        return 200, {"uid": body["uid"], "title": body["title"]}

    def _dashboard(self, uid: str) -> Answer:
        kept = self.dashboards.get(uid)
        if kept is None:
            return 404, {"message": "Dashboard not found"}
        meta = {"folderUid": kept["folderUid"], "provisioned": kept["provisioned"], "version": len(kept["messages"])}
        return 200, {"dashboard": kept["dashboard"], "meta": meta}

    def _save(self, body: Any) -> Answer:
        self.before_save()
        new, uid = body["dashboard"], body["dashboard"]["uid"]
        kept = self.dashboards.get(uid)
        if body["folderUid"] not in self.folders:
            return 400, {"message": "folder not found"}
        if kept and kept["provisioned"]:
            return 400, {"message": "Cannot save provisioned dashboard"}
        if kept and not body["overwrite"] and new.get("version") != len(kept["messages"]):
            return 412, {"message": "The dashboard has been changed by someone else", "status": "version-mismatch"}
        self.writes.append(f"dashboard {uid}")
        messages = [*(kept["messages"] if kept else []), body.get("message", "")]
        self.dashboards[uid] = {
            "dashboard": {**new, "id": 7, "version": len(messages)},
            "folderUid": body["folderUid"],
            "provisioned": False,
            "messages": messages,
        }
        return 200, {"status": "success", "uid": uid, "version": len(messages)}


def slow(seconds: float) -> Callable[[str, str], Answer | None]:
    """A fault: the server takes its time."""

    def fault(_method: str, _path: str) -> Answer | None:
        time.sleep(seconds)
        return None

    return fault
