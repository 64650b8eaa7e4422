"""The chart of the agent: what it may, what it mounts, who reaches it."""

from __future__ import annotations

from typing import Any

import pytest

from energysweep.core.host import Host
from tests.support.charts import AGENT, TEAM, Document, of_kind, one, render, scenario, selects
from tests.support.models import PodMonitor
from tests.support.pods import completed, pods

CPU = "energysweep-agent-cpu"
GPU = "energysweep-agent-gpu"


def spec(name: str = CPU, *settings: str) -> dict[str, Any]:
    """The pod of a DaemonSet."""
    found: dict[str, Any] = one(render(AGENT, settings=settings), "DaemonSet", name)["spec"]["template"]["spec"]
    return found


def container(name: str = CPU, *settings: str) -> dict[str, Any]:
    """Its container."""
    (found,) = spec(name, *settings)["containers"]
    return dict(found)


def mounts(name: str = CPU, *settings: str) -> dict[str, tuple[str, bool]]:
    """Folders of the host that are mounted: where in the pod, and whether read-only."""
    paths = {v["name"]: v["hostPath"]["path"] for v in spec(name, *settings)["volumes"] if "hostPath" in v}
    mounted = container(name, *settings)["volumeMounts"]
    return {paths[m["name"]]: (m["mountPath"], m.get("readOnly", False)) for m in mounted if m["name"] in paths}


def terms(name: str) -> list[dict[str, Any]]:
    """On which nodes it runs."""
    affinity = spec(name)["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (term,) = affinity["nodeSelectorTerms"]
    return list(term["matchExpressions"])


def policy(*settings: str) -> dict[str, Any]:
    """The rules of its NetworkPolicy."""
    found: dict[str, Any] = one(render(AGENT, settings=settings), "NetworkPolicy")["spec"]
    return found


def lets_in(rules: dict[str, Any], labels: dict[str, str], port: str, namespace: dict[str, str] | None = None) -> bool:
    """Whether a pod may call a port."""
    return any(
        selects(peer["podSelector"], labels) and selects(peer["namespaceSelector"], namespace or {})
        for rule in rules["ingress"]
        if port in {p["port"] for p in rule["ports"]}
        for peer in rule["from"]
    )


def test_it_has_no_capability_no_way_to_more_and_a_root_file_system_that_it_cannot_write() -> None:
    for name in (CPU, GPU):
        assert container(name)["securityContext"] == {
            "privileged": False,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert spec(name)["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec(name)["hostPID"] is True
        assert "hostNetwork" not in spec(name)
        assert "hostIPC" not in spec(name)


def test_only_the_strict_proof_asks_for_capabilities() -> None:
    capabilities = container(CPU, "strictProof=true")["securityContext"]["capabilities"]
    assert capabilities == {"drop": ["ALL"], "add": ["SYS_PTRACE", "DAC_READ_SEARCH"]}


def test_the_counters_of_the_host_are_where_the_meter_looks_and_cannot_be_written() -> None:
    wanted = str(Host().mounted_powercap)
    assert mounts()["/sys/devices/virtual/powercap"] == (wanted, True)
    parent, read_only = mounts(CPU, "powercap.mount=parent")["/sys/devices/virtual"]
    assert f"{parent}/powercap" == wanted
    assert read_only
    assert list(mounts(CPU, "powercap.mount=none")) == ["/var/lib/energysweep"]


def test_state_is_the_only_folder_of_the_host_that_it_writes_and_holds_socket_and_floors() -> None:
    assert {host for host, (_, read_only) in mounts().items() if not read_only} == {"/var/lib/energysweep"}
    environment = {v["name"]: v.get("value") for v in container()["env"]}
    assert environment["ENERGYSWEEP_STATE"] == "/var/lib/energysweep"
    assert "--socket=/var/lib/energysweep/agent.sock" in container()["args"]  # its state file is beside it


def test_another_folder_of_the_host_is_mounted_where_the_agent_looks_and_shadows_no_program() -> None:
    settings = ("state.path=/opt/energysweep", "powercap.mount=none")
    assert mounts(CPU, *settings) == {"/opt/energysweep": ("/var/lib/energysweep", False)}
    assert container(CPU, *settings)["args"] == container(CPU)["args"]
    assert container(CPU, *settings)["env"] == container(CPU)["env"]


def test_the_arguments_are_those_of_the_program() -> None:
    from energysweep.cli import _parser

    (program, *command) = container()["command"]
    assert program == "energysweep"
    arguments = [argument.replace("$(POD_IP)", "10.0.0.7") for argument in container()["args"]]
    parsed = _parser().parse_args([*command, *arguments])
    assert (parsed.bind, parsed.port, parsed.lease_port, parsed.advertise) == ("0.0.0.0", 9770, 9771, "10.0.0.7")
    assert parsed.meter == ["auto"]
    fields = {v["name"]: v["valueFrom"]["fieldRef"]["fieldPath"] for v in container()["env"] if "valueFrom" in v}
    assert fields == {"POD_IP": "status.podIP", "ENERGYSWEEP_NODE": "spec.nodeName"}


def test_a_node_has_an_agent_of_one_kind() -> None:
    (on_gpu,), (on_cpu,) = terms(GPU), terms(CPU)
    assert on_gpu == {"key": "nvidia.com/gpu.present", "operator": "In", "values": ["true"]}
    assert on_cpu == {**on_gpu, "operator": "NotIn"}


def test_without_gpus_the_one_kind_runs_everywhere() -> None:
    documents = render(AGENT, scenario(AGENT, "cpu-only"))
    (daemon_set,) = of_kind(documents, "DaemonSet")
    assert daemon_set["metadata"]["name"] == CPU
    assert "affinity" not in daemon_set["spec"]["template"]["spec"]


@pytest.mark.parametrize("access", ["runtimeClass", "volumes", "cdi"])
def test_nvml_takes_no_gpu(access: str) -> None:
    found = container(GPU, f"gpu.access={access}")
    assert "nvidia.com/gpu" not in {**found["resources"]["limits"], **found["resources"]["requests"]}
    environment = {v["name"]: v.get("value") for v in found["env"]}
    assert environment["NVIDIA_DRIVER_CAPABILITIES"] == "utility"
    annotations = one(render(AGENT, settings=(f"gpu.access={access}",)), "DaemonSet", GPU)
    asked = {
        "runtimeClass": environment.get("NVIDIA_VISIBLE_DEVICES") == "all",
        "volumes": mounts(GPU, f"gpu.access={access}").get("/dev/null")
        == ("/var/run/nvidia-container-devices/all", True),
        "cdi": "cdi.k8s.io/energysweep" in annotations["spec"]["template"]["metadata"]["annotations"],
    }
    assert [way for way, is_used in asked.items() if is_used] == [access]
    assert (spec(GPU, f"gpu.access={access}").get("runtimeClassName") == "nvidia") == (access != "cdi")


def test_a_shared_gpu_is_asked_for_only_where_a_value_says_so() -> None:
    limits = container(GPU, "gpu.access=resource", r"gpu.resource=nvidia\.com/gpu\.shared")["resources"]["limits"]
    assert limits["nvidia.com/gpu.shared"] == 1
    assert "nvidia.com/gpu.shared" not in container(CPU, "gpu.access=resource")["resources"]["limits"]


def test_cpu_nodes_get_nothing_of_nvidia() -> None:
    assert "nvidia" not in str({**spec(CPU), "affinity": None}).lower()


def test_leases_go_to_the_agent_of_the_same_node() -> None:
    documents = render(AGENT)
    service = one(documents, "Service")
    assert service["metadata"]["name"] == "energysweep-agent"
    assert service["spec"]["internalTrafficPolicy"] == "Local"
    assert service["spec"]["ports"] == [{"name": "leases", "port": 9771, "targetPort": "leases", "protocol": "TCP"}]
    for pod in pods(documents):
        assert selects({"matchLabels": service["spec"]["selector"]}, pod.labels)


def test_the_service_is_the_one_that_a_teams_trials_call() -> None:
    for pod in completed(render(TEAM, settings=("agent.namespace=power",))):
        environment = {v["name"]: v.get("value") for v in pod.spec["containers"][0]["env"]}
        assert environment["ENERGYSWEEP_AGENT"] == "energysweep-agent.power.svc:9771"


def test_ports_have_the_names_by_which_they_are_called() -> None:
    ports = {p["name"]: p["containerPort"] for p in container()["ports"]}
    assert ports == {"metrics": 9770, "leases": 9771}
    probes = [container()[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")]
    assert probes == [{"path": "/healthz", "port": "metrics"}] * 3


def test_a_pod_monitor_finds_the_port_of_every_agent() -> None:
    documents = render(AGENT)
    monitor = PodMonitor.model_validate(one(documents, "PodMonitor"))
    (endpoint,) = monitor.spec.podMetricsEndpoints
    assert monitor.metadata.labels["release"] == "kube-prometheus-stack"
    for pod in pods(documents):
        assert selects(monitor.spec.selector.model_dump(exclude_unset=True), pod.labels)
        assert endpoint.port in {p["name"] for c in pod.containers for p in c["ports"]}
        assert monitor.spec.jobLabel in pod.labels


@pytest.mark.parametrize(
    ("discovery", "kinds", "found"),
    [
        ("podMonitor", True, {"PodMonitor"}),
        ("podMonitor", False, set()),
        ("sd", True, {"Service"}),
        ("none", True, set()),
    ],
)
def test_prometheus_finds_the_agents_in_one_way_at_most(discovery: str, kinds: bool, found: set[str]) -> None:
    known = ("monitoring.coreos.com/v1/PodMonitor",) if kinds else ()
    documents = render(AGENT, settings=(f"metrics.discovery={discovery}",), kinds=known)
    ways = [*of_kind(documents, "PodMonitor"), *_services_of_metrics(documents)]
    assert {way["kind"] for way in ways} == found
    for pod in pods(documents):
        assert not any("prometheus.io" in key for key in pod.annotations)


def _services_of_metrics(documents: tuple[Document, ...]) -> list[Document]:
    return [s for s in of_kind(documents, "Service") if "metrics" in {p["targetPort"] for p in s["spec"]["ports"]}]


def test_the_policy_covers_every_agent_and_lets_it_call_nobody() -> None:
    for pod in pods(render(AGENT)):
        assert selects(policy()["podSelector"], pod.labels)
    assert policy()["egress"] == []
    assert set(policy()["policyTypes"]) == {"Ingress", "Egress"}


def test_for_service_discovery_every_agent_knows_the_name_of_all_and_may_ask_dns() -> None:
    settings = ("metrics.discovery=sd",)
    service = one(render(AGENT, settings=settings), "Service", "energysweep-agent-metrics")
    assert service["spec"]["clusterIP"] == "None"  # its name is every agent's address
    for name in (CPU, GPU):
        environment = {v["name"]: v.get("value") for v in container(name, *settings)["env"]}
        assert environment["ENERGYSWEEP_PEERS"] == "energysweep-agent-metrics.team-a.svc:9770"
    assert {port["port"] for rule in policy(*settings)["egress"] for port in rule["ports"]} == {53}
    bundled = one(render(TEAM, scenario(TEAM, "bundled-monitoring")), "ConfigMap", "power-prometheus")
    assert "url: http://energysweep-agent-metrics.energysweep-system.svc:9770/sd\n" in bundled["data"]["prometheus.yml"]


def test_ray_opens_leases_heads_read_totals_prometheus_scrapes_and_nobody_else() -> None:
    ray = {pod.name.rpartition("/")[2]: pod.labels for pod in completed(render(TEAM, scenario(TEAM, "job")))}
    bundled = one(render(TEAM, scenario(TEAM, "bundled-monitoring")), "Deployment", "power-prometheus")
    who = {
        **ray,
        "prometheus": {"app.kubernetes.io/name": "prometheus"},
        "bundled prometheus": bundled["spec"]["template"]["metadata"]["labels"],
        "somebody": {"app": "shop"},
    }
    leases = {name for name, labels in who.items() if lets_in(policy(), labels, "leases")}
    metrics = {name for name, labels in who.items() if lets_in(policy(), labels, "metrics")}
    assert leases == {"head", "cpu", "gpu"}
    assert metrics == {"head", "prometheus", "bundled prometheus"}


def test_teams_can_be_held_to_labelled_namespaces() -> None:
    rules = one(render(AGENT, scenario(AGENT, "strict-proof")), "NetworkPolicy")["spec"]
    head = {"ray.io/node-type": "head"}
    assert not lets_in(rules, head, "leases", {})
    assert lets_in(rules, head, "leases", {"energysweep.io/team": "true"})


def test_selectors_never_change_with_a_value_or_kubernetes_would_refuse_the_upgrade() -> None:
    before = {d["metadata"]["name"]: d["spec"]["selector"] for d in of_kind(render(AGENT), "DaemonSet")}
    for values in AGENT.glob("ci/*-values.yaml"):
        for daemon_set in of_kind(render(AGENT, values), "DaemonSet"):
            assert daemon_set["spec"]["selector"] == before[daemon_set["metadata"]["name"]]
