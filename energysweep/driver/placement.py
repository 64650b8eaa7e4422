"""What a trial reserves on which node, and whether any node can ever give it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
from ray.tune.execution.placement_groups import PlacementGroupFactory

from energysweep.core.errors import InputError
from energysweep.sweepfile import Hardware, SweepSpec
from energysweep.tune.points import KEY


def request(profiles: Mapping[str, Hardware]) -> Callable[[dict[str, Any]], PlacementGroupFactory]:
    """The function that Tune asks what a trial of a given config reserves."""
    factories = {name: _factory(hardware) for name, hardware in profiles.items()}
    return lambda config: factories[config[KEY]["hardware"]]


def _factory(hardware: Hardware) -> PlacementGroupFactory:
    labels = [dict(hardware.labels)] if hardware.labels else None
    return PlacementGroupFactory([bundle(hardware)], bundle_label_selector=labels)


def bundle(hardware: Hardware) -> dict[str, float]:
    """A profile's resources in Ray's names."""
    gpu = {"GPU": hardware.gpu} if hardware.gpu else {}
    return {"CPU": hardware.cpu, **gpu, **hardware.custom}


def autoscaler_nodes() -> list[dict[str, Any]]:
    """The nodes that the cluster's autoscaler could add, in the form of ``ray.nodes()``; none without an autoscaler.

    Their labels are not known before they are there: None.
    """
    config = ray._private.state.state.get_cluster_config()  # noqa: SLF001 - ray.data asks in the same way
    groups = () if config is None else config.node_group_configs
    return [{"Alive": True, "Resources": dict(group.resources), "Labels": None} for group in groups if group.max_count]


def lost_addresses() -> set[str]:
    """Addresses of nodes that the cluster has had and lost, where no other node of it is."""
    nodes = ray.nodes()
    alive = {node["NodeManagerAddress"] for node in nodes if node["Alive"]}
    return {node["NodeManagerAddress"] for node in nodes} - alive


def check(
    spec: SweepSpec, nodes: Sequence[Mapping[str, Any]], could_be_added: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Tune waits for ever for what no node has, and several hosts need a storage that all can reach: refuse it now.

    Args:
        spec: the sweep.
        nodes: as ``ray.nodes()`` gives them.
        could_be_added: as ``autoscaler_nodes()`` gives them.

    Raises:
        InputError: a profile that no node can serve, or no shared storage.
    """
    alive = [node for node in nodes if node["Alive"]]
    addresses = {node["NodeManagerAddress"] for node in alive}  # several raylets on one host share theirs
    if (len(addresses) > 1 or could_be_added) and spec.storage is None:
        hosts = "an autoscaler" if could_be_added else f"{len(addresses)} hosts"
        raise InputError(
            f"the cluster has {hosts}: give a storage path that all of them can reach (a shared folder,"
            " or a URI such as s3://bucket/path), for the trials' checkpoints",
            key="storage",
        )
    for name, hardware in spec.profiles.items():
        if not any(_serves(node, hardware) for node in (*alive, *could_be_added)):
            needs = ", ".join(f"{resource} {amount:g}" for resource, amount in bundle(hardware).items())
            labels = f" with labels {dict(hardware.labels)}" if hardware.labels else ""
            raise InputError(
                f"no node has {needs}{labels}; there is: {'; '.join(map(_offer, (*alive, *could_be_added))) or 'none'}",
                key=f"hardware.{name}" if name else "hardware",
            )


def _serves(node: Mapping[str, Any], hardware: Hardware) -> bool:
    resources, labels = node["Resources"], node.get("Labels", {})
    return all(resources.get(name, 0) >= amount for name, amount in bundle(hardware).items()) and (
        labels is None or all(labels.get(name) == value for name, value in hardware.labels.items())
    )


def _offer(node: Mapping[str, Any]) -> str:
    shown = {
        name: amount
        for name, amount in node["Resources"].items()
        if not name.startswith(("node:", "memory", "object_store_memory"))
    }
    return ", ".join(f"{name} {amount:g}" for name, amount in sorted(shown.items()))
