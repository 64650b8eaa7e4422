"""The chart of a team: Ray with a token, one sweep as a job, results that stay, who reaches whom."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from energysweep.cli import _parser
from energysweep.sweepfile import load_spec
from tests.support.charts import (
    SCENARIOS,
    TEAM,
    Document,
    chart_of,
    helm,
    load_all,
    name_of,
    of_kind,
    one,
    render,
    scenario,
    selects,
)
from tests.support.pods import completed, pods

OF_TEAM = [s for s in SCENARIOS if chart_of(s) == TEAM]
JOBS = [s for s in OF_TEAM if "job" in s.name]
JOB = ("mode=job", "job.path=/s.yaml", "job.set={storage=s3://bucket/path}")


def ray(documents: tuple[Document, ...]) -> dict[str, Any]:
    """The spec of the Ray cluster, of a RayCluster or in a RayJob."""
    clusters, jobs = of_kind(documents, "RayCluster"), of_kind(documents, "RayJob")
    (found,) = [c["spec"] for c in clusters] + [j["spec"]["rayClusterSpec"] for j in jobs]
    return dict(found)


def entrypoint(documents: tuple[Document, ...]) -> list[str]:
    """The command of the job, as a shell reads it."""
    return shlex.split(one(documents, "RayJob")["spec"]["entrypoint"])


@pytest.mark.parametrize("values", OF_TEAM, ids=name_of)
def test_every_port_of_ray_asks_for_the_token(values: Path) -> None:
    documents = render(TEAM, values)
    assert ray(documents)["authOptions"]["mode"] == "token"
    for pod in pods(documents):
        if "ray.io/node-type" in pod.labels:
            environment = {v["name"]: v.get("value") for v in pod.spec["containers"][0]["env"]}
            assert environment["RAY_AUTH_MODE"] == "token"  # an old KubeRay passes over authOptions
            assert "RAY_AUTH_TOKEN" not in environment  # KubeRay takes it out of the Secret


def test_the_token_can_be_in_a_secret_of_ones_own() -> None:
    assert ray(render(TEAM, settings=("auth.secretName=mine",)))["authOptions"]["secretName"] == "mine"
    assert "secretName" not in ray(render(TEAM))["authOptions"]


def test_workers_scale_from_nothing_and_no_trial_runs_on_the_head() -> None:
    cluster = ray(render(TEAM))
    assert cluster["enableInTreeAutoscaling"] is True
    assert {g["groupName"]: (g["minReplicas"], g["maxReplicas"]) for g in cluster["workerGroupSpecs"]} == {
        "cpu": (0, 4),
        "gpu": (0, 2),
    }
    assert not [g for g in cluster["workerGroupSpecs"] if "replicas" in g]  # the autoscaler's
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_without_autoscaling_all_workers_are_there() -> None:
    cluster = ray(render(TEAM, scenario(TEAM, "cpu-only")))
    assert [(g["groupName"], g["replicas"]) for g in cluster["workerGroupSpecs"]] == [("cpu", 2)]
    assert "autoscalerOptions" not in cluster


def test_gpu_workers_ask_for_gpus_and_carry_the_label_that_sweeps_name() -> None:
    groups = {g["groupName"]: g for g in ray(render(TEAM, scenario(TEAM, "gpu-types")))["workerGroupSpecs"]}
    assert groups["h100"]["labels"] == {"ray.io/accelerator-type": "H100"}
    (container,) = groups["h100"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_only_the_autoscaler_has_a_token_for_the_api_server() -> None:
    cluster = ray(render(TEAM))
    where = "/var/run/secrets/kubernetes.io/serviceaccount"
    assert [m["mountPath"] for m in cluster["autoscalerOptions"]["volumeMounts"]] == [where]
    for pod in pods(render(TEAM)):
        assert where not in {m["mountPath"] for c in pod.containers for m in c["volumeMounts"]}
    alone = ray(render(TEAM, scenario(TEAM, "cpu-only")))["headGroupSpec"]["template"]["spec"]
    assert "api-token" not in {volume["name"] for volume in alone["volumes"]}


def test_no_pod_sees_anything_of_its_host() -> None:
    for values in OF_TEAM:
        for pod in completed(render(TEAM, values)):
            assert not [v for v in pod.spec.get("volumes", ()) if "hostPath" in v]
            assert not {"hostPID", "hostNetwork", "hostIPC"} & set(pod.spec)


def test_the_probes_ask_the_port_that_rays_agent_listens_on() -> None:
    from ray._private.ray_constants import DEFAULT_DASHBOARD_AGENT_LISTEN_PORT

    for pod in pods(render(TEAM)):
        (container,) = pod.containers
        for kind in ("startup", "readiness", "liveness"):
            asked = container[f"{kind}Probe"]["httpGet"]
            assert asked == {"path": "/api/healthz", "port": DEFAULT_DASHBOARD_AGENT_LISTEN_PORT}


def test_submitted_sweeps_leave_their_results_on_the_volume() -> None:
    head = ray(render(TEAM))["headGroupSpec"]["template"]["spec"]
    (container,) = head["containers"]
    environment = {v["name"]: v.get("value") for v in container["env"]}
    (mounted,) = [m for m in container["volumeMounts"] if m["mountPath"] == environment["ENERGYSWEEP_RESULTS"]]
    claims = {
        v["name"]: v["persistentVolumeClaim"]["claimName"] for v in head["volumes"] if "persistentVolumeClaim" in v
    }
    assert claims[mounted["name"]] == one(render(TEAM), "PersistentVolumeClaim")["metadata"]["name"]


@pytest.mark.parametrize("values", JOBS, ids=name_of)
def test_the_job_is_a_command_of_the_program_that_resumes_and_writes_to_the_volume(values: Path) -> None:
    documents = render(TEAM, values)
    program, *arguments = entrypoint(documents)
    parsed = _parser().parse_args(arguments)
    given = yaml.safe_load(values.read_text(encoding="utf-8"))
    assert program == "energysweep"
    assert parsed.address == "auto"
    assert parsed.output == Path("/results")
    assert parsed.run_id == f"team-a.{given['job'].get('runId', 'power')}"
    head = ray(documents)["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert "/results" in {m["mountPath"] for m in head["volumeMounts"]}


SHARED, SET = "shared.enabled=true", "job.set={storage=s3://b/c}"
OWN = "job.sweep=command: [x]\nstorage: s3://bucket/own"


@pytest.mark.parametrize(
    ("settings", "storages"),
    [
        (("job.sweep=command: [x]", SHARED), ["storage=/shared"]),
        (("job.sweep=command: [x]", SET), ["storage=s3://b/c"]),
        ((OWN,), []),
        ((OWN, SHARED), []),
        (("job.sweep=command: [x]", SHARED, SET), ["storage=s3://b/c"]),
        (("job.path=/s.yaml", SHARED), ["storage=/shared"]),
        (("job.path=/s.yaml", SET), ["storage=s3://b/c"]),
    ],
)
def test_trials_of_a_job_keep_their_checkpoints_where_the_user_says_else_on_the_shared_volume(
    settings: tuple[str, ...], storages: list[str]
) -> None:
    parsed = _parser().parse_args(entrypoint(render(TEAM, settings=("mode=job", *settings)))[1:])
    assert parsed.overrides == storages


def test_runs_of_two_teams_are_never_taken_for_one() -> None:
    def run(namespace: str) -> str:
        done = helm("template", "power", TEAM, "--namespace", namespace, "--values", scenario(TEAM, "job"))
        return str(_parser().parse_args(entrypoint(load_all(done.stdout))[1:]).run_id)

    assert (run("team-a"), run("team-b")) == ("team-a.tuesday", "team-b.tuesday")


def test_a_job_ends_with_its_sweep_and_is_tried_again() -> None:
    job = one(render(TEAM, scenario(TEAM, "job")), "RayJob")["spec"]
    assert job["shutdownAfterJobFinishes"] is True
    assert job["ttlSecondsAfterFinished"] == 300
    assert job["backoffLimit"] == 2


def test_a_large_number_stays_a_whole_number() -> None:
    settings = (*JOB, "job.deadlineSeconds=2000000", "job.secondsAfterFinished=1000000")
    job = one(render(TEAM, settings=settings), "RayJob")["spec"]
    assert (job["activeDeadlineSeconds"], job["ttlSecondsAfterFinished"]) == (2_000_000, 1_000_000)
    assert isinstance(job["activeDeadlineSeconds"], int)


def test_another_run_is_another_job_and_the_same_volume() -> None:
    first, second = (render(TEAM, settings=(*JOB, f"job.runId={run}")) for run in ("monday", "tuesday"))
    assert one(first, "RayJob")["metadata"]["name"] == "power-monday"
    assert one(second, "RayJob")["metadata"]["name"] == "power-tuesday"
    assert one(first, "PersistentVolumeClaim") == one(second, "PersistentVolumeClaim")


def test_the_sweep_and_the_code_beside_it_load_from_the_files_of_the_job(tmp_path: Path) -> None:
    documents = render(TEAM, scenario(TEAM, "job"))
    files = one(documents, "ConfigMap", "power-tuesday-sweep")
    assert files["immutable"] is True
    for name, text in files["data"].items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    parsed = _parser().parse_args(entrypoint(documents)[1:])
    assert parsed.sweep.parent == Path("/etc/energysweep")
    spec = load_spec(tmp_path / parsed.sweep.name, parsed.overrides)
    assert spec.carbon is not None
    assert spec.carbon.country == "NO"  # Norway, not false
    assert spec.repeats == 2
    assert spec.storage == "/shared"
    for pod in pods(documents):
        if "ray.io/node-type" in pod.labels:  # trials import the code on the workers
            paths = {m["mountPath"] for m in pod.containers[0]["volumeMounts"]}
            assert {"/etc/energysweep", "/shared"} <= paths


def test_a_job_without_a_pod_that_submits() -> None:
    job = one(render(TEAM, scenario(TEAM, "job-path")), "RayJob")["spec"]
    assert job["submissionMode"] == "HTTPMode"
    assert "submitterPodTemplate" not in job
    assert job["suspend"] is True
    assert not of_kind(render(TEAM, scenario(TEAM, "job-path")), "PersistentVolumeClaim")  # results.existingClaim


def test_volumes_stay_when_the_release_goes() -> None:
    claims = [
        claim
        for settings in (("shared.enabled=true",), ("prometheus.enabled=true",))
        for claim in of_kind(render(TEAM, settings=settings), "PersistentVolumeClaim")
    ]
    assert {c["metadata"]["name"] for c in claims} == {"power-results", "power-shared", "power-prometheus"}
    for claim in claims:
        assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_the_shared_volume_is_for_several_nodes_and_the_ledgers_for_one() -> None:
    documents = render(TEAM, settings=("shared.enabled=true",))
    assert one(documents, "PersistentVolumeClaim", "power-shared")["spec"]["accessModes"] == ["ReadWriteMany"]
    assert one(documents, "PersistentVolumeClaim", "power-results")["spec"]["accessModes"] == ["ReadWriteOnce"]


# Who may call whom: (pod that listens, port) for callers by name. Ray's pods call each other at all ports.
OPERATOR = {"app.kubernetes.io/name": "kuberay-operator"}
STRANGER = {"app.kubernetes.io/name": "shop"}


def may_call(documents: tuple[Document, ...], caller: dict[str, str], listener: dict[str, str], port: int) -> bool:
    """Whether the policies let a pod of the same namespace in."""
    policies = [p["spec"] for p in of_kind(documents, "NetworkPolicy") if selects(p["spec"]["podSelector"], listener)]
    if not policies:
        return True
    return any(
        any(selects(peer["podSelector"], caller) for peer in rule["from"] if "podSelector" in peer)
        and port in {p["port"] for p in rule.get("ports", [{"port": port}])}
        for policy in policies
        for rule in policy["ingress"]
    )


def test_ray_hears_itself_and_its_dashboard_hears_who_submits() -> None:
    documents = render(TEAM, scenario(TEAM, "job"))
    labels = {pod.name.rpartition("/")[2]: pod.labels for pod in pods(documents)}
    callers = {**labels, "operator": OPERATOR, "stranger": STRANGER}

    def who(listener: str, port: int) -> set[str]:
        return {name for name, caller in callers.items() if may_call(documents, caller, labels[listener], port)}

    assert who("head", 6379) == {"head", "cpu", "gpu"}
    assert who("head", 8265) == {"head", "cpu", "gpu", "operator", "submitter"}
    assert who("cpu", 30000) == {"head", "cpu", "gpu"}
    assert who("submitter", 80) == set()


def test_another_release_is_a_stranger() -> None:
    ours, theirs = render(TEAM), render(TEAM, release="other")
    assert not may_call(ours, pods(theirs)[0].labels, pods(ours)[0].labels, 6379)


def test_clients_of_ones_own_reach_the_dashboard_only() -> None:
    documents = render(TEAM, scenario(TEAM, "locked-down"))
    head = pods(documents)[0].labels
    assert may_call(documents, {"role": "notebook"}, head, 8265)
    assert not may_call(documents, {"role": "notebook"}, head, 6379)


def test_restricted_egress_leads_to_the_agents_names_and_what_is_named() -> None:
    documents = render(TEAM, scenario(TEAM, "locked-down"))
    rules = one(documents, "NetworkPolicy", "power-ray")["spec"]
    head = one(documents, "NetworkPolicy", "power-head")["spec"]
    assert "Egress" in rules["policyTypes"]
    agent = {"kubernetes.io/metadata.name": "observability"}
    ports = {
        port["port"]
        for rule in rules["egress"]
        for peer in rule["to"]
        if peer.get("namespaceSelector", {}).get("matchLabels") == agent
        for port in rule["ports"]
    }
    assert ports == {9771}  # totals are for the head
    assert {p["port"] for rule in head["egress"] for p in rule["ports"]} == {9770, 443, 6443}
    submitter = one(documents, "NetworkPolicy", "power-submitter")["spec"]
    assert {p["port"] for rule in submitter["egress"] for p in rule["ports"]} == {8265, 53}
    assert rules["egress"][-1]["to"] == [{"ipBlock": {"cidr": "192.0.2.10/32"}}]
    assert all("egress" not in p["spec"] for p in of_kind(render(TEAM), "NetworkPolicy"))
