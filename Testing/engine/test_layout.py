"""What is no set of classes: images beside their masks; and .npz files that claim what they are not."""

import io
import os
import pickle
import struct
import zipfile

import numpy as np
import PIL.Image
import pytest

from llmboost.errors import LLMBoostError
from llmboost.io import npz
from llmboost.io.imageset import read_image_set

from .class_samples import three_splits, write_npz


def gray(path, seed=0, values=None):
    """A picture of noise, or of two values as a mask has."""
    noise = np.random.default_rng(seed).integers(0, 255, (12, 12))
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray((noise if values is None else np.array(values)[noise % len(values)]).astype(np.uint8)).save(
        path
    )


def refusal(path):
    with pytest.raises(LLMBoostError) as error:
        read_image_set(path)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"{path}")
    return str(error.value)


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("images", "masks"),
        ("Image", "Mask"),
        ("img", "label"),
        ("imgs", "annotations"),
        ("JPEGImages", "SegmentationClass"),
        ("images", "ground_truth"),
        ("train_images", "train_masks"),
        ("leftImg8bit", "gtFine"),
        ("images", "labels"),
    ],
)
@pytest.mark.parametrize("layout", ["{kind}", "train/{kind}", "{kind}/train"])
def test_folders_called_as_images_and_masks_are(tmp_path, images, masks, layout):
    for n in range(6):
        gray(tmp_path / layout.format(kind=images) / f"{n}.png", n)
        gray(tmp_path / layout.format(kind=masks) / f"{n}.png", n, [0, 255])
    line = refusal(tmp_path)
    assert f"'{images}' and '{masks}' are images and their masks, not two classes" in line
    assert "imagesTr" in line


def test_whatever_they_are_called(tmp_path):
    """By their files: the names pair, and one of each pair is a mask."""
    for split in ("train", "val"):
        for n in range(6):
            gray(tmp_path / split / "p" / f"{n}.png", n)
            gray(tmp_path / split / "q" / f"{n}_mask.png", n, [0, 1, 2])
    assert "'p' and 'q' are images and their masks" in refusal(tmp_path)


def test_masks_beside_their_images(tmp_path):
    """As the breast ultrasound data set BUSI is laid out."""
    for name in ("benign", "malignant"):
        for n in range(6):
            gray(tmp_path / name / f"{name} ({n}).png", n)
            gray(tmp_path / name / f"{name} ({n})_mask.png", n, [0, 255])
    line = refusal(tmp_path)
    assert "benign (0)_mask.png is the mask of benign (0).png" in line


def test_classes_are_still_classes(tmp_path):
    """Names that pair and masks of both classes, or images of both, are no images with their masks."""
    for values, folder in ((None, "noise"), ([0, 1], "masks")):
        for name in ("a", "b"):
            for n in range(6):
                gray(tmp_path / folder / name / f"case{n}.png", n + 10 * (name == "b"), values)
        assert read_image_set(tmp_path / folder).classes == ("a", "b")


def test_gaps_are_told(tmp_path):
    for name, count in (("cat", 8), ("dog", 1), ("owl", 8)):
        for n in range(count):
            gray(tmp_path / "train" / name / f"{name}{n}.png", n)
    for name in ("cat", "dog", "yak"):
        gray(tmp_path / "val" / name / "x.png", 3)
    notes = read_image_set(tmp_path).notes
    assert notes == (
        "one training image of class 'dog': it can hardly be learned; add some",
        "no validation image of class 'owl': how well it is learned will not be measured",
        "no training image of class 'yak': it cannot be learned; add some, or take it out",
    )


def test_one_class_twice(tmp_path):
    for name in ("Cat", "cat ", "dog"):
        for n in range(6):
            gray(tmp_path / name / f"{n}.png", n)
    assert "are both called" in refusal(tmp_path)


# -- .npz


def header(shape, descr="|u1"):
    text = str({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def with_array(path, name, data):
    """The small data set with one array replaced by these bytes."""
    write_npz(path, three_splits())
    with zipfile.ZipFile(path) as file:
        entries = {entry: file.read(entry) for entry in file.namelist()}
    entries[f"{name}.npy"] = data
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for entry, content in entries.items():
            file.writestr(entry, content)
    return path


def npy(array):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=True)
    return stream.getvalue()


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (header((10**9, 64, 64)), "claims 4096000000000 bytes"),
        (header((2**62, 2**62)), "claims"),
        (header((-1, 5)), "has no shape"),
        (header((True, 5)), "has no shape"),
        (header((5, 5), "O") + pickle.dumps(Evil()), "holds Python's objects"),
        (npy(np.array([Evil()], object)), "holds Python's objects"),
        (b"\x93NUMPY\x01\x00\x10\x00" + b"(" * 16, "cannot be read"),
        (b"\x93NUMPY\x09\x00", "cannot be read"),
        (b"", "cannot be read"),
        (pickle.dumps(Evil()), "cannot be read"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_arrays_that_claim_what_they_are_not(tmp_path, monkeypatch, data, text):
    monkeypatch.chdir(tmp_path)
    assert text in refusal(with_array(tmp_path / "x.npz", "train_images", data))
    assert not (tmp_path / "evil").exists()


def test_a_file_that_unpacks_to_far_more_than_it_is(tmp_path, monkeypatch):
    """Zeros, 1000 times their size; whatever is that small is no danger, so that the limit is lowered."""
    path = with_array(tmp_path / "x.npz", "train_images", header((2**10, 256, 256)) + bytes(2**26))
    monkeypatch.setattr(npz, "GB", 2**20)
    assert "more than its size or this machine's memory allow" in refusal(path)
    monkeypatch.setattr(npz, "total_memory", lambda: 2**20)
    assert "more than its size or this machine's memory allow" in refusal(
        write_npz(tmp_path / "y.npz", three_splits(counts=(4000, 9, 9)))
    )


@pytest.mark.parametrize("value", [2**40, 70000, 2**63, -1])
def test_classes_beyond_reason(tmp_path, value):
    splits = three_splits()
    labels = splits["train"][1].astype(np.uint64 if value == 2**63 else np.int64)
    labels[0] = value
    splits["train"] = splits["train"][0], labels
    line = refusal(write_npz(tmp_path / "x.npz", splits))
    assert "labels are classes from 0 to 999" in line or "are not numbers of classes" in line


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "no valid JSON"),
        ('{"ordinal": 1}', '"ordinal" is true or false'),
        ('{"positive": ["large"]}', '"positive" must be text'),
        ('{"classes": [1, 2]}', '"classes" must list'),
        ('{"classes": ["a", "a "]}', "are both called"),
        ('{"classes": ["a", "b\\u0000"]}', "cannot be called"),
    ],
    ids=lambda value: value[:30],
)
def test_descriptions_that_are_none(tmp_path, text, reason):
    path = write_npz(tmp_path / "x.npz", three_splits())
    path.with_suffix(".json").write_text(text)
    with pytest.raises(LLMBoostError) as error:
        read_image_set(path)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)
    path.with_suffix(".json").write_bytes('\ufeff{"classes": ["small", "large"]}'.encode())
    assert read_image_set(path).classes == ("small", "large")
