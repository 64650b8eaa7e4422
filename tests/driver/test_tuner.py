from __future__ import annotations

import pytest
from ray.air._internal import usage
from ray.tune import Callback

from energysweep.driver.tuner import _uncounted


def test_nothing_is_imported_to_count_callbacks_for_statistics_that_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    rays_own = usage.tag_callbacks
    with _uncounted():
        assert usage.tag_callbacks is not rays_own
        assert usage.tag_callbacks([Callback()]) is False
    assert usage.tag_callbacks is rays_own


def test_who_has_turned_ray_s_statistics_on_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    rays_own = usage.tag_callbacks
    with _uncounted():
        assert usage.tag_callbacks is rays_own
