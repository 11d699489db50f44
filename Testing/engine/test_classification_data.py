"""Labeled images on disk: what is read from .npz files and folders, and what is refused."""

import json
import re

import numpy as np
import PIL.Image
import pytest

from llmboost.card import Normalization, Preprocessing
from llmboost.errors import LLMBoostError
from llmboost.inference.classifier_input import classifier_input
from llmboost.io.image import Image, write_image
from llmboost.io.imageset import is_image_set, read_image_set

from .class_samples import pictures, three_splits, volumes, write_npz
from .dicom_samples import write_picture as write_dicom_picture
from .dicom_samples import write_series

GRAY = Preprocessing(patch_size=(16, 16, 1))
COLOR = Preprocessing(3, patch_size=(16, 16, 1), normalization=(Normalization(),) * 3, color=True)
PLACE = ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3))


def write_picture(path, seed=0, color=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (14, 18, 3), dtype=np.uint8)
    PIL.Image.fromarray(pixels if color else pixels[..., 0]).save(path)
    return pixels


def write_volume(path, seed=0, shape=(6, 7, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(seed).integers(0, 99, shape).astype(np.int16)
    write_image(Image(array, *PLACE), path)
    return array


def write_folder(root, counts, extension="png", write=write_picture):
    """``counts`` images for each path below ``root``."""
    for path, count in counts.items():
        for n in range(count):
            write(root / path / f"case{n}.{extension}", seed=n)
    return root


def refusal(path):
    """The one line with which a data set is refused."""
    with pytest.raises(LLMBoostError) as caught:
        read_image_set(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def counts_of(data):
    return {split: len(samples) for split, samples in data.splits.items()}


# -- MedMNIST's files --------------------------------------------------------------------------------------------------


def test_gray_pictures(tmp_path):
    images = three_splits(counts=(6, 4, 2))
    data = read_image_set(write_npz(tmp_path / "discs.npz", images))
    assert (data.name, data.classes, data.positive) == ("discs", ("class 0", "class 1"), "class 1")
    assert (data.flat, data.color, data.size) == (True, False, 16)
    assert (data.multi_label, data.ordinal, data.license) == (False, False, "")
    assert counts_of(data) == {"train": 6, "val": 4, "test": 2}
    assert [sample.target for sample in data.split("train")] == [(1, 0), (0, 1)] * 3
    assert [sample.id for sample in data.split("test")] == ["test_0", "test_1"]


@pytest.mark.parametrize("color", [False, True])
def test_a_stored_picture_is_seen_as_its_file_would_be(tmp_path, color):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 255, (4, 16, 16, 3) if color else (4, 16, 16), dtype=np.uint8)
    labels = np.array([[0], [1]] * 2)
    data = read_image_set(write_npz(tmp_path / "some.npz", {"train": (pixels, labels), "val": (255 - pixels, labels)}))
    assert data.color == color
    steps = COLOR if color else GRAY
    PIL.Image.fromarray(pixels[2]).save(tmp_path / "picture.png")
    write_folder(tmp_path / "set", {"b": 5}, write=lambda path, seed: write_picture(path, seed, color))
    write_folder(tmp_path / "set", {"a": 5}, write=lambda path, seed: write_picture(path, seed, color))
    PIL.Image.fromarray(pixels[2]).save(tmp_path / "set" / "a" / "case0.png")
    first = read_image_set(tmp_path / "set").split("train")[0]
    assert first.id == "a/case0.png"
    stored, read = (
        classifier_input(sample.read(steps), steps, "square")[0] for sample in (data.split("train")[2], first)
    )
    assert stored.shape == (1, 3 if color else 1, 16, 16, 1)
    np.testing.assert_allclose(stored, read, atol=1e-5)
    # columns run to the left, rows to the back, as in an image of that identity direction
    assert (
        np.corrcoef(stored[0, 0, ::-1, ::-1, 0].T.ravel(), pixels[2].reshape(16, 16, -1)[..., 0].ravel())[0, 1] > 0.99
    )


def test_volumes_are_as_they_are_stored(tmp_path):
    images = three_splits(volumes, counts=(4, 2, 2))
    data = read_image_set(write_npz(tmp_path / "shapes.npz", images))
    assert (data.flat, data.color, data.size) == (False, False, 16)
    (image,) = data.split("train")[1].read(Preprocessing())
    assert np.array_equal(image.array, images["train"][0][1])


def test_several_labels_a_picture(tmp_path):
    labels = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]], np.uint8)
    images = pictures(4)[0]
    data = read_image_set(write_npz(tmp_path / "chest.npz", {"train": (images, labels), "val": (255 - images, labels)}))
    assert data.multi_label
    assert data.positive == ""
    assert len(data.classes) == 3
    assert [sample.target for sample in data.split("train")] == [tuple(row) for row in labels.tolist()]
    with pytest.raises(LLMBoostError, match=r"no images in split 'test' \(it has 4 train, 4 val, 0 test\)"):
        data.split("test")


@pytest.mark.parametrize("shape", [(6,), (6, 1)])
@pytest.mark.parametrize("dtype", [bool, np.int64, np.uint8])
def test_labels_may_be_stored_in_several_ways(tmp_path, shape, dtype):
    labels = np.array([0, 1, 1, 0, 1, 0]).reshape(shape).astype(dtype)
    images = {"train": (pictures(6)[0], labels), "val": pictures(4, seed=1)}
    data = read_image_set(write_npz(tmp_path / "x.npz", images))
    assert [sample.target[1] for sample in data.split("train")] == [0, 1, 1, 0, 1, 0]


@pytest.mark.parametrize(
    ("name", "count", "positive", "ordinal", "modality"),
    [
        ("breastmnist", 2, "malignant", False, "US"),
        ("breastmnist_224", 2, "malignant", False, "US"),
        ("pneumoniamnist_64", 2, "pneumonia", False, "DX"),
        ("retinamnist", 5, "", True, "OP"),
        ("adrenalmnist3d_64", 2, "hyperplasia", False, "SEG"),
    ],
)
def test_what_is_known_of_medmnist(tmp_path, name, count, positive, ordinal, modality):
    images = three_splits(volumes if "3d" in name else pictures, counts=(10, 10, 10))
    if count > 2:
        images = three_splits(counts=(10, 10, 10), classes=count)
    data = read_image_set(write_npz(tmp_path / f"{name}.npz", images))
    assert len(data.classes) == count
    assert (data.positive, data.ordinal, data.modality, data.license) == (positive, ordinal, modality, "CC BY 4.0")
    assert "MedMNIST" in data.reference
    if name.startswith("breast"):
        assert data.classes[0] == "malignant", "label 0"


def test_a_description_beside_the_file(tmp_path):
    path = write_npz(tmp_path / "discs.npz", three_splits(classes=3))
    about = {
        "name": "Discs", "classes": ["small", "middle", "large"], "positive": "small", "ordinal": True,
        "modality": "US", "licence": "CC0", "reference": "made up",
    }  # fmt: skip
    path.with_suffix(".json").write_text(json.dumps(about))
    data = read_image_set(path)
    assert data.classes == ("small", "middle", "large")
    assert (data.name, data.positive, data.ordinal, data.modality) == ("Discs", "small", True, "US")
    assert (data.license, data.reference) == ("CC0", "made up")


def test_an_image_of_two_splits_is_left_out_of_training(tmp_path):
    images = three_splits(counts=(8, 4, 4))
    images["val"][0][1] = images["train"][0][2]
    images["test"][0][3] = images["train"][0][5]
    data = read_image_set(write_npz(tmp_path / "discs.npz", images))
    assert [sample.id for sample in data.split("train")] == [f"train_{n}" for n in (0, 1, 3, 4, 6, 7)]
    assert counts_of(data) == {"train": 6, "val": 4, "test": 4}


IMAGES, LABELS = pictures(8)
OTHERS = pictures(8, seed=1)[0]
BOTH = {"train": (IMAGES, LABELS), "val": (OTHERS, LABELS)}


@pytest.mark.parametrize(
    ("splits", "reason"),
    [
        ({"train": (IMAGES, LABELS)}, "has no array val_images"),
        ({**BOTH, "val": (OTHERS, LABELS[:-1])}, "split 'val' do not fit"),
        ({**BOTH, "val": (OTHERS[:, :-1], LABELS)}, "split 'val' do not fit"),
        ({**BOTH, "val": (OTHERS, np.ones((8, 2), int))}, "split 'val' do not fit"),
        ({**BOTH, "train": (IMAGES, LABELS - 1.0)}, "labels of split 'train'"),
        ({**BOTH, "train": (IMAGES, LABELS.astype(int) - 1)}, "labels of split 'train'"),
        ({**BOTH, "train": (IMAGES, np.where(LABELS, np.nan, 0.0))}, "labels of split 'train'"),
        ({**BOTH, "train": (IMAGES, np.array(["a"] * 8))}, "labels of split 'train'"),
        ({name: (IMAGES, 3 * np.ones((8, 2), int)) for name in BOTH}, "labels of split 'train'"),
        (dict.fromkeys(BOTH, (IMAGES[:0], LABELS[:0])), "training needs images"),
        (dict.fromkeys(BOTH, (IMAGES, 0 * LABELS)), "one class"),
        (dict.fromkeys(BOTH, (IMAGES[:, :, 0], LABELS)), "images"),
        ({name: (np.stack([volumes(8)[0]] * 3, axis=-1), LABELS) for name in BOTH}, "images"),
        ({name: (np.array(["picture"] * 8), LABELS) for name in BOTH}, "images"),
        ({name: (np.where(IMAGES > 99, np.nan, 1.0), LABELS) for name in BOTH}, "not finite|NaN"),
    ],
)
def test_arrays_that_are_no_such_data_set(tmp_path, splits, reason):
    path = write_npz(tmp_path / "odd.npz", splits)
    message = refusal(path)
    assert message.startswith(str(path))
    assert re.search(reason, message), message


def test_files_that_are_none(tmp_path):
    whole = write_npz(tmp_path / "whole.npz", BOTH).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "empty.npz").touch()
    with (tmp_path / "array.npz").open("wb") as file:
        np.save(file, IMAGES)
    np.savez(tmp_path / "pickled.npz", **{f"{s}_{k}": np.array([{}, {}]) for s in BOTH for k in ("images", "labels")})
    for name in ("cut", "text", "empty", "array", "pickled", "missing"):
        message = refusal(tmp_path / f"{name}.npz")
        assert message.startswith(f"{tmp_path / name}.npz: cannot be read")
        assert "MedMNIST" in message


@pytest.mark.parametrize(
    ("about", "reason"),
    [
        ("{", "no valid JSON"),
        ("[]", "a JSON object is expected"),
        ('{"classes": ["one"]}', "1 classes are named, but the labels have 2"),
        ('{"classes": 2}', '"classes"'),
        ('{"classes": "ab"}', '"classes"'),
        ('{"positive": "third"}', "'third' is none of class 0, class 1"),
        ('{"classes": ["a", "a"]}', "twice"),
    ],
)
def test_descriptions_that_do_not_fit(tmp_path, about, reason):
    path = write_npz(tmp_path / "discs.npz", BOTH)
    path.with_suffix(".json").write_text(about)
    assert reason in refusal(path)


# -- folders -----------------------------------------------------------------------------------------------------------


def test_folders_with_splits(tmp_path):
    write_folder(tmp_path, {"train/cat": 4, "train/dog": 3, "val/cat": 2, "val/dog": 2, "test/dog": 1})
    data = read_image_set(tmp_path)
    assert (data.classes, data.positive) == (("cat", "dog"), "dog")
    assert (data.flat, data.color, data.size, data.name) == (True, False, 0, tmp_path.name)
    assert counts_of(data) == {"train": 7, "val": 4, "test": 1}
    assert data.split("test")[0].target == (0, 1)
    assert data.split("train")[0].id == "cat/case0.png"


def test_folders_without_splits_keep_every_fifth_image_of_a_class_for_validation(tmp_path):
    write_folder(tmp_path, {"cat": 11, "dog": 5})
    data = read_image_set(tmp_path)
    assert counts_of(data) == {"train": 13, "val": 3, "test": 0}
    # in the order of their names
    names = sorted(f"case{n}.png" for n in range(11))
    expected = [f"cat/{names[4]}", f"cat/{names[9]}", "dog/case4.png"]
    assert [sample.id for sample in data.split("val")] == expected
    assert read_image_set(tmp_path).split("val")[0].id == data.split("val")[0].id


def test_training_images_give_validation_ones_where_there_are_none(tmp_path):
    write_folder(tmp_path, {"train/cat": 10, "train/dog": 10, "test/cat": 2, "test/dog": 2})
    data = read_image_set(tmp_path)
    assert counts_of(data) == {"train": 16, "val": 4, "test": 4}
    assert {sample.target for sample in data.split("val")} == {(1, 0), (0, 1)}
    assert not {s.id for s in data.split("val")} & {s.id for s in data.split("train")}


def test_classes_sort_as_numbers_or_as_told(tmp_path):
    write_folder(tmp_path, {f"{split}/grade {n}": 1 for split in ("train", "val") for n in (10, 2, 1)})
    assert read_image_set(tmp_path).classes == ("grade 1", "grade 2", "grade 10")
    about = {"classes": ["grade 10", "grade 1", "grade 2"], "ordinal": True, "positive": "grade 2", "name": "Grades"}
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    data = read_image_set(tmp_path)
    assert data.classes == ("grade 10", "grade 1", "grade 2")
    assert (data.ordinal, data.positive, data.name) == (True, "grade 2", "Grades")
    assert data.split("train")[0].target == (0, 1, 0) or data.split("train")[0].id != "grade 1/case0.png"


@pytest.mark.parametrize("extension", ["jpg", "jpeg", "PNG"])
def test_pictures(tmp_path, extension):
    write_folder(tmp_path, {"a": 5, "b": 5}, extension)
    data = read_image_set(tmp_path)
    assert data.flat
    (image,) = data.split("train")[0].read(GRAY)
    assert image.shape == (18, 14, 1), "columns, rows"


def test_colored_pictures(tmp_path):
    write_folder(tmp_path, {"a": 5, "b": 5}, write=lambda path, seed: write_picture(path, seed, color=True))
    data = read_image_set(tmp_path)
    assert data.color
    assert data.flat
    pixels = write_picture(tmp_path / "again.png", 0, color=True)
    red, _green, blue = data.split("train")[0].read(COLOR)
    assert np.array_equal(red.array[..., 0].T, pixels[..., 0])
    assert np.array_equal(blue.array[..., 0].T, pixels[..., 2])


@pytest.mark.parametrize("extension", ["nii.gz", "nrrd", "mha"])
def test_volume_files(tmp_path, extension):
    write_folder(tmp_path, {"a": 5, "b": 5}, extension, write_volume)
    data = read_image_set(tmp_path)
    assert (data.flat, data.color) == (False, False)
    (image,) = data.split("val")[0].read(Preprocessing())
    assert np.array_equal(image.array, write_volume(tmp_path / "again.nrrd", 4))


def test_slices_in_volume_files_are_flat(tmp_path):
    write_folder(tmp_path, {"a": 5, "b": 5}, "nii.gz", lambda path, seed: write_volume(path, seed, (9, 1, 8)))
    assert read_image_set(tmp_path).flat


def test_dicom_series(tmp_path):
    random = np.random.default_rng(0)
    for name in "ab":
        for n in range(5):
            array = random.integers(0, 99, (4, 6, 5)).astype(np.int16)
            write_series(tmp_path / name / f"patient {n}", array, spacing=(1, 1, 3))
    data = read_image_set(tmp_path)
    assert not data.flat
    assert data.split("val")[0].id == "a/patient 4"
    (image,) = data.split("train")[0].read(Preprocessing())
    assert image.shape == (5, 6, 4)
    assert image.spacing == (1, 1, 3)


def test_dicom_pictures_beside_each_other_and_in_folders(tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        for n in range(5):
            array = np.random.default_rng(10 * n + seed).integers(0, 255, (6, 5)).astype(np.uint8)
            folder = tmp_path / "gray" / name
            write_dicom_picture(folder / f"{n}.dcm" if n else folder / "patient" / "IM1", array, sop_class="DX")
            colors = np.stack([array, array // 2, 255 - array], axis=-1)
            write_dicom_picture(tmp_path / "color" / name / str(n), colors, sop_class="OP", color="RGB")
    data = read_image_set(tmp_path / "gray")
    assert (data.flat, data.color) == (True, False)
    assert [sample.id for sample in data.split("val")] == ["a/patient", "b/patient"], "in order of names"
    (image,) = data.split("val")[1].read(GRAY)
    assert np.array_equal(image.array[..., 0].T, np.random.default_rng(2).integers(0, 255, (6, 5)))
    data = read_image_set(tmp_path / "color")
    assert (data.flat, data.color) == (True, True)
    red, _green, blue = data.split("train")[0].read(COLOR)
    assert np.array_equal(red.array, 255 - blue.array)
    write_dicom_picture(tmp_path / "gray" / "a" / "0.dcm", np.zeros((3, 6, 5), np.uint8), sop_class="US film")
    assert refusal(tmp_path / "gray").endswith("0.dcm: holds 3 frames; export the one that shows its class")


def test_what_is_a_data_set_of_classes(tmp_path, dataset_folder):
    assert is_image_set(tmp_path / "x.npz")
    assert is_image_set(tmp_path)
    assert not is_image_set(dataset_folder), "a data set of segmentations"


def test_folders_that_are_none(tmp_path):
    assert "no such file or folder" in refusal(tmp_path / "missing")
    assert "0 folder(s) of images" in refusal(tmp_path)
    write_folder(tmp_path, {"only": 3})
    assert "1 folder(s) of images; a data set has a folder for each of its classes" in refusal(tmp_path)
    (tmp_path / "other").mkdir()
    assert re.search(r"other: no images \(.*\.nii\.gz.*, DICOM files, or folders of them\)", refusal(tmp_path))
    (tmp_path / "other" / "slice1.dcm").write_bytes(b"loose")
    assert "other: no images" in refusal(tmp_path)


def test_too_few_images_to_select_by(tmp_path):
    write_folder(tmp_path, {"a": 2, "b": 2})
    assert "training needs images in the splits 'train' and 'val'" in refusal(tmp_path)
    write_folder(tmp_path / "split", {"val/a": 2, "val/b": 2})
    assert "training needs images in the splits 'train' and 'val'" in refusal(tmp_path / "split")


def test_a_folder_of_classes_that_the_description_does_not_list(tmp_path):
    write_folder(tmp_path, {"a": 5, "b": 5, "c": 5})
    (tmp_path / "dataset.json").write_text('{"classes": ["a", "b"]}')
    assert refusal(tmp_path).endswith('"classes" lists a, b, but the folders are a, b, c')
    (tmp_path / "dataset.json").write_text('{"classes": 3}')
    assert '"classes"' in refusal(tmp_path)


def test_images_that_cannot_be_read_are_named(tmp_path):
    write_folder(tmp_path, {"a": 5, "b": 5})
    for name, bad in (("a", "case0.png"), ("b", "case2.png")):
        path = tmp_path / name / bad
        path.write_bytes(path.read_bytes()[:60])
    assert str(tmp_path / "a" / "case0.png") in refusal(tmp_path)
    write_picture(tmp_path / "a" / "case0.png")
    sample = next(s for s in read_image_set(tmp_path).split("train") if s.id == "b/case2.png")
    with pytest.raises(LLMBoostError, match=r"b/case2\.png: not a PNG or JPEG"):
        sample.read(GRAY)


def test_a_folder_of_many_images_is_no_image(tmp_path):
    write_folder(tmp_path, {"a": 5, "b": 5})
    write_folder(tmp_path, {"a/0 patient": 3})
    message = refusal(tmp_path)
    assert "0 patient" in message
    assert "3 images" in message


def test_a_folder_of_two_series_is_no_image(tmp_path):
    write_folder(tmp_path, {"a": 5, "b": 5})
    for _ in range(2):
        write_series(tmp_path / "a" / "0 patient" / str(_), np.zeros((2, 4, 4), np.int16))
    assert "0 patient: holds 2 images" in refusal(tmp_path)
