"""The pods that manifests make: as they stand there, and as KubeRay completes them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from tests.support.charts import Document


class Pod(NamedTuple):
    """A pod: what makes it, its labels and annotations, its spec."""

    name: str
    labels: dict[str, str]
    annotations: dict[str, str]
    spec: dict[str, Any]

    @property
    def containers(self) -> list[dict[str, Any]]:
        """Its containers, also those that run first."""
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]


def pods(documents: Sequence[Document]) -> list[Pod]:
    """All pods of the manifests."""
    return [pod for document in documents for pod in _pods(document)]


def _pods(document: Document) -> Iterator[Pod]:
    name = f"{document['kind']}/{document['metadata']['name']}"
    spec = document.get("spec", {})
    match document["kind"]:
        case "DaemonSet" | "Deployment" | "StatefulSet" | "Job":
            yield _pod(name, spec["template"])
        case "Pod":
            yield Pod(name, document["metadata"].get("labels", {}), document["metadata"].get("annotations", {}), spec)
        case "RayCluster":
            yield from _ray_pods(name, spec)
        case "RayJob":
            yield from _ray_pods(name, spec["rayClusterSpec"])
            if spec["submissionMode"] == "K8sJobMode":
                # Without a template KubeRay has one of its own, which has no security context.
                yield _pod(f"{name}/submitter", spec.get("submitterPodTemplate") or _bare_submitter(spec))


def _pod(name: str, template: dict[str, Any]) -> Pod:
    metadata = template.get("metadata", {})
    return Pod(name, metadata.get("labels", {}), metadata.get("annotations", {}), template["spec"])


def _ray_pods(name: str, cluster: dict[str, Any]) -> Iterator[Pod]:
    head = cluster["headGroupSpec"]
    yield _labelled(_pod(f"{name}/head", head["template"]), "head")
    for group in cluster["workerGroupSpecs"]:
        yield _labelled(_pod(f"{name}/{group['groupName']}", group["template"]), "worker")


def _labelled(pod: Pod, node_type: str) -> Pod:
    return pod._replace(labels={"ray.io/node-type": node_type, "ray.io/is-ray-node": "yes", **pod.labels})


def _bare_submitter(spec: dict[str, Any]) -> dict[str, Any]:
    ray = spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    return {"spec": {"containers": [{"name": "ray-job-submitter", "image": ray["image"]}], "restartPolicy": "Never"}}


def completed(documents: Sequence[Document]) -> list[Pod]:
    """All pods, with what KubeRay adds to Ray's: /dev/shm, the head's autoscaler, a container that waits for the head.

    Source: ray-operator/controllers/ray/common/pod.go of KubeRay 1.6.
    """
    found = []
    for document in documents:
        cluster = document.get("spec", {})
        cluster = cluster.get("rayClusterSpec", cluster)
        for pod in _pods(document):
            if "ray.io/node-type" in pod.labels:
                found.append(pod._replace(spec=_with_additions(pod, cluster)))
            else:
                found.append(pod)
    return found


def _with_additions(pod: Pod, cluster: dict[str, Any]) -> dict[str, Any]:
    spec = copy.deepcopy(pod.spec)
    ray = spec["containers"][0]
    spec.setdefault("volumes", []).append({"name": "shared-mem", "emptyDir": {"medium": "Memory"}})
    if pod.labels["ray.io/node-type"] == "worker":
        wait = {"name": "wait-gcs-ready", "image": ray["image"]}
        if "securityContext" in ray:
            wait["securityContext"] = ray["securityContext"]
        spec["initContainers"] = [wait]
    elif cluster.get("enableInTreeAutoscaling"):
        options = cluster.get("autoscalerOptions", {})
        kept = {key: options[key] for key in ("securityContext", "volumeMounts", "resources") if key in options}
        spec["containers"].append({"name": "autoscaler", "image": ray["image"], **kept})
    return spec
