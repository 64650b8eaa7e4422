"""docs/analysis.md says what is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from energysweep import analysis

DOCUMENT = (Path(__file__).parent.parent.parent / "docs" / "analysis.md").read_text(encoding="utf-8")


def test_its_example_runs_and_shows_the_product(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)
    exec(compile(code, "docs/analysis.md", "exec"), {})  # noqa: S102  # our own document
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith("Estimate(value=64.8")
    energy, epochs, joules_per_epoch = (float(each) for each in re.findall(r"\d+\.\d+", second))
    assert energy == pytest.approx(epochs * joules_per_epoch)
    # epochs 30 and 34 against 5 and 6, in geometric means
    assert f"value={(30 * 34 / 30) ** 0.5:.6f}"[:12] in third


def test_every_function_is_documented() -> None:
    functions = [name for name in analysis.__all__ if name[0].islower()]
    assert [name for name in functions if f"`{name}(" not in DOCUMENT] == []
