"""A Docker engine, as its command line shows it."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKER = os.environ.get("DOCKER", "docker")
SWEEP, AGENT = "energysweep:test", "energysweep-agent:test"
# Where the images come from, if not from the public ones that the Dockerfile names.
BUILD_ARGUMENTS = ("BASE", "BUILDER", "TORCH_INDEX")


def ran(*command: str | Path, seconds: float = 300, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, whatever that is."""
    return subprocess.run(
        [str(part) for part in command],
        env=os.environ | {"DOCKER_BUILDKIT": "1"} | environment,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )


def docker(*arguments: str | Path, seconds: float = 300) -> str:
    """What a docker command prints; it must succeed."""
    done = ran(DOCKER, *arguments, seconds=seconds)
    assert done.returncode == 0, f"docker {' '.join(map(str, arguments))}:\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


def build(target: str, tag: str) -> None:
    """Build one of the Dockerfile's images of this tree."""
    arguments = [f"--build-arg={name}={os.environ[name]}" for name in BUILD_ARGUMENTS if name in os.environ]
    docker(
        "build",
        "--quiet",
        "--file=docker/Dockerfile",
        f"--target={target}",
        f"--tag={tag}",
        *arguments,
        ".",
        seconds=1500,
    )


@dataclass(frozen=True)
class Compose:
    """A project of deploy/compose.yaml.

    Args:
        project: its name.
        environment: the file's variables.
    """

    project: str
    environment: dict[str, str]

    def __call__(self, *arguments: str, seconds: float = 300) -> str:
        """What a command of Compose prints; it must succeed."""
        done = ran(
            *_compose_command(),
            *("--project-name", self.project, "--file", "deploy/compose.yaml", *arguments),
            seconds=seconds,
            **self.environment,
        )
        assert done.returncode == 0, f"compose {' '.join(arguments)}:\n{done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    def container(self, service: str) -> str:
        """The id of a service's container."""
        return self("ps", "--quiet", service)

    def volume(self, name: str) -> str:
        """The engine's name of a volume of the file."""
        return f"{self.project}_{name}"


def _compose_command() -> list[str]:
    """Compose's second version is a plugin; Debian 12 has the first."""
    if ran(DOCKER, "compose", "version").returncode == 0:
        return [DOCKER, "compose"]
    return [shutil.which("docker-compose") or "docker-compose"]
