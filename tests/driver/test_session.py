"""Where Ray's chatter goes, and what of a process it has to read again."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from energysweep.driver.session import logged_to


def test_rays_words_go_to_the_log_and_without_a_folder_for_it_nowhere(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with logged_to(tmp_path / "ray.log"):
        logging.getLogger("ray.tune").warning("a word")
    assert (tmp_path / "ray.log").read_text().endswith("WARNING ray.tune: a word\n")
    with logged_to(tmp_path / "gone" / "ray.log"):
        logging.getLogger("ray.tune").warning("another")
    assert capfd.readouterr() == ("", "")


def test_ray_reads_its_mode_of_authentication_again() -> None:
    program = (
        "import os, ray._raylet as raylet\n"
        "from energysweep.driver.ray_process import read_authentication_mode as read\n"
        "os.environ['RAY_AUTH_MODE'] = 'token'; read(); before = raylet.get_authentication_mode()\n"
        "os.environ['RAY_AUTH_MODE'] = 'disabled'; read(); print(before, raylet.get_authentication_mode())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "1 0\n"


@pytest.mark.slow
@pytest.mark.ray
def test_a_process_that_has_worked_with_a_ray_of_its_own_runs_a_sweep(sweep_folder: Path) -> None:
    program = """
import os, ray, energysweep
ray.init(address="local", include_dashboard=False, log_to_driver=False)  # asks for tokens
ray.shutdown()
del os.environ["RAY_AUTH_MODE"]
spec = energysweep.load_spec("sweep.yaml", ["parameters={kind: sleep, seconds: 0.05}"])
print(energysweep.run(spec, metrics_port=0).problems)
"""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=sweep_folder,
        env=environment | {"HOME": str(sweep_folder)},  # Ray writes the token there
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "()"
