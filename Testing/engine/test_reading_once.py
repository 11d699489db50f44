"""Training and adapting read each file of a data set once, and reading decompresses it once."""

from collections import Counter

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from llmboost.io import datasetcheck, nifti
from llmboost.io.dataset import read_dataset
from llmboost.io.image import Image, read_image, read_volumes, reading, write_image
from llmboost.learn.adaptation.common import AdaptSettings
from llmboost.learn.adaptation.flow import adapt
from llmboost.learn.train import Recipe, train
from llmboost.learn.trainer import TrainingConfig

CPU = torch.device("cpu")
SHAPE = (12, 12, 12)
TINY = {"stem": (4, 8, 8), "width": 16, "depth": 1, "heads": 2}


@pytest.fixture
def reads(monkeypatch):
    """How often the voxels of each file were read."""
    count = Counter()
    real = reading.read_checked

    def counted(path):
        count[path] += 1
        return real(path)

    monkeypatch.setattr(reading, "read_checked", counted)
    return count


@pytest.fixture
def cases(make_case):
    return {f"case_{n}": make_case(n, shape=SHAPE) for n in range(5)}


def files(folder):
    return dict.fromkeys(sorted(folder.rglob("*.nii.gz")), 1)


def whole(cases):
    """The same with one label that no base knows."""
    return {id: (image, label.with_array((label.array > 0).astype(np.uint8))) for id, (image, label) in cases.items()}


def test_train(write_dataset, cases, reads, tmp_path):
    folder = write_dataset(tmp_path / "data", cases)
    recipe = Recipe(TrainingConfig(steps=1, validations=1), options=TINY)
    train(folder, tmp_path / "m.safetensors", recipe, device=CPU)
    assert reads == files(folder)


@pytest.mark.parametrize("task", ["improve", "new-labels"])
def test_adapt(training, write_dataset, cases, reads, tmp_path, task):
    if task == "improve":
        folder = write_dataset(tmp_path / "data", cases)
    else:
        folder = write_dataset(tmp_path / "data", whole(cases), labels={"0": "background", "1": "egg"})
    settings = AdaptSettings(steps=1, validations=1, rank=2, task=task)
    adapt(training.path, folder, tmp_path / "a.safetensors", settings, device=CPU)
    assert reads == files(folder)


def test_unlabeled_cases(training, write_dataset, cases, reads, tmp_path):
    folder = write_dataset(tmp_path / "data", cases)
    (folder / "labelsTr" / "case_4.nii.gz").unlink()
    settings = AdaptSettings(steps=1, validations=1, rank=2, consistency=1.0)
    adapt(training.path, folder, tmp_path / "a.safetensors", settings, device=CPU)
    assert reads == files(folder)


def test_what_there_is_no_room_for_is_read_again(write_dataset, cases, reads, tmp_path, monkeypatch):
    """Memory is for training: more than so much is not kept between the check and the use of a case."""
    image, label = cases["case_0"]
    monkeypatch.setattr(datasetcheck, "KEPT", 3 * (image.array.nbytes + label.array.nbytes))
    folder = write_dataset(tmp_path / "data", cases)
    dataset = read_dataset(folder)
    every = list(dataset.cases.values())
    checked = datasetcheck.check(dataset, every)
    loaded = [checked.take(case) for case in every]
    assert sorted(Counter(reads.values()).items()) == [(1, 6), (2, 4)]
    for case, (images, map) in zip(every, loaded, strict=True):
        assert np.array_equal(images[0].array, read_image(case.images[0]).array)
        assert np.array_equal(map.array, read_image(case.label).array)


def test_a_zipped_nifti_is_decompressed_once(tmp_path, monkeypatch):
    stored = Image(np.random.default_rng(0).integers(0, 9, (128, 128, 256), np.int16), (1, 1, 1), (0, 0, 0), np.eye(3))
    write_image(stored, tmp_path / "a.nii.gz")
    real, given = nifti.gunzip, []

    def counted(*arguments):
        for piece in real(*arguments):
            given.append(len(piece))
            yield piece

    monkeypatch.setattr(nifti, "gunzip", counted)
    assert np.array_equal(read_image(tmp_path / "a.nii.gz").array, stored.array)
    assert stored.array.nbytes < sum(given) < 1.01 * stored.array.nbytes


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float64])
def test_itk_reads_no_voxels_again(tmp_path, monkeypatch, name, kind):
    values = np.random.default_rng(0).integers(0, 99, (5, 6, 7)).astype(kind)
    direction = np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    write_image(Image(values, (1, 2, 3), (4, 5, 6), direction), tmp_path / name)
    itk = sitk.ReadImage(str(tmp_path / name))
    monkeypatch.setattr(sitk, "ReadImage", lambda *given, **named: pytest.fail("read again"))
    image = reading.read_sitk(tmp_path / name)
    assert (image.GetSize(), image.GetPixelID()) == (itk.GetSize(), itk.GetPixelID())
    assert image.GetSpacing() == itk.GetSpacing()
    assert image.GetOrigin() == itk.GetOrigin()
    assert image.GetDirection() == itk.GetDirection()
    for key in image.GetMetaDataKeys():
        assert image.GetMetaData(key) == itk.GetMetaData(key)
    assert all(key.startswith("ITK_original") for key in set(itk.GetMetaDataKeys()) - set(image.GetMetaDataKeys()))
    (read,) = read_volumes(tmp_path / name)
    assert np.array_equal(read.array, values)
    assert read.array.dtype == kind


@pytest.mark.parametrize("big", [False, True])
def test_colors_and_other_byte_orders(tmp_path, big):
    """Components that lie together, and bytes the other way round."""
    values = np.random.default_rng(0).integers(0, 999, (4, 5, 6)).astype(">i2" if big else "<i2")
    header = (
        f"NRRD0004\ntype: short\ndimension: 3\nsizes: 6 5 4\nendian: {'big' if big else 'little'}\nencoding: raw\n\n"
    )
    (tmp_path / "a.nrrd").write_bytes(header.encode() + values.tobytes())
    assert np.array_equal(read_image(tmp_path / "a.nrrd").array, values.transpose())
    apart = np.random.default_rng(1).integers(0, 99, (3, 4, 5, 6)).astype(np.uint8)  # colors on the last axis
    header = (
        "NRRD0004\ntype: uchar\ndimension: 4\nsizes: 6 5 4 3\nkinds: domain domain domain RGB-color\nencoding: raw\n\n"
    )
    (tmp_path / "b.nrrd").write_bytes(header.encode() + apart.tobytes())
    stored = reading.read_sitk(tmp_path / "b.nrrd")
    assert np.array_equal(sitk.GetArrayFromImage(stored), np.moveaxis(apart, 0, 3))
