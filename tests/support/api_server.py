"""A stand-in for Kubernetes' API server, for Helm: it keeps objects, and knows who owns which of their fields.

No API server can be had from a package registry. This one speaks discovery, reads, writes, merge patches and
server-side apply. For it no kind has a schema: maps are merged key by key, and a list is one field, as KubeRay's
``workerGroupSpecs`` is. Nothing runs here: no pod starts.

Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/ and KubeRay's CRD for the defaults.
"""

from __future__ import annotations

import base64
import copy
import json
import threading
import urllib.parse
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import yaml

Object = dict[str, Any]
Field = tuple[str, ...]
Key = tuple[str, str, str]  # plural, namespace, name


class Kind(NamedTuple):
    """A kind that the server knows."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """As manifests say it."""
        return f"{self.group}/{self.version}" if self.group else self.version


KINDS = (
    Kind("", "v1", "namespaces", "Namespace", namespaced=False),
    Kind("", "v1", "nodes", "Node", namespaced=False),
    Kind("", "v1", "pods", "Pod"),
    Kind("", "v1", "secrets", "Secret"),
    Kind("", "v1", "configmaps", "ConfigMap"),
    Kind("", "v1", "services", "Service"),
    Kind("", "v1", "serviceaccounts", "ServiceAccount"),
    Kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim"),
    Kind("apps", "v1", "daemonsets", "DaemonSet"),
    Kind("apps", "v1", "deployments", "Deployment"),
    Kind("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy"),
    Kind("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass", namespaced=False),
    Kind("ray.io", "v1", "rayclusters", "RayCluster"),
    Kind("ray.io", "v1", "rayjobs", "RayJob"),
)
GROUP_DEFAULTS = {"replicas": 0, "minReplicas": 0, "numOfHosts": 1, "priority": 0}  # of KubeRay's CRD
_NOT_OWNED = {
    ("apiVersion",),
    ("kind",),
    *(
        ("metadata", name)
        for name in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp", "generation")
    ),
}


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason


@dataclass
class Cluster:
    """The objects, and the owners of their fields: by object, by (manager, operation)."""

    objects: dict[Key, Object] = field(default_factory=dict)
    owners: dict[Key, dict[tuple[str, str], set[Field]]] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    writes: int = 0

    def get(self, plural: str, name: str, namespace: str = "") -> Object:
        """An object, with its managed fields."""
        key = (plural, namespace, name)
        with self.lock:
            if key not in self.objects:
                raise Refused(404, "NotFound", f'{plural} "{name}" not found')
            found = copy.deepcopy(self.objects[key])
            found["metadata"]["managedFields"] = [
                {
                    "manager": manager,
                    "operation": operation,
                    "apiVersion": found["apiVersion"],
                    "time": found["metadata"]["creationTimestamp"],
                    "fieldsType": "FieldsV1",
                    "fieldsV1": _as_tree(fields),
                }
                for (manager, operation), fields in self.owners[key].items()
                if fields
            ]
            return found

    def list(self, plural: str, namespace: str, labels: Mapping[str, str]) -> list[Object]:
        """All objects of a kind that carry these labels; an empty namespace is all namespaces."""
        with self.lock:
            return [
                self.get(plural, name, where)
                for (kind, where, name), found in sorted(self.objects.items())
                if kind == plural
                and namespace in ("", where)
                and labels.items() <= found["metadata"].get("labels", {}).items()
            ]

    def update(self, kind: Kind, namespace: str, name: str, change: Callable[[Object], Object], manager: str) -> Object:
        """Write what ``change`` makes of the object; who writes owns what has changed, and nobody else does."""
        key = (kind.plural, namespace, name)
        with self.lock:
            before = copy.deepcopy(self.objects.get(key, {}))
            after = change(copy.deepcopy(before))
            old, new = _leaves(before), _leaves(after)
            changed = {path for path in old.keys() | new.keys() if old.get(path, ...) != new.get(path, ...)}
            owners = self.owners.setdefault(key, {})
            for fields in owners.values():
                fields.difference_update([own for own in fields if any(_touch(own, path) for path in changed)])
            owners.setdefault((manager, "Update"), set()).update(changed & new.keys())
            return self._keep(key, kind, after)

    def apply(self, kind: Kind, namespace: str, name: str, wanted: Object, manager: str, *, force: bool) -> Object:
        """Server-side apply.

        Raises:
            Refused: another manager owns a field that is to be changed.
        """
        key = (kind.plural, namespace, name)
        with self.lock:
            live = copy.deepcopy(self.objects.get(key, {}))
            owners = self.owners.setdefault(key, {})
            old, new = _leaves(live), _leaves(wanted)
            conflicts: dict[str, set[Field]] = {}
            for (other, operation), fields in owners.items():
                if (other, operation) == (manager, "Apply"):
                    continue
                for own in fields:
                    if any(_touch(own, path) and old.get(own, ...) != new.get(own, ...) for path in new):
                        conflicts.setdefault(other, set()).add(own)
            if conflicts and not force:
                self._forget_if_new(key)
                raise Refused(409, "Conflict", _told(conflicts, kind))
            for (other, operation), fields in owners.items():
                if (other, operation) != (manager, "Apply"):
                    fields.difference_update(conflicts.get(other, ()))
            mine = owners.get((manager, "Apply"), set())
            others = set().union(*(fields for who, fields in owners.items() if who != (manager, "Apply")))
            merged = _merge(live, wanted)
            for path in mine - new.keys() - others:
                _remove(merged, path)
            owners[manager, "Apply"] = set(new)
            return self._keep(key, kind, merged)

    def delete(self, plural: str, namespace: str, name: str) -> None:
        """Without finalizers."""
        with self.lock:
            self.get(plural, name, namespace)
            del self.objects[plural, namespace, name], self.owners[plural, namespace, name]

    def _forget_if_new(self, key: Key) -> None:
        if key not in self.objects:
            del self.owners[key]

    def _keep(self, key: Key, kind: Kind, found: Object) -> Object:
        self.writes += 1
        _, namespace, name = key
        before = self.objects.get(key, {}).get("metadata", {})
        found |= {"apiVersion": kind.api_version, "kind": kind.kind}
        metadata = found.setdefault("metadata", {})
        metadata.pop("managedFields", None)
        metadata |= {
            "name": name,
            "uid": before.get("uid", str(uuid.uuid4())),
            "creationTimestamp": before.get("creationTimestamp", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")),
            "resourceVersion": str(self.writes),
        }
        if kind.namespaced:
            metadata["namespace"] = namespace
        spec = found.get("spec", {})
        for group in spec.get("rayClusterSpec", spec).get("workerGroupSpecs", ()):
            for setting, value in GROUP_DEFAULTS.items():
                group.setdefault(setting, value)
        self.objects[key] = found
        return self.get(kind.plural, name, namespace)


def _leaves(found: Object, where: Field = ()) -> dict[Field, Any]:
    """The fields that somebody can own: what is no map, and maps without keys."""
    leaves: dict[Field, Any] = {}
    for key, value in found.items():
        path = (*where, key)
        if path in _NOT_OWNED:
            continue
        if isinstance(value, dict) and value:
            leaves |= _leaves(value, path)
        else:
            leaves[path] = value
    return leaves


def _touch(one: Field, other: Field) -> bool:
    """Whether one is the other, or contains it."""
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def _merge(live: Object, wanted: Object) -> Object:
    merged = dict(live)
    for key, value in wanted.items():
        is_map = isinstance(value, dict) and isinstance(live.get(key), dict)
        merged[key] = _merge(live[key], value) if is_map else copy.deepcopy(value)
    return merged


def _merge_patch(found: Object, patch: Object) -> Object:
    """RFC 7386."""
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, dict):
            before = found.get(key)
            found[key] = _merge_patch(before if isinstance(before, dict) else {}, value)
        else:
            found[key] = value
    return found


def _remove(found: Object, path: Field) -> None:
    for key in path[:-1]:
        found = found.get(key, {})
    found.pop(path[-1], None)


def _as_tree(fields: set[Field]) -> Object:
    tree: Object = {}
    for path in sorted(fields):
        place = tree
        for key in path:
            place = place.setdefault(f"f:{key}", {})
    return tree


def _told(conflicts: Mapping[str, set[Field]], kind: Kind) -> str:
    count = sum(len(fields) for fields in conflicts.values())
    causes = [
        f'conflict with "{manager}" using {kind.api_version}: .{".".join(path)}'
        for manager, fields in conflicts.items()
        for path in sorted(fields)
    ]
    return f"Apply failed with {count} conflict{'s' if count > 1 else ''}: {'; '.join(causes)}"


class _Handler(BaseHTTPRequestHandler):
    """Kubernetes' paths."""

    protocol_version = "HTTP/1.1"
    server: ApiServer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        try:
            code, answer = self._carry_out(url.path.strip("/").split("/"), query, body)
        except Refused as error:
            code = error.code
            answer = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code}
            answer |= {"reason": error.reason, "message": str(error)}
        content = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815 - the base class's names

    def _carry_out(self, path: list[str], query: Mapping[str, str], body: bytes) -> tuple[int, Object]:  # noqa: PLR0911
        if (found := _discovery(path)) is not None:
            return 200, found
        kind, namespace, name = _place(path)
        cluster = self.server.cluster
        manager = query.get("fieldManager") or self.headers.get("User-Agent", "unknown").split("/")[0]
        if self.command == "GET":
            return 200, self._read(kind, namespace, name, query)
        if self.command == "DELETE":
            cluster.delete(kind.plural, namespace, name)
            return 200, {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        content = self.headers.get("Content-Type", "")
        given: Any = _secret(body) if "protobuf" in content else yaml.safe_load(body)
        if self.command == "POST":
            name = given["metadata"]["name"]
            if (kind.plural, namespace, name) in cluster.objects:
                raise Refused(409, "AlreadyExists", f'{kind.plural} "{name}" already exists')
            return 201, cluster.update(kind, namespace, name, lambda _: given, manager)
        if self.command == "PATCH" and content.startswith("application/apply-patch"):
            force = query.get("force") == "true"
            return 200, cluster.apply(kind, namespace, name, given, manager, force=force)
        cluster.get(kind.plural, name, namespace)
        if self.command == "PUT":
            return 200, cluster.update(kind, namespace, name, lambda _: given, manager)
        if content.startswith("application/json-patch"):
            return 200, cluster.update(kind, namespace, name, lambda found: _json_patch(found, given), manager)
        return 200, cluster.update(kind, namespace, name, lambda found: _merge_patch(found, given), manager)

    def _read(self, kind: Kind, namespace: str, name: str, query: Mapping[str, str]) -> Object:
        if kind.plural in self.server.forbidden:
            raise Refused(403, "Forbidden", f'{kind.plural} "{name}" is forbidden: User "me" cannot read it')
        if name:
            return self.server.cluster.get(kind.plural, name, namespace)
        labels = dict(each.split("=", 1) for each in query.get("labelSelector", "").split(",") if "=" in each)
        items = self.server.cluster.list(kind.plural, namespace, labels)
        return {"apiVersion": kind.api_version, "kind": f"{kind.kind}List", "metadata": {}, "items": items}


def _secret(body: bytes) -> Object:
    """A Secret as Helm writes its releases: protobuf, in an envelope of Kubernetes' own.

    Source: generated.proto of k8s.io/api/core/v1 and k8s.io/apimachinery.
    """
    (raw,) = _messages(body.removeprefix(b"k8s\0"))[2]
    secret = _messages(raw)
    metadata = _messages(secret[1][0])
    return {
        "metadata": {
            "name": metadata[1][0].decode(),
            "labels": {key: value.decode() for key, value in _entries(metadata.get(11, []))},
        },
        "data": {key: base64.b64encode(value).decode() for key, value in _entries(secret.get(2, []))},
        "type": secret[3][0].decode(),
    }


def _entries(messages: list[bytes]) -> Iterator[tuple[str, bytes]]:
    for entry in map(_messages, messages):
        yield entry[1][0].decode(), entry[2][0]


def _messages(data: bytes) -> dict[int, list[bytes]]:
    """The fields of a protobuf message that have a length, by number."""
    found: dict[int, list[bytes]] = {}
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        tag = number()
        length = number()
        if tag & 7 == 2:  # the others that occur are numbers, read already
            found.setdefault(tag >> 3, []).append(data[at : at + length])
            at += length
    return found


def _json_patch(found: Object, operations: list[Object]) -> Object:
    """RFC 6902, as far as Ray's autoscaler uses it."""
    for operation in operations:
        assert operation["op"] == "replace", operation
        *path, last = operation["path"].strip("/").split("/")
        place: Any = found
        for key in path:
            place = place[int(key) if isinstance(place, list) else key]
        place[last] = operation["value"]
    return found


def _discovery(path: list[str]) -> Object | None:
    """What tells a client which kinds there are; None if it asks for something else."""
    groups = sorted({(kind.group, kind.version) for kind in KINDS if kind.group})
    match path:
        case ["version"]:
            return {"major": "1", "minor": "36", "gitVersion": "v1.36.0"}
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"]}
        case ["apis"]:
            listed = [
                {"name": group, "versions": [version], "preferredVersion": version}
                for group, each in groups
                for version in [{"groupVersion": f"{group}/{each}", "version": each}]
            ]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}
        case ["api", version]:
            return _resources("", version)
        case ["apis", group, version]:
            return _resources(group, version)
        case ["openapi", *_]:
            raise Refused(404, "NotFound", "no schemas")
    return None


def _resources(group: str, version: str) -> Object:
    verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/{version}" if group else version,
        "resources": [
            {"name": each.plural, "kind": each.kind, "namespaced": each.namespaced, "verbs": verbs, "singularName": ""}
            for each in KINDS
            if (each.group, each.version) == (group, version)
        ],
    }


def _place(path: list[str]) -> tuple[Kind, str, str]:
    """Kind, namespace and name that a path is of."""
    group, version, rest = ("", path[1], path[2:]) if path[0] == "api" else (path[1], path[2], path[3:])
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    for kind in KINDS:
        if (kind.group, kind.version, kind.plural) == (group, version, rest[0]):
            return kind, namespace, rest[1] if len(rest) > 1 else ""
    raise Refused(404, "NotFound", f"no {'/'.join(path)}")


class ApiServer(ThreadingHTTPServer):
    """Serves a cluster on loopback.

    Args:
        folder: where its kubeconfig goes.

    Attributes:
        cluster: what it serves.
        kubeconfig: for Helm.
        forbidden: plurals of the kinds that nobody may read.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.cluster = Cluster()
        self.forbidden: frozenset[str] = frozenset()
        self.kubeconfig = folder / "kubeconfig"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{self.server_port}"}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
            "users": [{"name": "me", "user": {}}],
        }
        self.kubeconfig.write_text(yaml.safe_dump(config))
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *raised: Any) -> None:
        """Ends it."""
        self.shutdown()
        super().__exit__(*raised)

    def create(self, kind: str, name: str, namespace: str = "", **metadata: Any) -> None:
        """An object that is there already."""
        found = next(each for each in KINDS if each.kind == kind)
        self.cluster.update(found, namespace, name, lambda _: {"metadata": metadata}, "kubectl")

    def patch(self, plural: str, name: str, namespace: str, operations: list[Object], manager: str) -> None:
        """What another program writes: a JSON patch."""
        self._change(plural, name, namespace, lambda found: _json_patch(found, operations), manager)

    def merge(self, plural: str, name: str, namespace: str, patch: Object, manager: str) -> None:
        """What another program writes: a merge patch."""
        self._change(plural, name, namespace, lambda found: _merge_patch(found, copy.deepcopy(patch)), manager)

    def _change(self, plural: str, name: str, namespace: str, change: Callable[[Object], Object], manager: str) -> None:
        kind = next(each for each in KINDS if each.plural == plural)
        self.cluster.update(kind, namespace, name, change, manager)
