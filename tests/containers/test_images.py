"""The two images: who runs in them, what is in them, what they can do alone."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.support.engine import AGENT, SWEEP, docker, ran
from tests.support.engine import DOCKER as PROGRAM
from tests.support.fake_powercap import FakePowercap

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1800)]  # the first one builds the images

MEGABYTE = 1_000_000
NO_PRIVILEGE = ("--cap-drop=ALL", "--security-opt=no-new-privileges:true")


def test_the_agents_image_is_less_than_200_megabytes_in_all(
    images: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    base = os.environ.get("BASE")
    below = int(docker("image", "inspect", "--format={{.Size}}", base)) if base else 0
    megabytes = {name: round(size / MEGABYTE) for name, size in {"base": below, **images}.items()}
    with capsys.disabled():
        sys.stdout.write(f"\nsizes in MB: {megabytes}\n")
    assert images[AGENT] < 200 * MEGABYTE, f"{megabytes[AGENT]} MB, of which {megabytes['base']} MB are BASE, {base}"


@pytest.mark.parametrize("tag", [AGENT, SWEEP])
def test_both_images_run_as_a_user_of_their_own_and_say_what_they_are(images: dict[str, int], tag: str) -> None:
    config = json.loads(docker("image", "inspect", tag))[0]["Config"]
    assert config["User"] == "1000"
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    told = docker("run", "--rm", *NO_PRIVILEGE, "--entrypoint=sh", tag, "-c", "id -un; id -u; echo $HOME; pwd")
    assert told.split() == ["ray", "1000", "/home/ray", "/home/ray"]
    written = ran(PROGRAM, "run", "--rm", "--entrypoint=sh", tag, "-c", "touch /opt/energysweep/x")
    assert "Permission denied" in written.stderr


def test_nothing_of_the_building_machine_is_in_the_images(images: dict[str, int]) -> None:
    for tag in (AGENT, SWEEP):
        variables = json.loads(docker("image", "inspect", "--format={{json .Config.Env}}", tag))
        assert not [name for name in variables if name.startswith("PIP_")]
        left = docker(
            "run", "--rm", "--entrypoint=sh", tag, "-c", "ls -A /src /wheel /root/.cache /opt/pip 2>/dev/null || true"
        )
        assert left == ""


def test_the_agents_image_has_neither_ray_nor_torch(images: dict[str, int]) -> None:
    code = "import importlib.util as u; print([n for n in ('ray', 'torch', 'pandas', 'plotly') if u.find_spec(n)])"
    assert docker("run", "--rm", "--entrypoint=python3", AGENT, "-c", code) == "[]"


@pytest.mark.parametrize("tag", [AGENT, SWEEP])
def test_doctor_runs_in_both_images(images: dict[str, int], tag: str) -> None:
    command = ["doctor"] if tag == AGENT else ["energysweep", "doctor"]
    told = docker("run", "--rm", *NO_PRIVILEGE, tag, *command)
    assert "in a container" in told
    assert "What a sweep would use here" in told
    assert "W now" in told


def test_root_without_a_capability_reads_the_counters_and_others_do_not(images: dict[str, int], tmp_path: Path) -> None:
    powercap = FakePowercap(tmp_path)
    powercap.zone("intel-rapl:0", "package-0", 5_000_000)
    for counter in powercap.devices.rglob("energy_uj"):
        counter.chmod(0o400)  # as Linux has it
    tmp_path.chmod(0o755)
    mounted = f"--volume={powercap.devices}:/host/powercap:ro"
    as_root = docker("run", "--rm", *NO_PRIVILEGE, "--user=0:0", mounted, AGENT, "doctor", "--meter=rapl")
    assert "by rapl" in as_root
    as_ray = ran(PROGRAM, "run", "--rm", *NO_PRIVILEGE, mounted, AGENT, "doctor", "--meter=rapl")
    assert "by rapl" not in as_ray.stdout
    assert "may be read by root only" in as_ray.stdout


def test_a_small_sweep_runs_in_the_sweeps_image_alone(images: dict[str, int]) -> None:
    run = "energysweep run sweeps/quickstart.yaml --run-id alone --set parameters.epochs=1"
    command = f"{run} >&2; cat results/alone/summary.json"
    told = docker("run", "--rm", *NO_PRIVILEGE, "--no-healthcheck", "--shm-size=1g", SWEEP, "bash", "-c", command)
    summary = json.loads(told)
    assert summary["status"] == "done"
    assert len(summary["configurations"]) == 9
    assert summary["totals"]["conservation_error_ratio"] < 1e-3
    assert summary["totals"]["trials_energy_joules"] > 0


def test_the_sweeps_image_starts_and_is_probed_as_kuberay_does_it(images: dict[str, int]) -> None:
    start = "ulimit -n 65536; ray start --head --block --dashboard-host=0.0.0.0 --metrics-export-port=8080 --num-cpus=1"
    probe = (
        "wget --tries 1 -T 5 -q -O- http://localhost:52365/api/local_raylet_healthz | grep success"
        " && wget --tries 1 -T 5 -q -O- http://localhost:8265/api/gcs_healthz | grep success"
    )
    container = docker(
        *("run", "--detach", *NO_PRIVILEGE, "--shm-size=1g", "--env=RAY_AUTH_TOKEN=0123456789abcdef0123456789abcdef"),
        *("--entrypoint=/bin/bash", SWEEP, "-c", "--", start),
    )
    try:
        deadline = 120
        waits = f"for _ in $(seq {deadline}); do said=$({probe}) && echo $said && exit 0; sleep 1; done; exit 1"
        told = docker("exec", container, "bash", "-c", waits)
        assert told.split() == ["success", "success"]
        status = ran(PROGRAM, "exec", container, "ray", "status")
        assert status.returncode == 0, status.stderr
        refused = ran(PROGRAM, "exec", "--env=RAY_AUTH_TOKEN=wrong", container, "ray", "status")
        assert refused.returncode != 0
    finally:
        docker("rm", "--force", container)


def test_a_head_without_a_token_does_not_start(images: dict[str, int]) -> None:
    done = ran(PROGRAM, "run", "--rm", "--no-healthcheck", "--shm-size=1g", SWEEP, "ray", "start", "--head", "--block")
    assert done.returncode != 0
    assert "token" in (done.stdout + done.stderr).lower()
