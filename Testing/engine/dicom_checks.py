"""Reads DICOM series, and compares what was read. A test module says ``from .dicom_checks import read_one``."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from llmboost.errors import LLMBoostError
from llmboost.io.dicom import choose_series, find_series, read_series
from llmboost.io.image import Image, to_sitk


def read(folder: Path) -> tuple[list[Image], tuple[str, ...]]:
    """The images and notes of a folder's only series."""
    return read_series(choose_series(find_series(folder), None, folder))


def read_one(folder: Path) -> Image:
    """The image of a series that needs no repair."""
    (image,), notes = read(folder)
    assert notes == ()
    return image


def refusal(folder: Path) -> str:
    """All that is said when the only series of a folder is refused: one line on the folder or a file in it."""
    with warnings.catch_warnings(record=True, action="always") as said, pytest.raises(LLMBoostError) as caught:
        read(folder)
    assert not said
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(folder))
    return message


def assert_as_itk(image: Image, files: list[str]) -> None:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    expected, actual = reader.Execute(), to_sitk(image)
    values, theirs = (sitk.GetArrayViewFromImage(one) for one in (actual, expected))
    assert np.array_equal(values, theirs if values.dtype.kind != "f" else theirs.astype(np.float32))
    np.testing.assert_allclose(actual.GetSpacing(), expected.GetSpacing(), rtol=1e-6)
    np.testing.assert_allclose(actual.GetOrigin(), expected.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(actual.GetDirection(), expected.GetDirection(), atol=1e-6)


def itk_files(folder: Path) -> list[str]:
    return list(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))


def assert_same(actual: Image, expected: Image) -> None:
    np.testing.assert_array_equal(actual.array, expected.array)
    np.testing.assert_allclose(actual.affine, expected.affine, atol=1e-6)
