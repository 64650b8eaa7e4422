"""What the README shows of the quickstart is what the program says of a run that was recorded."""

from __future__ import annotations

from energysweep.sweepfile import load_spec, points
from tests.support.quickstart import README, quoted, recorded, sentence


def test_the_readme_s_sentence_is_the_program_s_of_the_recorded_run() -> None:
    assert quoted() == sentence(recorded()), "CONTRIBUTING.md says how a run is recorded"


def test_the_recorded_run_is_one_of_the_quickstart_as_it_is() -> None:
    planned = points(load_spec(README.parent / "sweeps" / "quickstart.yaml"))
    data = recorded()
    assert data.run["status"] == "done"
    assert [row.status for row in data.trials] == ["completed"] * len(planned)
    assert sorted(str(row.parameters) for row in data.trials) == sorted(str(point.parameters) for point in planned)
    assert {row.metrics.keys() <= {"accuracy"} for row in data.results} == {True}
