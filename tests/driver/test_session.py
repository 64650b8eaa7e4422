"""Where Ray's chatter goes, and what of a process it has to read again."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from energysweep.driver.session import StopSignals, logged_to
from energysweep.driver.watch import Gate


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


STOPS = (signal.SIGINT, signal.SIGTERM)


class CatchingTune:
    """Catches Ctrl-C as Tune does: at the first one it puts back what was there before; it leaves its own behind."""

    def __init__(self) -> None:
        self.heard = 0

    @contextmanager
    def runs(self, signals: StopSignals, steps: int = 1) -> Iterator[None]:
        with signals.with_tune():
            before = signal.getsignal(signal.SIGINT)

            def hear(number: int, frame: Any) -> None:
                self.heard += 1
                signal.signal(signal.SIGINT, before)

            signal.signal(signal.SIGINT, hear)
            gate = Gate(lambda: None, signals)
            for step in range(steps):
                gate.on_step_begin(iteration=step, trials=[])
            yield


@pytest.fixture
def signals() -> Iterator[StopSignals]:
    before = {which: signal.getsignal(which) for which in STOPS}
    found = StopSignals()
    with found.caught():
        yield found
    assert {which: signal.getsignal(which) for which in STOPS} == before


@pytest.mark.parametrize("which", STOPS)
def test_the_first_signal_is_tune_s_the_second_hurries_and_the_third_ends_at_once(
    signals: StopSignals, which: signal.Signals
) -> None:
    tune = CatchingTune()
    with signals.interrupting(), tune.runs(signals, steps=3):
        signal.raise_signal(which)
        assert (tune.heard, signals.count, signals.hurried) == (1, 1, False)
        Gate(lambda: None, signals).on_step_begin(iteration=3, trials=[])  # Tune winds up
    signal.raise_signal(which)  # the last readings go on
    assert (tune.heard, signals.hurried, signals.at_once) == (1, True, False)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(which)
    assert signals.at_once


def test_the_second_signal_breaks_off_what_tune_winds_up_and_nothing_after_that(signals: StopSignals) -> None:
    tune = CatchingTune()

    def sweep() -> None:
        with signals.interrupting(), tune.runs(signals):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        sweep()
    assert signals.hurried
    assert tune.heard == 1


def test_a_signal_that_tune_has_heard_before_its_first_step_is_one(signals: StopSignals) -> None:
    tune = CatchingTune()
    with signals.interrupting(), tune.runs(signals, steps=0):
        signal.raise_signal(signal.SIGINT)
        Gate(lambda: None, signals).on_step_begin(iteration=0, trials=[])
        assert (tune.heard, signals.count) == (1, 1)


def test_a_signal_between_two_stages_keeps_tune_from_running_the_second(signals: StopSignals) -> None:
    ran = []

    def sweep() -> None:
        with signals.interrupting():
            for stage in ("pretraining", ""):
                with CatchingTune().runs(signals):
                    ran.append(stage)
                    signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        sweep()
    assert ran == ["pretraining"]


def test_a_signal_before_tune_or_after_it_is_told_once(signals: StopSignals) -> None:
    """Nothing that follows the first is interrupted by it."""

    def sweep() -> None:
        with signals.interrupting():
            with CatchingTune().runs(signals):
                pass
            signal.raise_signal(signal.SIGINT)  # Tune's own, which it has left behind, would keep this for itself

    for _ in range(2):  # the second time it has come before
        with pytest.raises(KeyboardInterrupt):
            sweep()
        assert signals.count == 1
    signal.raise_signal(signal.SIGTERM)
    assert signals.hurried
