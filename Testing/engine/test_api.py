"""The public names: how they are loaded, that their examples do what they say, and which images may be given."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import llmboost
from llmboost import api
from llmboost.bench.phantom import write_phantom
from llmboost.cli import main
from llmboost.errors import LLMBoostError
from llmboost.io.image import Image, read_image, to_sitk, write_image
from llmboost.io.segnrrd import read_segmentation

from .dicom_samples import noise, write_series

NAMES = [
    *("adapt", "classify", "evaluate", "explain", "load_model", "read_image", "segment", "train"),
    "write_segmentation",
]
RIGHT_FRONT_UP = np.diag([-1.0, -1.0, 1.0])
LIGHT = """
import sys
import llmboost
assert llmboost.__version__ and set(llmboost.__all__) < set(dir(llmboost))
heavy = [name for name in ("torch", "numpy", "SimpleITK", "monai", "scipy", "llmboost.api") if name in sys.modules]
assert heavy == [], heavy
llmboost.read_image
assert "torch" in sys.modules and not [name for name in sys.modules if name.startswith("llmboost.learn")]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What examples name: a crop, noise as a picture, and a small data set."""
    folder = tmp_path_factory.mktemp("api")
    write_phantom(folder / "cases")
    crop = next((folder / "cases" / "imagesTr").iterdir())
    (folder / "crop.nii.gz").write_bytes(crop.read_bytes())
    noise = np.random.default_rng(0).integers(0, 255, (40, 60), np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(noise), str(folder / "noise.png"))
    return folder


@pytest.fixture
def crop(folder: Path) -> Image:
    return read_image(folder / "crop.nii.gz")


def test_importing_is_light_and_using_loads_no_training() -> None:
    subprocess.run([sys.executable, "-c", LIGHT], check=True)


def test_names_stay_functions_whatever_is_imported() -> None:
    """A module of one of these names would hide the function once it is imported."""
    for module in pkgutil.walk_packages(llmboost.__path__, "llmboost."):
        if not module.name.endswith(("__main__", "nnunet.trainer.minutes")):  # which nnU-Net alone imports
            importlib.import_module(module.name)
    assert sorted(llmboost.__all__) == NAMES
    assert all(inspect.isfunction(getattr(llmboost, name)) for name in NAMES)
    with pytest.raises(AttributeError, match="no attribute 'predict'"):
        llmboost.predict  # noqa: B018


@pytest.mark.parametrize("name", NAMES)
def test_what_is_said_of_a_name_is_whole(name: str) -> None:
    text, signature = inspect.getdoc(getattr(llmboost, name)), inspect.signature(getattr(llmboost, name))
    assert text
    parts = ("Args:", "Raises:", "Example:", *(() if signature.return_annotation == "None" else ("Returns:",)))
    assert [part for part in parts if f"\n{part}\n" not in text] == []
    assert [one for one in signature.parameters if f"{one}" not in text.split("Args:")[1].split("Raises:")[0]] == []
    assert len(signature.parameters) <= 8


@pytest.mark.parametrize("name", NAMES)
def test_example(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    names = {"llmboost": llmboost, "np": np}
    (example,) = doctest.DocTestFinder(recurse=False).find(getattr(api, name), name, globs=names)
    assert example.examples
    told: list[str] = []
    assert doctest.DocTestRunner(verbose=False).run(example, out=told.append).failed == 0, "".join(told)


# images


def test_images_of_all_kinds_give_the_same(folder: Path, crop: Image) -> None:
    model = llmboost.load_model("hippocampus", device="cpu")
    place = {"spacing": crop.spacing, "origin": crop.origin, "direction": crop.direction}
    array = llmboost.read_image(crop.array, **place)
    given = [folder / "crop.nii.gz", str(folder / "crop.nii.gz"), crop, to_sitk(crop), array, [to_sitk(crop)]]
    found = [llmboost.segment(model, one, entropy=True) for one in given]
    assert all(np.array_equal(one.entropy.array, found[0].entropy.array) for one in found)
    assert all(one.labelmap.same_grid(crop) for one in found)
    assert len({one.warnings for one in found}) == 1


def test_it_is_what_the_command_line_gives(folder: Path, tmp_path: Path) -> None:
    arguments = ["segment", str(folder / "crop.nii.gz"), "--model", "hippocampus", "--output", str(tmp_path)]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--device", "cpu", "--uncertainty", "--roi", "11", "13", "11", "20", "20", "20"])
    assert not ended.value.code
    result = llmboost.segment("hippocampus", folder / "crop.nii.gz", entropy=True, roi=(11, 13, 11, 20, 20, 20))
    llmboost.write_segmentation(result, tmp_path / "own.seg.nrrd")
    assert (tmp_path / "own.seg.nrrd").read_bytes() == (tmp_path / "crop.seg.nrrd").read_bytes()
    assert np.array_equal(read_image(tmp_path / "crop_entropy.nii.gz").array, result.entropy.array)


def test_an_array_of_another_order_lies_in_the_same_place(crop: Image) -> None:
    """Axes are what spacing and direction say, not what a model is used to."""
    model = llmboost.load_model("hippocampus", device="cpu")
    turned = llmboost.read_image(
        crop.array.transpose(2, 0, 1)[::-1],
        spacing=[crop.spacing[a] for a in (2, 0, 1)],
        origin=(crop.affine @ [0, 0, crop.shape[2] - 1, 1])[:3],
        direction=crop.direction[:, [2, 0, 1]] * (-1, 1, 1),
    )
    straight, other = (llmboost.segment(model, image, entropy=True).entropy.array for image in (crop, turned))
    assert np.allclose(straight.transpose(2, 0, 1)[::-1], other, atol=1e-4)


def test_an_array_alone_tells_no_sides(crop: Image) -> None:
    result = llmboost.segment("hippocampus", crop.array, spacing=crop.spacing)
    assert any("orientation unknown (an array without a direction)" in warning for warning in result.warnings)
    assert not llmboost.read_image(crop.array, spacing=crop.spacing).sides_known
    assert llmboost.read_image(crop.array, spacing=crop.spacing, direction=RIGHT_FRONT_UP).sides_known


def test_pictures(folder: Path) -> None:
    """Gray as a path, an array and SimpleITK's; color as a path and SimpleITK's."""
    pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "noise.png")))
    gray = [folder / "noise.png", sitk.GetImageFromArray(pixels), pixels.T[:, :, None]]
    model = llmboost.load_model("pneumonia", device="cpu")
    chances = [
        llmboost.classify(model, one, spacing=(1, 1, 1) if isinstance(one, np.ndarray) else None, anyway=True)
        for one in gray
    ]
    assert len({one.probabilities for one in chances}) == 1
    color = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 255, (30, 30, 3), np.uint8), isVector=True)
    sitk.WriteImage(color, str(folder / "color.png"))
    of_path, of_sitk = (llmboost.classify("retina", one, anyway=True) for one in (folder / "color.png", color))
    assert of_path.probabilities == of_sitk.probabilities
    with pytest.raises(LLMBoostError, match="a color image, but a gray one is needed"):
        llmboost.classify(model, color)


def test_a_folder_of_dicom_is_one_image_of_its_modality(tmp_path: Path) -> None:
    write_series(tmp_path / "head", noise((12, 60, 60)), spacing=(3, 3, 3), Modality="CT")
    image = llmboost.read_image(tmp_path / "head")
    assert (image.shape, image.spacing, image.modality) == ((60, 60, 12), (3, 3, 3), "CT")
    model = llmboost.load_model("hippocampus", device="cpu")
    for given in (tmp_path / "head", image):
        result = llmboost.segment(model, given)
        assert not any(result.volumes_ml.values())
        assert any("CT" in warning for warning in result.warnings)


def test_a_volume_alone_is_read_with_what_is_told(folder: Path, crop: Image, tmp_path: Path) -> None:
    write_image(crop, tmp_path / "a.mha")
    lines = (tmp_path / "a.mha").read_bytes().splitlines(keepends=True)
    (tmp_path / "b.mha").write_bytes(b"".join(line for line in lines if not line.startswith(b"TransformMatrix")))
    image = llmboost.read_image(tmp_path / "b.mha")
    assert any("orientation unknown" in note for note in image.notes)
    result = llmboost.segment("hippocampus", image)
    assert any("orientation unknown" in warning for warning in result.warnings)


@pytest.mark.parametrize(
    ("array", "place", "said"),
    [
        (np.zeros((3, 3, 3)), {}, r"give spacing=\(i, j, k\) in mm"),
        (np.zeros((3, 3)), {"spacing": (1, 1)}, r"2 axes; give three, \[i, j, k\].*array\.T\[:, :, None\]"),
        (np.zeros((2, 3, 3, 3)), {"spacing": (1, 1, 1)}, "4 axes; give three.*an array a channel"),
        (np.zeros((3, 3, 3)), {"spacing": (1, 1)}, "three numbers each"),
        (np.zeros((3, 3, 3)), {"spacing": (1, 0, 1)}, "spacing"),
        (np.zeros((3, 3, 3)), {"spacing": "abc"}, "three numbers each"),
        (np.zeros((3, 3, 3)), {"spacing": (1, 1, 1), "direction": 2 * np.eye(3)}, "unit vectors as its columns"),
        (np.zeros((3, 3, 3)), {"spacing": (1, 1, 1), "direction": np.eye(3)[[0, 0, 2]].T}, "nowhere"),
        (np.full((3, 3, 3), np.nan), {"spacing": (1, 1, 1)}, "array: .*"),
        (np.zeros((3, 3, 3), complex), {"spacing": (1, 1, 1)}, "type complex128; give numbers"),
        (np.zeros((0, 3, 3)), {"spacing": (1, 1, 1)}, "0 voxels"),
        (np.full((3, 3, 3), "x"), {"spacing": (1, 1, 1)}, "give numbers"),
    ],
)
def test_an_array_that_cannot_be_used_is_refused(array: np.ndarray, place: dict, said: str) -> None:
    with pytest.raises(LLMBoostError, match=said) as refused:
        llmboost.read_image(array, **place)
    assert "\n" not in str(refused.value)


def test_what_else_is_refused(folder: Path, crop: Image, tmp_path: Path) -> None:
    def refused(function, *arguments, **options) -> str:
        with pytest.raises(LLMBoostError) as error:
            function(*arguments, **options)
        return str(error.value)

    assert "crop.nii.gz: tells its own spacing" in refused(
        llmboost.segment, "hippocampus", folder / "crop.nii.gz", spacing=(1, 1, 1)
    )
    assert "tells its own place" in refused(llmboost.read_image, to_sitk(crop), spacing=(1, 1, 1))
    assert "list: is no image; give a path" in refused(llmboost.read_image, [[1, 2]])
    assert "holds 12 images; give one" in refused(llmboost.segment, "hippocampus", folder / "cases" / "imagesTr")
    assert "2 given" in refused(llmboost.segment, "hippocampus", [crop, crop])
    assert "no such file, and no installed model" in refused(llmboost.load_model, "nobody")
    assert "use one of auto, cpu, cuda" in refused(llmboost.load_model, "breast", device="tpu")
    assert "one budget" in refused(llmboost.train, folder / "cases", tmp_path / "m.safetensors")
    assert "greater than zero" in refused(llmboost.train, folder / "cases", tmp_path / "m.safetensors", steps=0)
    result = llmboost.segment("hippocampus", crop)
    assert "unknown image format" in refused(llmboost.write_segmentation, result, tmp_path / "x.txt")


def test_a_plain_label_map_is_written_as_well(crop: Image, tmp_path: Path) -> None:
    result = llmboost.segment("hippocampus", crop)
    llmboost.write_segmentation(result, tmp_path / "a.nii.gz")
    llmboost.write_segmentation(result, str(tmp_path / "a.seg.nrrd"))
    segments = read_segmentation(tmp_path / "a.seg.nrrd")
    assert [name for _, name in segments[1]] == [label.name for label in result.labels]
    assert np.array_equal(read_image(tmp_path / "a.nii.gz").array, segments[0].array)
