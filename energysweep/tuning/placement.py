"""What a trial reserves on which node, and whether any node can ever give it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ray.tune.execution.placement_groups import PlacementGroupFactory

from energysweep.errors import InputError
from energysweep.spec import Hardware, SweepSpec
from energysweep.tuning.points import KEY


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


def check(spec: SweepSpec, nodes: Sequence[Mapping[str, Any]]) -> None:
    """Tune waits for ever for what no node has, and several hosts need a storage that all can reach: refuse it now.

    Args:
        spec: the sweep.
        nodes: as ``ray.nodes()`` gives them.

    Raises:
        InputError: a profile that no node can serve, or no shared storage.
    """
    alive = [node for node in nodes if node["Alive"]]
    addresses = {node["NodeManagerAddress"] for node in alive}  # several raylets on one host share theirs
    if len(addresses) > 1 and spec.storage is None:
        raise InputError(
            f"the cluster has {len(addresses)} hosts: give a storage path that all of them can reach (a shared folder,"
            " or a URI such as s3://bucket/path), for the trials' checkpoints",
            key="storage",
        )
    for name, hardware in spec.profiles.items():
        if not any(_serves(node, hardware) for node in alive):
            needs = ", ".join(f"{resource} {amount:g}" for resource, amount in bundle(hardware).items())
            labels = f" with labels {dict(hardware.labels)}" if hardware.labels else ""
            raise InputError(
                f"no node has {needs}{labels}; there is: {'; '.join(map(_offer, alive)) or 'no node'}",
                key=f"hardware.{name}" if name else "hardware",
            )


def _serves(node: Mapping[str, Any], hardware: Hardware) -> bool:
    resources, labels = node["Resources"], node.get("Labels", {})
    return all(resources.get(name, 0) >= amount for name, amount in bundle(hardware).items()) and all(
        labels.get(name) == value for name, value in hardware.labels.items()
    )


def _offer(node: Mapping[str, Any]) -> str:
    shown = {
        name: amount
        for name, amount in node["Resources"].items()
        if not name.startswith(("node:", "memory", "object_store_memory"))
    }
    return ", ".join(f"{name} {amount:g}" for name, amount in sorted(shown.items()))
