"""The examples of docs/own-code.md: shown as they are, and run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from energysweep.core.runfolder import LEDGER
from energysweep.ledger.store import Ledger
from energysweep.report import Summary, summarise
from energysweep.sweepfile import load_spec

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
SHOWN = re.findall(
    r"<!-- examples/(\S+) -->\n```\w+\n(.*?)^```$", (ROOT / "docs/own-code.md").read_text(), re.DOTALL | re.MULTILINE
)


def test_every_example_is_shown() -> None:
    assert sorted(name for name, _ in SHOWN) == sorted(path.name for path in EXAMPLES.iterdir() if path.is_file())


@pytest.mark.parametrize(("name", "text"), SHOWN, ids=[name for name, _ in SHOWN])
def test_an_example_is_shown_as_it_is(name: str, text: str) -> None:
    assert text == (EXAMPLES / name).read_text()


def run_example(name: str, folder: Path) -> Summary:
    from energysweep.driver.run import run

    done = run(load_spec(EXAMPLES / f"{name}.yaml"), output=folder, metrics_port=0)
    assert done.problems == ()
    with Ledger.open(done.folder / LEDGER) as ledger:
        return summarise(ledger.read())


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Ray's own warnings are not ours
# Those of training frameworks: test_frameworks.py.
@pytest.mark.parametrize(("name", "trials"), [("function", 8), ("trainable", 4), ("script", 4)])
def test_an_example_runs_to_its_end_and_is_metered(name: str, trials: int, tmp_path: Path, agent_home: Path) -> None:
    summary = run_example(name, tmp_path)
    assert [trial.status for trial in summary.trials] == ["completed"] * trials
    assert all((trial.energy_joules or 0) > 0 for trial in summary.trials)
    if summary.has_target:
        assert any(trial.reached_target for trial in summary.trials)
