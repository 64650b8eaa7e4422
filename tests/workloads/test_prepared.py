"""Data sets that were decoded once: the same tensors, not decoded again, and anew when their files have changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from energysweep.core.errors import InputError
from energysweep.workloads import celeba, images, pamap2, prepare, sensors
from energysweep.workloads.data import Data, prepared
from tests.support import published


def same(first: Data, second: Data) -> bool:
    return (
        first.classes == second.classes
        and list(first.classes) == list(second.classes)
        and torch.equal(first.train_inputs, second.train_inputs)
        and torch.equal(first.test_inputs, second.test_inputs)
        and all(torch.equal(first.train_targets[task], second.train_targets[task]) for task in first.classes)
        and all(torch.equal(first.test_targets[task], second.test_targets[task]) for task in first.classes)
    )


def kept(root: Path) -> list[Path]:
    return sorted(root.rglob("data.json"))


class Counted:
    """Decodes data of a few bytes, and counts how often."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> Data:
        self.times += 1
        inputs = torch.full((4, 3), self.times, dtype=torch.uint8)
        targets = {"label": torch.tensor([0, 1, 0, 1])}
        return Data(inputs, targets, inputs[:2], {"label": targets["label"][:2]}, {"label": 2})


def test_celeba_is_decoded_once_and_read_from_disk_as_it_was_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENERGYSWEEP_DATA", str(tmp_path))
    root = published.celeba(tmp_path)
    fresh = celeba.load(root, 16)
    assert same(images.load("celeba", 16), fresh)
    assert len(kept(root)) == 1
    times = [path.stat().st_mtime_ns for path in kept(root)[0].parent.iterdir()]
    assert same(images.load("celeba", 16), fresh)
    assert times == [path.stat().st_mtime_ns for path in kept(root)[0].parent.iterdir()]  # none was written again
    assert images.load("celeba", 8).train_inputs.shape == (8, 3, 8, 8)
    assert len(kept(root)) == 2


def test_pamap2_is_decoded_once_for_each_window_and_read_as_it_was_decoded(tmp_path: Path) -> None:
    root = published.pamap2(tmp_path)
    assert same(sensors.load(str(root), 50, 25), pamap2.load(root, 50, 25))
    assert sensors.load(str(root), 60, 25).train_inputs.shape[2] == 60
    assert len(kept(root)) == 2


def test_a_picture_that_was_changed_added_or_removed_is_seen(tmp_path: Path) -> None:
    for number in range(10):
        for name, red in (("cats", 250), ("dogs", 0)):
            (tmp_path / name).mkdir(exist_ok=True)
            PIL.Image.new("RGB", (8, 8), (red, 0, 0)).save(tmp_path / name / f"{number}.png")
    assert images.load(str(tmp_path), 8).test_inputs[:, 0, 0, 0].tolist() == [250, 250, 0, 0]
    PIL.Image.new("RGB", (8, 8), (99, 5, 5)).save(tmp_path / "cats" / "0.png")
    assert images.load(str(tmp_path), 8).test_inputs[:, 0, 0, 0].tolist() == [99, 250, 0, 0]
    (tmp_path / "dogs" / "9.png").unlink()
    assert len(images.load(str(tmp_path), 8).train_inputs) == 15
    (tmp_path / "dogs" / "8.png").rename(tmp_path / "dogs" / "9.png")
    images.load(str(tmp_path), 8)
    assert len(kept(tmp_path)) == 1  # what is out of date does not stay


def test_an_npz_file_that_was_written_again_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    for white in (7, 9):
        np.savez(path, images=np.full((20, 6, 5), white, np.uint8), labels=np.arange(20) % 2)
        assert images.load(str(path), 64).train_inputs.max() == white


def test_decoded_data_are_kept_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = Counted()
    sources = [tmp_path / name for name in ("one", "two")]
    for source in sources:
        source.mkdir()
        (source / "file").write_text("the same")
    monkeypatch.setenv("ENERGYSWEEP_CACHE", str(tmp_path / "cache"))
    values = [prepared(source, "x", [source], decode).train_inputs[0, 0].item() for source in (*sources, *sources)]
    assert values == [1, 2, 1, 2]  # two folders are two data sets
    assert len(kept(tmp_path / "cache")) == 2
    assert kept(tmp_path / "one") == kept(tmp_path / "two") == []


def test_data_that_cannot_be_kept_are_not_decoded_in_vain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("ENERGYSWEEP_CACHE", str(tmp_path / "file"))
    decode = Counted()
    with pytest.raises(InputError, match=r"cannot be kept here .*ENERGYSWEEP_CACHE"):
        prepared(tmp_path, "x", [], decode)
    assert decode.times == 0


def test_a_decoding_that_fails_leaves_nothing(tmp_path: Path) -> None:
    root = published.celeba(tmp_path)
    picture = root / "img_align_celeba" / "000003.jpg"
    picture.write_bytes(picture.read_bytes()[:500])
    with pytest.raises(InputError, match=r"000003.jpg: is no picture"):
        images.load(str(root), 16)
    assert [path.name for path in (root / ".energysweep").rglob("*")] == ["celeba-16"]


def test_one_who_was_faster_is_right(tmp_path: Path) -> None:
    others = Counted()

    def decode() -> Data:
        data = prepared(tmp_path, "x", [], others)  # while this one is at it
        return Data(data.train_inputs + 9, data.train_targets, data.test_inputs, data.test_targets, data.classes)

    assert prepared(tmp_path, "x", [], decode).train_inputs[0, 0] == 1
    assert others.times == 1
    assert len(list((tmp_path / ".energysweep" / "x").iterdir())) == 1


def test_the_full_study_s_data_are_prepared_by_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ENERGYSWEEP_DATA", str(tmp_path))
    published.celeba(tmp_path, more=("Eyeglasses",))
    published.pamap2(tmp_path, readings=3000).rename(tmp_path / "pamap2")
    sweeps = sorted(map(str, (Path(__file__).parents[2] / "sweeps" / "study" / "full").glob("*.yaml")))
    assert len(sweeps) == 5
    assert prepare.main(sweeps) == 0
    said = capsys.readouterr().out
    # Of 3000 readings 2400 are for training: windows of 512 begin at 0, 100 ... 1800; of 600, one.
    assert [line.rpartition(",")[0] for line in said.splitlines()] == [
        "celeba: 8 + 2 examples of shape (3, 64, 64)",
        "pamap2: 76 + 4 examples of shape (27, 512)",
    ]
    assert len(kept(tmp_path)) == 2


def test_preparing_takes_the_settings_of_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENERGYSWEEP_DATA", str(tmp_path))
    root = published.celeba(tmp_path)
    sweep = str(Path(__file__).parents[2] / "sweeps" / "study" / "full" / "baseline-images.yaml")
    assert prepare.main([sweep, "--set", "parameters.image_size=8"]) == 0
    assert [path.parent.parent.name for path in kept(root)] == ["celeba-8"]
    with pytest.raises(InputError, match="image_siz"):
        prepare.main([sweep, "--set", "parameters.image_siz=8"])


def test_preparing_finds_a_task_that_the_data_has_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENERGYSWEEP_DATA", str(tmp_path))
    published.celeba(tmp_path)
    sweep = str(Path(__file__).parents[2] / "sweeps" / "study" / "full" / "pretraining.yaml")
    with pytest.raises(InputError, match="has no task Eyeglasses; there are 5_o_Clock_Shadow, Male, Smiling"):
        prepare.main([sweep])


def test_data_that_are_not_there_are_one_line_and_exit_code_2(tmp_path: Path) -> None:
    sweep = Path(__file__).parents[2] / "sweeps" / "study" / "full" / "baseline-sensors.yaml"
    command = [sys.executable, "-m", prepare.__name__, str(sweep)]
    environment = os.environ | {"ENERGYSWEEP_DATA": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "the data set 'pamap2' is not there" in line
