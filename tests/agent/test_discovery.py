from __future__ import annotations

import json
import logging
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energysweep.agent.discovery import TargetsFile, address_of, targets, url_of
from energysweep.cli import main
from energysweep.core.errors import InputError
from tests.conftest import need

DOCUMENT = Path(__file__).parents[2] / "docs" / "discovery.md"
AGENTS = {"10.0.0.8:9770": "node-b", "[fd00::7]:9770": "node-c", "gpu-1.example:40001": "node-a"}


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:9770"),
        ("10.0.0.7", "http://10.0.0.7:9770"),
        ("::1", "http://[::1]:9770"),
        ("fd00::7", "http://[fd00::7]:9770"),
        ("node.example", "http://node.example:9770"),
    ],
)
def test_an_address_of_ipv6_is_in_brackets(address: str, url: str) -> None:
    assert url_of(address, 9770) == url
    assert address_of(url) == url.removeprefix("http://")


def test_targets_have_labels_that_do_not_push_those_of_the_series_aside() -> None:
    found = targets(AGENTS)
    assert [target["targets"] for target in found] == [[address] for address in sorted(AGENTS)]
    assert {frozenset(target["labels"]) for target in found} == {frozenset({"job", "__meta_energysweep_node"})}


@given(st.dictionaries(st.text(max_size=30), st.text(max_size=300)))
def test_what_is_no_address_is_no_target(agents: dict[str, str]) -> None:
    named = [target["targets"][0] for target in targets(agents | AGENTS)]
    assert set(AGENTS) <= set(named)
    assert not any(character in address for address in named for character in '/ @?#"\n')
    json.dumps(named).encode()


def test_the_file_is_what_prometheus_reads(tmp_path: Path) -> None:
    path = tmp_path / "targets.json"
    file = TargetsFile(path)
    assert json.loads(path.read_text()) == []
    file.write(AGENTS)
    config = {"scrape_configs": [{"job_name": "any", "file_sd_configs": [{"files": [str(path)]}]}]}
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))
    command = [need("promtool"), "check", "config", str(tmp_path / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    command = [need("promtool"), "check", "service-discovery", "--timeout=5s", str(tmp_path / "prometheus.yml"), "any"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    labels = [target["labels"] for target in json.loads(done.stdout)]
    assert sorted(each["instance"] for each in labels) == sorted(AGENTS)
    assert {each["job"] for each in labels} == {"energysweep"}
    assert not any("node" in each for each in labels)


def test_the_file_is_replaced_only_when_the_agents_change(tmp_path: Path) -> None:
    path = tmp_path / "targets.json"
    file = TargetsFile(path)
    file.write(AGENTS)
    before = path.stat()
    file.write(dict(reversed(AGENTS.items())))
    assert path.stat().st_ino == before.st_ino  # untouched: a replaced file is another one
    path.unlink()  # somebody tidied up
    file.write(AGENTS)
    assert len(json.loads(path.read_text())) == 3
    assert list(tmp_path.iterdir()) == [path]  # nothing unfinished is left


def test_a_file_that_cannot_be_written_any_more_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    file = TargetsFile(folder / "targets.json")
    (folder / "targets.json").unlink()
    folder.rmdir()
    with caplog.at_level(logging.WARNING):
        file.write(AGENTS)
        file.write(AGENTS)
    assert caplog.text.count("cannot be written") == 1
    folder.mkdir()
    file.write(AGENTS)
    assert len(json.loads((folder / "targets.json").read_text())) == 3


@pytest.mark.parametrize(
    ("name", "reason"), [("targets.txt", "end with .json, .yml, .yaml"), ("missing/targets.json", "cannot be written")]
)
def test_a_file_that_prometheus_could_not_read_is_refused(
    tmp_path: Path, name: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=reason):
        TargetsFile(tmp_path / name)
    assert main(["agent", "--file-sd", str(tmp_path / name)]) == 2
    message = capsys.readouterr().err
    assert reason in message
    assert "--file-sd" in message
    assert len(message.splitlines()) == 1


BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_document_s_configurations_are_ones(tmp_path: Path) -> None:
    assert len(BLOCKS) == 3  # HTTP, files, Kubernetes
    for number, block in enumerate(BLOCKS):
        path = tmp_path / f"{number}.yml"
        # Debian builds Prometheus without Kubernetes: the rest of that one can still be checked.
        path.write_text(block.replace("kubernetes_sd_configs: [{role: pod}]", "static_configs: []"))
        command = [need("promtool"), "check", "config", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
