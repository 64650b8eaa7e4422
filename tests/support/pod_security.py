"""The Pod Security Standards of Kubernetes, rule by rule: which rules a pod breaks.

Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/ (as of Kubernetes 1.34).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tests.support.pods import Pod

Container = dict[str, Any]

_BASELINE_CAPABILITIES = {
    *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD"),
    *("NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
}
_SELINUX_TYPES = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
_SAFE_SYSCTLS = {
    *("kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start"),
    *("net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports"),
    *("net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl"),
    *("net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"),
}
_RESTRICTED_VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"),
}
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"


def broken_rules(pod: Pod, level: str) -> set[str]:
    """The rules of a level that the pod breaks: ``baseline``, or ``restricted``, which has those of the first, too."""
    rules = BASELINE if level == "baseline" else {**BASELINE, **RESTRICTED}
    return {name for name, is_kept in rules.items() if not is_kept(pod)}


def _contexts(pod: Pod) -> Iterator[dict[str, Any]]:
    """Security contexts: the pod's and each container's."""
    yield pod.spec.get("securityContext", {})
    yield from map(_context, pod.containers)


def _context(container: Container) -> dict[str, Any]:
    context: dict[str, Any] = container.get("securityContext", {})
    return context


def _capabilities(container: Container, what: str) -> set[str]:
    return set(_context(container).get("capabilities", {}).get(what, ()))


def _host_process(pod: Pod) -> bool:
    return not any(context.get("windowsOptions", {}).get("hostProcess") for context in _contexts(pod))


def _host_namespaces(pod: Pod) -> bool:
    return not any(pod.spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC"))


def _privileged(pod: Pod) -> bool:
    return not any(_context(container).get("privileged") for container in pod.containers)


def _added_capabilities(pod: Pod) -> bool:
    return all(_capabilities(container, "add") <= _BASELINE_CAPABILITIES for container in pod.containers)


def _host_paths(pod: Pod) -> bool:
    return not any("hostPath" in volume for volume in pod.spec.get("volumes", ()))


def _host_ports(pod: Pod) -> bool:
    return not any(port.get("hostPort") for container in pod.containers for port in container.get("ports", ()))


def _host_probes(pod: Pod) -> bool:
    handlers = [
        handler
        for container in pod.containers
        for handler in (
            *(container.get(key, {}) for key in ("livenessProbe", "readinessProbe", "startupProbe")),
            *container.get("lifecycle", {}).values(),
        )
    ]
    return not any(handler.get(kind, {}).get("host") for handler in handlers for kind in ("httpGet", "tcpSocket"))


def _app_armor(pod: Pod) -> bool:
    types = {context["appArmorProfile"]["type"] for context in _contexts(pod) if "appArmorProfile" in context}
    named = {value for key, value in pod.annotations.items() if key.startswith(_APPARMOR)}
    return types <= {"RuntimeDefault", "Localhost"} and all(
        value == "runtime/default" or value.startswith("localhost/") for value in named
    )


def _selinux(pod: Pod) -> bool:
    options = [context.get("seLinuxOptions", {}) for context in _contexts(pod)]
    return all(o.get("type", "") in _SELINUX_TYPES and not o.get("user") and not o.get("role") for o in options)


def _proc_mount(pod: Pod) -> bool:
    return all(_context(container).get("procMount", "Default") == "Default" for container in pod.containers)


def _seccomp_unconfined(pod: Pod) -> bool:
    return not any(context.get("seccompProfile", {}).get("type") == "Unconfined" for context in _contexts(pod))


def _sysctls(pod: Pod) -> bool:
    return {s["name"] for s in pod.spec.get("securityContext", {}).get("sysctls", ())} <= _SAFE_SYSCTLS


def _volume_types(pod: Pod) -> bool:
    return all(set(volume) - {"name"} <= _RESTRICTED_VOLUMES for volume in pod.spec.get("volumes", ()))


def _escalation(pod: Pod) -> bool:
    return all(_context(container).get("allowPrivilegeEscalation") is False for container in pod.containers)


def _non_root(pod: Pod) -> bool:
    of_pod = pod.spec.get("securityContext", {}).get("runAsNonRoot")
    return all(_context(container).get("runAsNonRoot", of_pod) is True for container in pod.containers)


def _non_root_user(pod: Pod) -> bool:
    return not any(context.get("runAsUser") == 0 for context in _contexts(pod))


def _seccomp(pod: Pod) -> bool:
    of_pod = pod.spec.get("securityContext", {}).get("seccompProfile", {}).get("type")
    types = {_context(c).get("seccompProfile", {}).get("type", of_pod) for c in pod.containers}
    return types <= {"RuntimeDefault", "Localhost"}


def _dropped_capabilities(pod: Pod) -> bool:
    return all(
        "ALL" in _capabilities(container, "drop") and _capabilities(container, "add") <= {"NET_BIND_SERVICE"}
        for container in pod.containers
    )


Rules = dict[str, Callable[[Pod], bool]]

# By the names of the standard's tables.
BASELINE: Rules = {
    "HostProcess": _host_process,
    "Host Namespaces": _host_namespaces,
    "Privileged Containers": _privileged,
    "Capabilities (baseline)": _added_capabilities,
    "HostPath Volumes": _host_paths,
    "Host Ports": _host_ports,
    "Host Probes / Lifecycle Hooks": _host_probes,
    "AppArmor": _app_armor,
    "SELinux": _selinux,
    "/proc Mount Type": _proc_mount,
    "Seccomp (baseline)": _seccomp_unconfined,
    "Sysctls": _sysctls,
}
RESTRICTED: Rules = {
    "Volume Types": _volume_types,
    "Privilege Escalation": _escalation,
    "Running as Non-root": _non_root,
    "Running as Non-root user": _non_root_user,
    "Seccomp": _seccomp,
    "Capabilities": _dropped_capabilities,
}
