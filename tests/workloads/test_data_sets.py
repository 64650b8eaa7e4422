"""Data sets in their published layouts: what is read, and what is refused with the place and the reason."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from energysweep.core.errors import InputError
from energysweep.workloads import celeba, images, pamap2, sensors, text
from energysweep.workloads.data import Data
from energysweep.workloads.sensors import read_ts
from tests.support import published


def targets(data: Data, task: str) -> tuple[list[int], list[int]]:
    return data.train_targets[task].tolist(), data.test_targets[task].tolist()


# --- PAMAP2 ----------------------------------------------------------------------------------------------------------


def test_pamap2_is_cut_into_windows_within_an_activity(tmp_path: Path) -> None:
    data = pamap2.load(published.pamap2(tmp_path), window=50, stride=25)
    # Of 300 readings 240 are for training: windows begin at 0, 25 ... 175 and 190 is too late: 8; of 60, one at 0.
    assert data.train_inputs.shape == (2 * 2 * 8, 27, 50)
    assert data.test_inputs.shape == (2 * 2 * 1, 27, 50)
    assert targets(data, "activity")[0] == [0] * 8 + [1] * 8 + [0] * 8 + [1] * 8
    assert targets(data, "subject")[1] == [0, 0, 1, 1]
    assert data.classes == {"activity": 2, "subject": 2}
    assert data.train_inputs.mean(dim=(0, 2)).abs().max() < 1e-5
    assert (data.train_inputs.std(dim=(0, 2)) - 1).abs().max() < 1e-2


def test_the_channels_of_pamap2_are_those_of_its_description() -> None:
    # Hand: columns 4 to 20 counted from 1; temperature, acceleration 16 g (5-7), 6 g (8-10), gyroscope (11-13),
    # magnetometer (14-16). Chest and ankle begin 17 and 34 columns later.
    hand = [5, 6, 7, 11, 12, 13, 14, 15, 16]
    assert [channel + 1 for channel in pamap2.CHANNELS] == [
        column + begin for begin in (0, 17, 34) for column in hand
    ]  # fmt: skip


def test_a_short_gap_of_the_radio_is_bridged_and_a_long_one_ends_a_stretch() -> None:
    table = np.zeros((400, 2 + 27))
    table[:, 0] = np.arange(400) / 100
    table[:, 1] = 4
    table[:, 2] = np.arange(400)
    table[10:20, 2] = np.nan  # a tenth of a second
    table[100:250, 2] = np.nan  # one and a half
    (first, before), (second, after) = list(pamap2.stretches(table))
    assert (first, second) == (4, 4)
    assert before[:, 0].tolist() == list(range(100))
    assert after[:, 0].tolist() == list(range(250, 400))


def test_a_short_gap_in_a_file_of_pamap2_is_bridged(tmp_path: Path) -> None:
    acceleration = 4  # of the hand, along x: the first channel
    root = published.pamap2(tmp_path / "gap", missing=dict.fromkeys(range(100, 110), (acceleration,)))
    table = pamap2.read_subject(root / "Protocol" / "subject101.dat")
    assert np.flatnonzero(np.isnan(table[:, 2])).tolist() == list(range(100, 110))
    assert not np.isnan(table[:, 3:]).any()

    # Lying is lines 20 to 319, so windows at 75 and 100, lines 95 to 144 and 120 to 169: the gap is in the first, and
    # in those at 50 and 75 only.
    data, whole = pamap2.load(root, 50, 25), pamap2.load(published.pamap2(tmp_path / "whole"), 50, 25)
    assert torch.isfinite(data.train_inputs).all()
    assert torch.equal(data.train_inputs[:, 1:], whole.train_inputs[:, 1:])
    bridged = data.train_inputs[3, 0, 4:16]  # from the reading before, line 99, to the one after, line 110
    assert torch.allclose(bridged.diff(), bridged.diff().mean().expand(11), atol=1e-5)
    assert not torch.allclose(whole.train_inputs[3, 0, 4:16].diff(), bridged.diff(), atol=1e-2)
    assert data.train_inputs.shape == whole.train_inputs.shape


def test_a_long_gap_in_a_file_of_pamap2_is_in_no_window(tmp_path: Path) -> None:
    data = pamap2.load(published.pamap2(tmp_path, missing=dict.fromkeys(range(400, 550), (4,))), 50, 25)
    assert torch.isfinite(data.train_inputs).all()
    # Walking is lines 340 to 639. Before the gap 60 readings: 48 and 12 make no window. After it 90: 72 make one.
    assert targets(data, "activity") == ([0] * 8 + [1] * 1 + [0] * 8 + [1] * 8, [0, 0, 1])
    assert targets(data, "subject")[1] == [0, 1, 1]


def test_what_is_missing_in_a_column_of_pamap2_that_is_not_used_does_not_matter(tmp_path: Path) -> None:
    temperature, saturates, orientation = 3, 7, 16
    every_line = dict.fromkeys(range(700), (temperature, saturates, orientation))
    data = pamap2.load(published.pamap2(tmp_path / "some", missing=every_line), 50, 25)
    whole = pamap2.load(published.pamap2(tmp_path / "whole"), 50, 25)
    assert torch.equal(data.train_inputs, whole.train_inputs)
    assert torch.equal(data.test_inputs, whole.test_inputs)


def test_a_sensor_of_pamap2_that_said_nothing_leaves_no_window(tmp_path: Path) -> None:
    root = published.pamap2(tmp_path, subjects=(101,), missing=dict.fromkeys(range(700), (4,)))
    with pytest.raises(InputError, match="long enough for windows of 50 readings"):
        pamap2.load(root, 50, 25)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda line: line.rpartition(" ")[0], "subject101.dat:31: 53 columns instead of 54"),
        (lambda line: line + " 1.0", "subject101.dat:31: 55 columns instead of 54"),
        (lambda line: line[: len(line) // 2], "the file is cut off, or none of PAMAP2's"),
        (lambda line: line.replace(" ", " x", 1), "subject101.dat: holds something else than numbers"),
        (lambda line: "NaN" + line[line.index(" ") :], "lacks a time or an activity"),
    ],
)
def test_a_damaged_line_of_pamap2_is_named(tmp_path: Path, change: object, message: str) -> None:
    root = published.pamap2(tmp_path)
    path = root / "Protocol" / "subject101.dat"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:30], change(lines[30])]))
    with pytest.raises(InputError, match=message):
        pamap2.load(root, 50, 25)


def test_pamap2_without_its_files_says_where_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no subject\*.dat. Get PAMAP2_Dataset.zip from https"):
        pamap2.load(tmp_path, 50, 25)
    with pytest.raises(InputError, match="long enough for windows of 5000 readings"):
        pamap2.load(published.pamap2(tmp_path), 5000, 25)


# --- CelebA ----------------------------------------------------------------------------------------------------------


def test_celeba_is_read_with_its_partition_and_attributes(tmp_path: Path) -> None:
    data = celeba.load(published.celeba(tmp_path), size=16)
    assert data.train_inputs.shape == (8, 3, 16, 16)
    assert data.test_inputs.shape == (2, 3, 16, 16)  # the two for validation are not used
    assert data.train_inputs.dtype == torch.uint8
    assert targets(data, "Smiling") == ([0, 1] * 4, [0, 1])
    assert targets(data, "Male") == ([0, 0, 1, 0, 0, 1, 0, 0], [0, 1])
    assert list(data.classes) == published.NAMES
    bright = data.train_inputs.float().mean(dim=(1, 2, 3)) > 100
    assert bright.long().tolist() == targets(data, "Smiling")[0]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "list_attr_celeba.txt",
            lambda text: text.rpartition(" ")[0],
            "14: 2 attributes instead of 3: the file is cut",
        ),
        (
            "list_attr_celeba.txt",
            lambda text: "\n".join(text.splitlines()[:-2]),
            "holds 10 pictures and should hold 12",
        ),
        ("list_attr_celeba.txt", lambda text: text.replace(" 1\n", " 2\n", 1), "an attribute is 1 or -1, not 2"),
        ("list_attr_celeba.txt", lambda text: text.partition("\n")[2], "must begin with the number of pictures"),
        ("list_eval_partition.txt", lambda text: text.replace(" 2", " 7", 1), "a line is a picture and 0, 1 or 2"),
        ("list_eval_partition.txt", lambda text: "\n".join(text.splitlines()[1:]), "says nothing about 000001.jpg"),
        ("list_eval_partition.txt", lambda text: text.replace(" 2", " 1"), "none for testing"),
    ],
)
def test_a_damaged_list_of_celeba_is_named(tmp_path: Path, name: str, change: object, message: str) -> None:
    path = published.celeba(tmp_path) / name
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError, match=message) as caught:
        celeba.load(path.parent, 16)
    assert caught.value.file == str(path)


@pytest.mark.parametrize("damage", ["cut off", "missing"])
def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path, damage: str) -> None:
    picture = published.celeba(tmp_path) / "img_align_celeba" / "000003.jpg"
    if damage == "missing":
        picture.unlink()
    else:
        picture.write_bytes(picture.read_bytes()[: picture.stat().st_size // 2])
    with pytest.raises(InputError, match=r"000003.jpg: (there is no such|is no picture that can be read whole)"):
        celeba.load(tmp_path / "celeba", 16)


def test_a_missing_list_says_where_to_get_it(tmp_path: Path) -> None:
    root = published.celeba(tmp_path)
    (root / "list_eval_partition.txt").unlink()
    with pytest.raises(
        InputError, match=r"list_eval_partition.txt: is missing from CelebA's folder. Get .*https://mmlab"
    ):
        celeba.load(root, 16)


# --- others ----------------------------------------------------------------------------------------------------------


def test_small_digits_have_each_digit_in_both_parts() -> None:
    data = images.load_small_digits()
    assert len(data.train_inputs) + len(data.test_inputs) == 1797
    assert data.train_inputs.shape[1:] == (1, 8, 8)
    assert data.train_inputs.max() == 1.0
    assert data.test_targets["digit"].bincount().min() >= 35
    assert torch.equal(data.test_targets["parity"], data.test_targets["digit"] % 2)


def test_a_folder_of_pictures_has_a_class_for_each_folder(tmp_path: Path) -> None:
    for number in range(10):
        for name, color in (("cats", (250, 0, 0)), ("dogs", (0, 0, 250))):
            (tmp_path / name).mkdir(exist_ok=True)
            PIL.Image.new("RGB", (20, 30), color).save(tmp_path / name / f"{number}.png")
    data = images.load_folder(tmp_path, 8)
    assert targets(data, "label") == ([0] * 8 + [1] * 8, [0, 0, 1, 1])
    assert data.test_inputs[:, 0, 0, 0].tolist() == [250, 250, 0, 0]


def test_a_folder_without_two_classes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    with pytest.raises(InputError, match="at least two"):
        images.load_folder(tmp_path, 8)


def test_an_npz_file_holds_images_and_labels(tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    names = np.array(["b", "a"] * 10)
    np.savez(path, images=np.zeros((20, 6, 5, 3), np.uint8), labels=names, labels_size=np.arange(20) % 3)
    data = images.load_npz(path)
    assert data.train_inputs.shape == (16, 3, 6, 5)
    assert data.classes == {"label": 2, "size": 3}
    assert data.test_targets["label"].tolist() == [1, 0] * 2  # a is 0
    np.savez(path, images=np.zeros((20, 6, 5)), labels=names[1:])
    with pytest.raises(InputError, match="the labels of label must be one for each of images"):
        images.load_npz(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"is no \.npz file"):
        images.load_npz(path)


def test_a_ts_file_is_read_as_recordings_of_channels(tmp_path: Path) -> None:
    path = tmp_path / "Tiny.ts"
    path.write_text(published.TS)
    recordings, labels = read_ts(path)
    assert labels == ["Standing", "Running"]
    assert recordings[1].tolist() == [[7, 8, 9], [1, 0, -1.5]]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("7,8,9:1,0,-1.5:Running", "7,8,9:1,0", "12: .*instead of"),
        ("7,8,9:1,0,-1.5:Running", "7,8:1,0:Running", "12: .* instead of"),
        ("4,5,6", "4,?,6", "no numbers"),
        ("4,5,6", "4,NaN,6", "11: a reading is missing"),
        (":Running", ":Swimming", "the class Swimming is none of"),
        ("@dimensions 2", "@dimensions 3", "@ says"),
        ("@data", "@dat", "no recordings after @data"),
    ],
)
def test_a_damaged_ts_file_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "Tiny.ts"
    path.write_text(published.TS.replace(old, new))
    with pytest.raises(InputError, match=message) as caught:
        read_ts(path)
    assert caught.value.file == str(path)


def test_basic_motions_keeps_test_recordings_apart() -> None:
    data = sensors.load("basic-motions", 50, 10)
    # 40 recordings of 100 readings each for training and for testing: windows at 0, 10 ... 50.
    assert data.train_inputs.shape == data.test_inputs.shape == (240, 6, 50)
    assert data.train_targets["activity"].bincount().tolist() == [60] * 4
    assert data.test_targets["moving"].bincount().tolist() == [60, 180]
    assert data.test_targets["vigorous"].bincount().tolist() == [120, 120]


def test_without_aeon_basic_motions_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aeon", None)  # how Python marks a package that cannot be imported
    with pytest.raises(InputError, match="aeon, which is not installed: pip install --no-deps aeon"):
        sensors.load("basic-motions", 50, 10)


def test_a_text_s_targets_are_the_bytes_after(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(bytes(range(100)))
    data = text.load(str(path), 4)
    # 90 bytes for training: 22 pieces of 4, each with a byte after; 10 for testing: 2.
    assert data.train_inputs[1].tolist() == [4, 5, 6, 7]
    assert data.train_targets["next_byte"][1].tolist() == [5, 6, 7, 8]
    assert data.test_inputs.tolist() == [[90, 91, 92, 93], [94, 95, 96, 97]]
    with pytest.raises(InputError, match="has 100 bytes; contexts of 64 need at least 650"):
        text.load(str(path), 64)


@pytest.mark.parametrize(("load", "says"), [
    (lambda: images.load("celeba", 64), "mmlab.ie.cuhk.edu.hk"),
    (lambda: sensors.load("pamap2", 50, 10), "archive.ics.uci.edu"),
    (lambda: text.load("poems.txt", 50), "a file of your own"),
])  # fmt: skip
def test_a_missing_data_set_says_where_to_get_it_and_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: object, says: str
) -> None:
    monkeypatch.setenv("ENERGYSWEEP_DATA", str(tmp_path / "here"))
    with pytest.raises(InputError) as caught:
        load()
    assert says in str(caught.value)
    assert str(tmp_path / "here") in str(caught.value)
    assert "ENERGYSWEEP_DATA" in str(caught.value)
    assert "Nothing is downloaded" in str(caught.value)
