"""Where Ray's chatter goes."""

from __future__ import annotations

import logging
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
