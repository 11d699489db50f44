"""DICOM without a place in space, or in color: X-rays, ultrasound, fundus photographs, for models of slices."""

import io
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image as Picture
from pydicom import uid as uids
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate

from llmboost.card import Normalization, Preprocessing
from llmboost.errors import LLMBoostError
from llmboost.io.cases import find_cases
from llmboost.io.dicom import find_series, read_pictures, read_series
from llmboost.studies import Selection

from .dicom_samples import write_picture, write_series

GRAY = Preprocessing(patch_size=(8, 8, 1))
COLOR = Preprocessing(3, patch_size=(8, 8, 1), normalization=(Normalization(),) * 3, color=True)
VOLUME = Preprocessing()


def noise(shape=(6, 5), dtype=np.uint16, bits=12, seed=0):
    low = -(2 ** (bits - 1)) if np.dtype(dtype).kind == "i" else 0
    return np.random.default_rng(seed).integers(low, low + 2**bits, shape).astype(dtype)


def ramps(rows=16, columns=24):
    """[j, i, color] that changes slowly."""
    j, i = np.mgrid[:rows, :columns]
    return np.stack([i * 10, j * 15, 255 - (i + j) * 6], axis=-1).astype(np.uint8)


def read_gray(path):
    ((image,),) = read_pictures(path, color=False)
    return image


def read_rgb(path):
    """[j, i, color]."""
    (channels,) = read_pictures(path, color=True)
    assert [image.shape[2] for image in channels] == [1, 1, 1]
    return np.stack([image.array[..., 0].transpose() for image in channels], axis=-1)


def itk(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO="GDCMImageIO"))


def refusal(path, *, color):
    """All that is said: one line on the file."""
    with warnings.catch_warnings(record=True, action="always") as said, pytest.raises(LLMBoostError) as caught:
        read_pictures(path, color=color)
    assert not said
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message


# -- gray --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elements", "spacing"),
    [
        ({"ImagerPixelSpacing": [0.2, 0.3]}, (0.3, 0.2, 1)),
        ({"ImagerPixelSpacing": [0.2, 0.3], "PixelSpacing": [0.1, 0.4]}, (0.4, 0.1, 1)),
        ({"PixelSpacing": "", "ImagerPixelSpacing": ""}, (1, 1, 1)),
        ({}, (1, 1, 1)),
    ],
)
def test_a_picture_lies_as_a_png_would_with_the_size_of_its_pixels(tmp_path, elements, spacing):
    array = noise()
    image = read_gray(write_picture(tmp_path / "x", array, sop_class="DX", **elements))
    assert np.array_equal(image.array[..., 0].transpose(), array)
    assert image.spacing == spacing
    assert image.origin == (0, 0, 0)
    assert np.array_equal(image.direction, np.eye(3))


def test_values_are_rescaled_and_windows_are_left_alone(tmp_path):
    array = noise()
    display = {"WindowCenter": "100", "WindowWidth": "20", "VOILUTFunction": "SIGMOID"}
    path = write_picture(tmp_path / "x", array, sop_class="CR", RescaleSlope="2", RescaleIntercept="-100", **display)
    assert np.array_equal(read_gray(path).array[..., 0].transpose(), array.astype(int) * 2 - 100)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(
    ("dtype", "bits", "rescale"),
    [
        (np.uint8, 8, {}),
        (np.uint16, 12, {}),
        (np.int16, 16, {}),
        (np.uint16, 12, {"RescaleSlope": "2", "RescaleIntercept": "-100"}),
        (np.uint16, 10, {"RescaleSlope": "0.5", "RescaleIntercept": "3"}),
    ],
)
def test_of_monochrome1_the_negative_is_taken_as_itk_does(tmp_path, dtype, bits, rescale, compress):
    path = write_picture(
        tmp_path / "x",
        noise((16, 24), dtype, bits),
        sop_class="DX",
        change=(lambda dataset: dataset.compress(uids.RLELossless)) if compress else None,
        PhotometricInterpretation="MONOCHROME1",
        BitsStored=bits,
        HighBit=bits - 1,
        **rescale,
    )
    assert np.array_equal(read_gray(path).array.transpose(), itk(path).reshape(1, 16, 24))


def test_of_a_series_in_space_models_of_slices_see_what_itk_gives_and_volume_models_the_stored_values(tmp_path):
    array = noise((3, 6, 5))
    write_series(tmp_path, array, PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11)
    (series,) = find_series(tmp_path)
    (negative,), notes = read_series(series, negative=True)
    assert notes == ()
    assert np.array_equal(negative.array.transpose(), np.concatenate([itk(path) for path in series.files]))
    for steps, expected in ((GRAY, 4095 - array), (VOLUME, array)):
        (case,) = find_cases([tmp_path], steps).values()
        ((image,),) = case.read(steps)[0].values()
        assert np.array_equal(image.array.transpose(), expected)


# -- color -------------------------------------------------------------------------------------------------------------


def planar(dataset):
    dataset.PlanarConfiguration, dataset.PixelData = 1, ramps().transpose(2, 0, 1).tobytes()


def ybr(array):
    """As DICOM PS3.3 C.7.6.3.1.2 defines YBR_FULL."""
    matrix = [[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]]
    return np.clip(np.rint(array @ np.transpose(matrix) + [0, 128, 128]), 0, 255).astype(np.uint8)


def halved(dataset):
    pairs = ybr(ramps()).reshape(16, 12, 2, 3)
    dataset.PixelData = np.concatenate([pairs[..., 0], pairs[:, :, 0, 1:]], axis=-1).tobytes()


COLORS = {  # pixels, kind, what else, tolerance
    "RGB": (ramps(), "RGB", None, 0),
    "planes": (ramps(), "RGB", planar, 0),
    "RLE": (ramps(), "RGB", lambda dataset: dataset.compress(uids.RLELossless), 0),
    "JPEG-LS": (ramps(), "RGB", lambda dataset: dataset.compress(uids.JPEGLSLossless), 0),
    "YBR_FULL": (ybr(ramps()), "YBR_FULL", None, 2),
    "YBR_FULL by RLE": (ybr(ramps()), "YBR_FULL", lambda dataset: dataset.compress(uids.RLELossless), 2),
    "YBR_FULL_422": (ybr(ramps()), "YBR_FULL_422", halved, 24),
}


@pytest.mark.parametrize("name", COLORS)
def test_colors_become_red_green_and_blue(tmp_path, name):
    array, kind, change, tolerance = COLORS[name]
    path = write_picture(tmp_path / "x", array, sop_class="OP", color=kind, change=change)
    assert np.abs(read_rgb(path).astype(int) - ramps()).max() <= tolerance
    assert np.array_equal(read_rgb(path), itk(path).reshape(16, 24, 3))


@pytest.mark.parametrize(("entries", "bits", "dtype"), [(256, 8, np.uint8), (100, 16, np.uint8), (1000, 16, np.uint16)])
def test_palettes(tmp_path, entries, bits, dtype):
    random = np.random.default_rng(0)
    palette, array = random.integers(0, 256, (entries, 3)), random.integers(0, entries, (6, 5)).astype(dtype)
    elements = {"PhotometricInterpretation": "PALETTE COLOR"}
    for n, color in enumerate(("Red", "Green", "Blue")):
        words = palette[:, n].astype(np.uint8) if bits == 8 else (palette[:, n] * 257).astype("<u2")
        elements[f"{color}PaletteColorLookupTableDescriptor"] = [entries, 0, bits]
        elements[f"{color}PaletteColorLookupTableData"] = words.tobytes()
    path = write_picture(tmp_path / "x", array, sop_class="US", **elements)
    assert np.array_equal(read_rgb(path), palette[array])


@pytest.mark.parametrize(
    "name",
    [
        "SC_rgb_dcmtk_+eb+cy+np.dcm",  # JPEG, YBR_FULL_422
        "SC_rgb_small_odd_jpeg.dcm",  # JPEG, YBR_FULL
        "SC_rgb_gdcm_KY.dcm",  # JPEG 2000
        "SC_rgb_jpeg_gdcm.dcm",  # JPEG, lossless
        "SC_rgb_small_odd_big_endian.dcm",
    ],
)
def test_color_files_of_other_makers(name):
    path = Path(get_testdata_file(name, download=False))
    assert np.array_equal(read_rgb(path), itk(path).reshape(read_rgb(path).shape))


def test_gray_and_color_are_refused_where_the_other_is_needed(tmp_path):
    gray = write_picture(tmp_path / "gray", noise(), sop_class="DX")
    assert "not a color image, but one is needed (red, green and blue of 8 bits" in refusal(gray, color=True)
    colored = write_picture(tmp_path / "colored", ramps(), sop_class="OP", color="RGB")
    assert "a color image, but a gray one is needed; convert it" in refusal(colored, color=False)
    write_series(tmp_path / "series", noise((3, 6, 5)))
    (case,) = find_cases([tmp_path / "series"], COLOR).values()
    with pytest.raises(LLMBoostError, match=r"000\.dcm: not a color image, but one is needed"):
        case.read(COLOR)


def as_palette(dataset):
    """A palette of grays."""
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "PALETTE COLOR"
    del dataset.PlanarConfiguration
    dataset.PixelData = (255 - ramps()[..., 0]).tobytes()
    for color in ("Red", "Green", "Blue"):
        setattr(dataset, f"{color}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(dataset, f"{color}PaletteColorLookupTableData", (np.arange(255, -1, -1) * 257).astype("<u2").tobytes())


def by_pillow(dataset):
    file = io.BytesIO()
    Picture.fromarray(np.repeat(ramps()[..., :1], 3, axis=-1)).save(file, "JPEG", quality=95)
    dataset.file_meta.TransferSyntaxUID = uids.JPEGBaseline8Bit
    dataset.PhotometricInterpretation = "YBR_FULL_422"
    dataset.PixelData = encapsulate([file.getvalue()])
    dataset["PixelData"].is_undefined_length = True


GRAYS = {  # kind, what else, tolerance
    "RGB": ("RGB", None, 0),
    "RLE": ("RGB", lambda dataset: dataset.compress(uids.RLELossless), 0),
    "YBR_FULL": ("YBR_FULL", None, 0),
    "palette": ("RGB", as_palette, 0),
    "JPEG": ("RGB", by_pillow, 8),
}


@pytest.mark.parametrize("name", GRAYS)
def test_gray_that_is_stored_as_color_is_gray(tmp_path, name):
    kind, change, tolerance = GRAYS[name]
    stored = np.repeat(ramps()[..., :1], 3, axis=-1)
    if kind == "YBR_FULL":
        stored[..., 1:] = 128
    path = write_picture(tmp_path / "x", stored, sop_class="DX", color=kind, change=change)
    assert np.abs(read_gray(path).array[..., 0].transpose().astype(int) - ramps()[..., 0]).max() <= tolerance
    assert read_rgb(path).shape == (16, 24, 3)
    stored[3, 4, 2] += 1 if kind == "RGB" else 40
    if change is None:  # one pixel in color
        colored = write_picture(tmp_path / "y", stored, sop_class="DX", color=kind)
        assert "a color image, but a gray one is needed" in refusal(colored, color=False)


def test_what_is_damaged_or_not_readable_is_refused(tmp_path):
    path = write_picture(tmp_path / "x", ramps(), sop_class="OP", color="RGB")
    path.write_bytes(path.read_bytes()[:-300])
    assert "damaged" in refusal(path, color=True) or "truncated" in refusal(path, color=True)
    path = write_picture(tmp_path / "y", ramps(), sop_class="OP", color="HSV")
    assert "export it as 8-bit RGB" in refusal(path, color=True)
    path = Path(get_testdata_file("SC_rgb_rle_16bit.dcm", download=False))
    assert "of colors that are not readable here (RGB, RLE Lossless)" in refusal(path, color=True)
    path = write_picture(tmp_path / "z", noise(), sop_class="DX", PixelSpacing=[0, 0])
    assert "impossible ImagePositionPatient or PixelSpacing" in refusal(path, color=False)


# -- cases -------------------------------------------------------------------------------------------------------------


def test_a_folder_of_pictures_is_a_case_a_file_for_models_of_slices(tmp_path):
    for n, name in enumerate(("anna/1.dcm", "anna/2.dcm", "bert/1.dcm")):
        write_picture(tmp_path / "x" / name, noise(seed=n), sop_class="DX", SeriesInstanceUID=f"1.2.{name[0] == 'a':d}")
    cases = find_cases([tmp_path / "x"], GRAY)
    assert list(cases) == ["anna_1", "anna_2", "bert_1"]
    for n, (case, name) in enumerate(zip(cases.values(), ("anna/1.dcm", "anna/2.dcm", "bert/1.dcm"), strict=True)):
        assert case.names[0].startswith(str(tmp_path / "x" / name))
        ((image,),) = case.read(GRAY)[0].values()
        assert np.array_equal(image.array[..., 0].transpose(), noise(seed=n))
    assert list(find_cases([tmp_path / "x"], GRAY, Selection.of("1.2.1"))) == ["anna_1", "anna_2"]
    assert list(find_cases([tmp_path / "x" / "bert"], GRAY)) == ["bert"], "one alone is named as a series is"
    assert list(find_cases([tmp_path / "x" / "anna" / "2.dcm"], GRAY)) == ["2"]
    refused = find_cases([tmp_path / "x"], VOLUME)
    assert all("without a place in the body" in case.problem for case in refused.values())
    (case,) = find_cases([tmp_path / "x" / "anna"], VOLUME).values()
    with pytest.raises(LLMBoostError, match="no place in the body; give slices of a scan, not pictures"):
        case.read(VOLUME)


def test_a_series_in_space_stays_one_case(tmp_path):
    write_series(tmp_path / "scan", noise((3, 6, 5)), SeriesInstanceUID="1.2.3")
    assert list(find_cases([tmp_path / "scan"], GRAY)) == ["scan"]
    write_picture(tmp_path / "scan" / "screenshot", ramps(), sop_class="SC", color="RGB", SeriesInstanceUID="1.2.4")
    assert [len(case.files) for case in find_cases([tmp_path / "scan"], GRAY).values() if not case.problem] == [3]
    (case,) = find_cases([tmp_path / "scan"], GRAY, Selection.of("1.2.3")).values()
    assert len(case.files) == 3


@pytest.mark.parametrize("color", ["", "RGB"])
def test_of_a_film_a_frame_is_chosen(tmp_path, color):
    film = np.stack([ramps() // (n + 1) for n in range(3)])
    film = film if color else film[..., 0]
    steps = COLOR if color else GRAY
    path = write_picture(tmp_path / "film.dcm", film, sop_class="US film", color=color)
    (case,) = find_cases([path], steps).values()
    with pytest.raises(LLMBoostError, match=r"film\.dcm.*: 3 frames; choose one with --frame 0 to 2"):
        case.read(steps)
    assert list(case.read(steps, "all")[0]) == ["film_frame000", "film_frame001", "film_frame002"]
    (channels,) = case.read(steps, "2")[0].values()
    assert np.array_equal(channels[0].array[..., 0].transpose(), film[2, ..., 0] if color else film[2])


# -- the command line --------------------------------------------------------------------------------------------------


def rows(folder):
    return {row["id"]: row for row in json.loads((folder / "summary.json").read_text())["cases"]}


def test_classifying_on_the_command_line(llmboost, tmp_path):
    from llmboost.model import save_model

    from .test_classify import untrained

    gray, color, out = tmp_path / "gray.safetensors", tmp_path / "color.safetensors", tmp_path / "out"
    for path, model in ((gray, untrained()), (color, untrained(color=True))):
        save_model(model.network, model.card, path)
    xray = write_picture(tmp_path / "xray.dcm", noise((40, 32)), sop_class="DX", ImagerPixelSpacing=[0.2, 0.2])
    film = write_picture(tmp_path / "film.dcm", noise((3, 30, 40), np.uint8, 8), sop_class="US film")
    eye = write_picture(tmp_path / "eye.dcm", ramps(40, 40), sop_class="OP", color="RGB")

    # the model says that it knows MR alone
    done = llmboost("classify", xray, film, "--model", gray, "--output", out, "--frame", "all", "--anyway")
    assert done.status == 0, done.err
    assert list(rows(out)) == ["film_frame000", "film_frame001", "film_frame002", "xray"]  # in order of their names
    done = llmboost("classify", film, "--model", gray, "--output", out, "--frame", "1", "--anyway")
    assert done.status == 0, done.err
    colors = tmp_path / "colors"
    done = llmboost("classify", eye, "--model", color, "--output", colors, "--anyway")
    assert done.status == 0, done.err
    assert rows(colors)["eye"]["status"] == "ok"
    assert llmboost("classify", eye, "--model", gray, "--output", out).status == 1
    assert f"{eye}: a color image, but a gray one is needed" in rows(out)["eye"]["error"]
    assert llmboost("classify", xray, "--model", color, "--output", colors).status == 1
    assert f"{xray}: not a color image" in rows(colors)["xray"]["error"]
