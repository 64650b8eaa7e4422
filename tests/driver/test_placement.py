"""What a profile reserves, and which clusters are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from energysweep.core.errors import InputError
from energysweep.driver import placement
from energysweep.sweepfile import Hardware, SweepSpec, load_spec
from energysweep.tune.points import KEY


def node(address: str = "a", labels: dict[str, str] | None = None, **resources: float) -> dict[str, Any]:
    return {"Alive": True, "NodeManagerAddress": address, "Resources": resources, "Labels": labels or {}}


@pytest.fixture
def spec(tmp_path: Path) -> SweepSpec:
    path = tmp_path / "sweep.yaml"
    path.write_text(
        "name: x\nworkload: some.module:train\nobjective: {metric: m, mode: max}\ncarbon: {grams_per_kwh: 1}\n"
        "hardware:\n"
        "  cpu: {resources: {cpu: 2}}\n"
        "  gpu: {resources: {cpu: 1, gpu: 0.5, scratch: 3}, labels: {ray.io/accelerator-type: H100}}\n"
    )
    return load_spec(path)


GPU_NODE: dict[str, Any] = {"CPU": 8, "GPU": 1, "scratch": 3}
H100 = {"ray.io/accelerator-type": "H100"}


def test_a_trial_reserves_what_its_profile_says(spec: SweepSpec) -> None:
    request = placement.request(spec.profiles)
    assert request({KEY: {"hardware": "cpu"}}).bundles == [{"CPU": 2}]
    gpu = request({KEY: {"hardware": "gpu"}})
    assert gpu.bundles == [{"CPU": 1, "GPU": 0.5, "scratch": 3}]
    assert gpu._kwargs["bundle_label_selector"] == [H100]
    assert placement.bundle(Hardware()) == {"CPU": 1}


def test_a_cluster_that_can_serve_every_profile_is_accepted(spec: SweepSpec) -> None:
    placement.check(spec, [node(CPU=2), node(labels=H100, **GPU_NODE)])


@pytest.mark.parametrize(
    ("nodes", "key", "fragment"),
    [
        ([node(CPU=1), node(labels=H100, **GPU_NODE | {"CPU": 1})], "hardware.cpu", "no node has CPU 2"),
        ([node(**GPU_NODE)], "hardware.gpu", "with labels"),
        ([node(labels=H100, CPU=8, GPU=1)], "hardware.gpu", "scratch 3 with labels"),
        ([node(labels=H100, **GPU_NODE) | {"Alive": False}], "hardware.cpu", "there is: none"),
        ([node("a", CPU=2), node("b", labels=H100, **GPU_NODE)], "storage", "has 2 hosts"),
    ],
)
def test_a_cluster_that_cannot_is_refused(
    spec: SweepSpec, nodes: list[dict[str, Any]], key: str, fragment: str
) -> None:
    with pytest.raises(InputError, match=fragment) as refused:
        placement.check(spec, nodes)
    assert refused.value.key == key


def test_what_an_autoscaler_could_add_counts(spec: SweepSpec) -> None:
    could_be_added = [{"Alive": True, "Resources": GPU_NODE, "Labels": None}]
    with pytest.raises(InputError, match="has an autoscaler"):
        placement.check(spec, [node(CPU=2)], could_be_added)
    shared = spec.model_copy(update={"storage": "/shared"})
    placement.check(shared, [node(CPU=2)], could_be_added)
    with pytest.raises(InputError, match=r"hardware\.gpu"):
        placement.check(shared, [node(CPU=2)])
