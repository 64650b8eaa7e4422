"""A frozen encoder against one that goes on learning, after the same pretraining."""

from __future__ import annotations

import math

import pytest

from energysweep.analysis import Observation, frozen_or_not
from tests.support.table import arrived, censored

FROZEN = {"from": "base", "freeze_encoder": True}
UNFROZEN = {"from": "base", "freeze_encoder": False}


def trials(frozen: list[float], unfrozen: list[float], **rest: object) -> list[Observation]:
    """A pretraining of 100 J, 30 J from scratch, and what each seed needs frozen and unfrozen, in 1 and 2 epochs.

    Every second seed needs twice as many either way, so that their spread says how far off they may be.
    """
    found = [Observation(stage="base", seed=seed, energy_joules=100.0) for seed in range(len(unfrozen))]
    for side, use, epochs in (([30.0] * len(unfrozen), None, 5), (frozen, FROZEN, 1), (unfrozen, UNFROZEN, 2)):
        parameters = {"pretrained": use, **rest}
        found += [
            arrived(joules, epochs * (1 + seed % 2), seed, parameters=parameters) for seed, joules in enumerate(side)
        ]
    return found


def test_what_a_frozen_use_takes_is_told_seed_by_seed() -> None:
    # ratios exp(-0.4), exp(-0.5) and exp(-0.6): a variance of 0.01, so 4.3027 * 0.1 / sqrt(3) = 0.2484 in logarithms
    unfrozen = [1.0, 10.0, 5.0]
    frozen = [joules * math.exp(-x) for joules, x in zip(unfrozen, (0.4, 0.5, 0.6), strict=True)]
    (found,) = frozen_or_not(trials(frozen, unfrozen))
    assert (found.frozen.frozen, found.unfrozen.frozen) == (True, False)
    assert found.ratio is not None
    assert found.ratio.energy.value == pytest.approx(math.exp(-0.5))
    assert found.ratio.energy.low == pytest.approx(math.exp(-0.5 - 0.24841), rel=1e-4)
    assert found.ratio.energy.high == pytest.approx(math.exp(-0.5 + 0.24841), rel=1e-4)
    assert (found.ratio.epochs.value, found.ratio.tied) == (pytest.approx(0.5), False)


def test_which_pays_sooner_may_be_clear_where_the_break_evens_overlap() -> None:
    (found,) = frozen_or_not(trials([4.5, 9.0, 18.0], [5.0, 10.0, 20.0]))
    assert found.ratio is not None
    assert found.ratio.energy.high == pytest.approx(0.9)
    assert (found.frozen.verdict, found.unfrozen.verdict) == ("pays", "may pay")
    assert found.frozen.high is not None
    assert found.unfrozen.low is not None
    assert found.frozen.high > found.unfrozen.low


def test_a_censored_trial_or_other_seeds_give_no_ratio() -> None:
    known = trials([4.0, 4.0], [5.0, 5.0])
    lost = censored(9.0, 9, 1, parameters={"pretrained": FROZEN})
    for others in ([*known[:-3], lost, *known[-2:]], known[:-1]):
        (found,) = frozen_or_not(others)
        assert found.ratio is None


def test_other_settings_are_compared_among_themselves() -> None:
    found = frozen_or_not([*trials([4.0, 4.0], [5.0, 5.0], lr=1), *trials([8.0, 8.0], [5.0, 5.0], lr=2)[2:]])
    ratios = [(each.frozen.settings, each.ratio.energy.value if each.ratio else None) for each in found]
    assert ratios == [({"lr": 1}, pytest.approx(0.8)), ({"lr": 2}, pytest.approx(1.6))]


def test_one_use_alone_is_set_against_nothing() -> None:
    only = [each for each in trials([4.0, 4.0], [5.0, 5.0]) if each.parameters.get("pretrained") != UNFROZEN]
    assert frozen_or_not(only) == ()
