"""Pod Security: the checker itself, and every pod of the charts."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.charts import AGENT, ROOT, SCENARIOS, TEAM, chart_of, name_of, render, scenario, text_of
from tests.support.pod_security import BASELINE, RESTRICTED, broken_rules
from tests.support.pods import Pod, completed, pods

PLAIN: dict[str, Any] = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {"name": "a", "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}
    ],
}

# Where in the pod, what stands there, which rules that breaks.
BREAKS: list[tuple[tuple[str | int, ...], Any, set[str]]] = [
    (("securityContext", "windowsOptions"), {"hostProcess": True}, {"HostProcess"}),
    (("hostPID",), True, {"Host Namespaces"}),
    (("hostNetwork",), True, {"Host Namespaces"}),
    (("hostIPC",), True, {"Host Namespaces"}),
    (("containers", 0, "securityContext", "privileged"), True, {"Privileged Containers"}),
    (
        ("containers", 0, "securityContext", "capabilities", "add"),
        ["SYS_PTRACE"],
        {"Capabilities (baseline)", "Capabilities"},
    ),
    (("containers", 0, "securityContext", "capabilities", "add"), ["CHOWN"], {"Capabilities"}),
    (("containers", 0, "securityContext", "capabilities", "drop"), ["NET_RAW"], {"Capabilities"}),
    (("volumes",), [{"name": "h", "hostPath": {"path": "/"}}], {"HostPath Volumes", "Volume Types"}),
    (("volumes",), [{"name": "n", "nfs": {"server": "s", "path": "/"}}], {"Volume Types"}),
    (("containers", 0, "ports"), [{"containerPort": 1, "hostPort": 1}], {"Host Ports"}),
    (("containers", 0, "livenessProbe"), {"httpGet": {"host": "h"}}, {"Host Probes / Lifecycle Hooks"}),
    (("containers", 0, "securityContext", "appArmorProfile"), {"type": "Unconfined"}, {"AppArmor"}),
    (("securityContext", "seLinuxOptions"), {"type": "spc_t"}, {"SELinux"}),
    (("securityContext", "seLinuxOptions"), {"role": "r"}, {"SELinux"}),
    (("containers", 0, "securityContext", "procMount"), "Unmasked", {"/proc Mount Type"}),
    (("securityContext", "seccompProfile"), {"type": "Unconfined"}, {"Seccomp (baseline)", "Seccomp"}),
    (("securityContext", "seccompProfile"), {}, {"Seccomp"}),
    (("securityContext", "sysctls"), [{"name": "kernel.msgmax"}], {"Sysctls"}),
    (("containers", 0, "securityContext", "allowPrivilegeEscalation"), None, {"Privilege Escalation"}),
    (("securityContext", "runAsNonRoot"), None, {"Running as Non-root"}),
    (("containers", 0, "securityContext", "runAsNonRoot"), False, {"Running as Non-root"}),
    (("containers", 0, "securityContext", "runAsUser"), 0, {"Running as Non-root user"}),
]

# What an agent must have, and no more: it sees the host's processes, and files that are root's.
NEEDED_BY_AGENT = {"Host Namespaces", "HostPath Volumes"}
ALSO_NOT_RESTRICTED = {"Volume Types", "Running as Non-root", "Running as Non-root user"}


def test_a_plain_pod_keeps_every_rule() -> None:
    assert broken_rules(Pod("plain", {}, {}, PLAIN), "restricted") == set()


@pytest.mark.parametrize(("where", "value", "rules"), BREAKS, ids=lambda case: text_of(case)[:60])
def test_the_checker_names_exactly_the_rules_that_are_broken(
    where: tuple[str | int, ...], value: Any, rules: set[str]
) -> None:
    spec = copy.deepcopy(PLAIN)
    place: Any = spec
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    pod = Pod("broken", {}, {}, spec)
    assert broken_rules(pod, "restricted") == rules
    assert broken_rules(pod, "baseline") == rules & set(BASELINE)


def test_every_rule_has_a_case_that_breaks_it() -> None:
    assert set().union(*(rules for _, _, rules in BREAKS)) == {*BASELINE, *RESTRICTED}


def test_a_container_that_runs_first_is_checked_too() -> None:
    spec = {**copy.deepcopy(PLAIN), "initContainers": [{"name": "i"}]}
    assert broken_rules(Pod("init", {}, {}, spec), "restricted") == {"Privilege Escalation", "Capabilities"}


@pytest.mark.parametrize("values", [s for s in SCENARIOS if chart_of(s) == TEAM], ids=name_of)
def test_every_pod_of_a_team_passes_restricted_also_with_what_kuberay_adds(values: Path) -> None:
    found = completed(render(TEAM, values))
    assert len(found) >= 2
    assert {pod.name: broken_rules(pod, "restricted") for pod in found} == {pod.name: set() for pod in found}


def test_kuberays_own_submitter_would_not_pass() -> None:
    (job,) = [d for d in render(TEAM, scenario(TEAM, "job")) if d["kind"] == "RayJob"]
    bare = {**job, "spec": {k: v for k, v in job["spec"].items() if k != "submitterPodTemplate"}}
    (submitter,) = [pod for pod in completed([bare]) if pod.name.endswith("/submitter")]
    assert "Privilege Escalation" in broken_rules(submitter, "restricted")


@pytest.mark.parametrize("values", [s for s in SCENARIOS if chart_of(s) == AGENT], ids=name_of)
def test_an_agent_breaks_only_the_rules_that_it_must(values: Path) -> None:
    given = yaml.safe_load(values.read_text(encoding="utf-8"))
    more = {"Capabilities (baseline)"} if given.get("strictProof") else set()
    more |= {"SELinux"} if given.get("seLinuxOptions") else set()
    more_restricted = {"Capabilities"} if given.get("strictProof") else set()
    for pod in pods(render(AGENT, values)):
        assert broken_rules(pod, "baseline") == NEEDED_BY_AGENT | more, pod.name
        wanted = NEEDED_BY_AGENT | ALSO_NOT_RESTRICTED | more | more_restricted
        assert broken_rules(pod, "restricted") == wanted, pod.name


def test_the_pod_in_the_document_that_reads_results_passes_restricted() -> None:
    text = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    blocks = [block.partition("```")[0] for block in text.split("```yaml\n")[1:]]
    documents = [yaml.safe_load(block) for block in blocks if "kind: Pod\n" in block]
    assert len(documents) == 1
    assert broken_rules(pods(documents)[0], "restricted") == set()
