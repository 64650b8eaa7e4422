"""What docs/monitoring.md says can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from energysweep.cli import _parser

DOCUMENT = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)
LINES = [line.partition("#")[0].strip() for block in BLOCKS for line in block.splitlines()]
COMMANDS = [line for line in LINES if line.startswith("energysweep ")]


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_is_one(line: str) -> None:
    _parser().parse_args(shlex.split(line)[1:])  # exits if it is wrong


def test_there_are_commands_and_scrape_configurations() -> None:
    assert len(COMMANDS) >= 5
    found = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)]
    assert [config["job_name"] for each in found for config in each["scrape_configs"]] == ["energysweep"] * 2
