"""What the dashboards ask about trials, per trial with its ``config`` and ``hardware``, over the time range."""

from __future__ import annotations

from energysweep.monitoring.queries import (
    SWEEP_EMISSIONS,
    SWEEP_ENERGY,
    TRIAL_EMISSIONS,
    TRIAL_ENERGY,
    TRIAL_INFO,
    TRIAL_RESULT,
    TRIAL_STARTUP_EMISSIONS,
    TRIAL_STARTUP_ENERGY,
    described,
    highest,
    in_startup,
    last,
    per_trial,
    share,
)

# Grafana fills a variable of many values in as a regular expression, escaped for PromQL.
TRIALS = 'sweep=~"$sweep", node=~"$node"'
INFO = 'sweep=~"$sweep", hardware=~"$hardware"'
SWEEPS = 'sweep=~"$sweep"'


def energy(info: str = INFO) -> str:
    """Joules."""
    return described(per_trial(highest(TRIAL_ENERGY, TRIALS)), last(TRIAL_INFO, info))


def estimated_energy(info: str = INFO) -> str:
    """Joules that come from a model."""
    return described(per_trial(highest(TRIAL_ENERGY, f'{TRIALS}, source="estimate"')), last(TRIAL_INFO, info))


def emissions(info: str = INFO) -> str:
    """Grams of CO2e."""
    return described(per_trial(highest(TRIAL_EMISSIONS, TRIALS)), last(TRIAL_INFO, info))


def charged_energy(by: str) -> str:
    """Joules of whole sweeps: trials, start-up and overhead, whether or not their trials have series within the range.

    Of a Tuner of one's own no driver tells: all its trials within the range with their start-up, whichever are chosen.
    """
    of_driver, of_trials = _charged_energy(SWEEPS)
    return f"sum by ({by}) ({of_driver}) or sum by ({by}) ({of_trials})"


def charged_emissions(by: str) -> str:
    """Grams of CO2e of whole sweeps, like their joules."""
    of_trials = _with_startup(highest(TRIAL_EMISSIONS, SWEEPS), highest(TRIAL_STARTUP_EMISSIONS, SWEEPS))
    return f"sum by ({by}) ({highest(SWEEP_EMISSIONS, SWEEPS)}) or sum by ({by}) ({of_trials})"


def charged_estimated_part(by: str) -> str:
    """The part of whole sweeps' joules that comes from a model, 0 where all was measured."""
    estimated = _charged_energy(f'{SWEEPS}, source="estimate"')
    parts = (
        share(f"sum by ({by}) ({part})", f"sum by ({by}) ({whole})")
        for part, whole in zip(estimated, _charged_energy(SWEEPS), strict=True)
    )
    return " or ".join(parts)


def _charged_energy(where: str) -> tuple[str, str]:
    """Joules of whole sweeps: as a driver tells, and as trials tell, which is without overhead."""
    of_trials = _with_startup(highest(TRIAL_ENERGY, where), highest(TRIAL_STARTUP_ENERGY, where))
    return highest(SWEEP_ENERGY, where), of_trials


def _with_startup(work: str, startup: str) -> str:
    """Both beside each other, to be summed up."""
    return f"{work} or {in_startup(startup)}"


def objective(info: str = INFO) -> str:
    """The last value of the chosen metric; of a trial that moved, the larger of its nodes' last values."""
    result = last(TRIAL_RESULT, f'{TRIALS}, metric="$metric"')
    return described(f"max by (sweep, trial) ({result})", last(TRIAL_INFO, info))


def estimated_part(by: str) -> str:
    """The part of the joules that comes from a model, 0 where all was measured."""
    return share(f"sum by ({by}) ({estimated_energy()})", f"sum by ({by}) ({energy()})")
