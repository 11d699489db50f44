"""How often the shipped classifiers refuse images of another kind than they know, and how often their own.

    .venv/bin/python scripts/measure_guards.py --data ../shared/data

A table for each model: kinds of images, how many, and the share that is refused. What a guard was made with must not
tell how good it is, so the kinds come in two halves: with `--half first`, those to compare guards with, beside the
model's own validation images; by default, the others, beside its own test images, to be read at the very end.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import torch
from scipy import ndimage

from llmboost.errors import LLMBoostError
from llmboost.inference.classify import classify
from llmboost.io.image import Image, read_image, to_canonical
from llmboost.io.imageset import read_image_set
from llmboost.library import find
from llmboost.model import Model, load_model

SETS = {
    "adrenal": "adrenalmnist3d_64",
    "breast": "breastmnist",
    "pneumonia": "pneumoniamnist",
    "retina": "retinamnist",
}
COUNT = 60  # images a kind, where there are so many
SIZE = 224  # pixels a side of what is drawn
WINDOWS = ((-160.0, 240.0), (-500.0, 1300.0), (-1350.0, 150.0))  # of CT: soft tissue, bone, lung
SPLITS = {"first": "val", "second": "test"}

Pictures = list[np.ndarray]  # gray (rows, columns) or in color (rows, columns, 3), 0 to 255
Kinds = dict[str, list[list[Image]]]  # the channels of each image, by kind


# -- pictures ----------------------------------------------------------------------------------------------------------


def volume(path: Path) -> Image:
    return to_canonical(read_image(path))


def gray(plane: np.ndarray, patch_size: tuple[float, float] | None = None) -> np.ndarray:
    low, high = patch_size or np.percentile(plane, (0.5, 99.5))
    return ((plane - low) / max(high - low, 1e-6)).clip(0, 1) * 255


def slices(
    paths: Sequence[Path], axis: int, count: int, windows: Sequence[tuple[float, float] | None] = (None,)
) -> Pictures:
    """Slices across an axis (R, A, S) as pictures that are seen from the front, from the left or from below, with
    square pixels."""
    found = []
    for path in paths:
        image = volume(path)
        span = np.linspace(0.2, 0.8, -(-count // len(paths))) * image.shape[axis]
        for n, index in enumerate(span.astype(int)):
            plane = np.asarray(image.array.take(index, axis), float)
            across, up = (mm for a, mm in enumerate(image.spacing) if a != axis)
            plane = ndimage.zoom(plane, (1, up / across), order=1).T[::-1]
            found.append(gray(plane, windows[n % len(windows)]))
    return found[:count]


def projections(path: Path, axis: int, count: int, random: np.random.Generator) -> Pictures:
    """Radiographs computed from a CT: of what is not air, turned a little in each."""
    image, found = volume(path), []
    dense = (np.asarray(image.array, float) + 1000).clip(0, 2500) / 1000
    across, up = (mm for a, mm in enumerate(image.spacing) if a != axis)
    for _ in range(count):
        turned = ndimage.rotate(dense, random.uniform(-8, 8), axes=(0, 1), reshape=False, order=1)
        path_length = turned.sum(axis=axis) * image.spacing[axis] * 0.02  # per mm of water
        found.append(gray(1 - np.exp(-0.3 * ndimage.zoom(path_length, (1, up / across), order=1)).T[::-1]))
    return found


def linear(random: np.random.Generator) -> np.ndarray:
    angle = random.uniform(0, 2 * np.pi)
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    return gray(np.cos(angle) * x + np.sin(angle) * y, None)


def radial(random: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE - random.uniform(0.3, 0.7, (2, 1, 1))
    return gray(random.choice([-1, 1]) * np.hypot(x, y) ** random.uniform(0.5, 2))


def noise(random: np.random.Generator) -> np.ndarray:
    size = int(random.choice([28, 64, SIZE]))
    return random.uniform(0, 255, (size, size))


def clouds(random: np.random.Generator) -> np.ndarray:
    return gray(ndimage.gaussian_filter(random.normal(size=(SIZE, SIZE)), random.uniform(4, 30)))


def salt(random: np.random.Generator) -> np.ndarray:
    grain = random.random((28, 28))
    return np.select([grain < 0.1, grain > 0.9], [0.0, 255.0], random.uniform(60, 200))


def checks(random: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE] // random.integers(8, 60)
    return (x + y) % 2 * random.uniform(50, 250)


def stripes(random: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    angle = random.uniform(0, np.pi)
    return 127 + 120 * np.sin(random.uniform(8, 60) * (np.cos(angle) * x + np.sin(angle) * y))


def _drawing(color: object = 0) -> tuple[PIL.Image.Image, PIL.ImageDraw.ImageDraw]:
    image = PIL.Image.new("RGB", (SIZE, SIZE), color)  # type: ignore[arg-type]
    return image, PIL.ImageDraw.Draw(image)


def _color(random: np.random.Generator, low: int = 0, high: int = 256) -> tuple[int, ...]:
    return tuple(int(value) for value in random.integers(low, high, 3))


def dot(random: np.random.Generator) -> np.ndarray:
    image, pen = _drawing(_color(random))
    x, y = random.uniform(40, SIZE - 40, 2)
    radius = random.uniform(8, 30)
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), _color(random))
    return np.asarray(image, float)


def bar(random: np.random.Generator) -> np.ndarray:
    image, pen = _drawing(_color(random))
    x, y = random.uniform(0, SIZE / 2, 2)
    pen.rectangle((x, y, x + random.uniform(10, 100), y + random.uniform(10, 100)), _color(random))
    return np.asarray(image, float)


def scene(random: np.random.Generator) -> np.ndarray:
    """A landscape: sky, sun, hills, a house, grain of the film."""
    sky = np.linspace(_color(random, 90, 200), _color(random, 150, 256), SIZE)[:, None]
    image = PIL.Image.fromarray(np.broadcast_to(sky, (SIZE, SIZE, 3)).astype(np.uint8))
    pen = PIL.ImageDraw.Draw(image)
    x, y = random.uniform(20, 200), random.uniform(20, 70)
    pen.ellipse((x - 15, y - 15, x + 15, y + 15), (255, 250, 200))
    for level in (110, 140, 170):
        hills = level + 20 * np.sin(np.linspace(0, random.uniform(3, 9), SIZE) + random.uniform(0, 6))
        pen.polygon([(0, SIZE), *enumerate(hills.tolist()), (SIZE, SIZE)], _color(random, 20, 140))
    x, y = random.uniform(20, 150), random.uniform(130, 170)
    pen.rectangle((x, y, x + 50, y + 40), _color(random, 100, 230))
    pen.polygon([(x - 8, y), (x + 58, y), (x + 25, y - 30)], _color(random, 60, 180))
    pixels = np.asarray(image, float) + random.normal(0, 8, (SIZE, SIZE, 3))
    return ndimage.gaussian_filter(pixels, (1, 1, 0)).clip(0, 255)


def face(random: np.random.Generator) -> np.ndarray:
    """A portrait, lit from a side."""
    image, pen = _drawing(_color(random, 0, 200))
    skin = np.array([230, 185, 160]) * random.uniform(0.4, 1.05)
    x, y = SIZE / 2 + random.uniform(-15, 15, 2)
    wide, high = random.uniform(50, 65), random.uniform(68, 85)
    pen.ellipse((x - 1.15 * wide, y - 1.25 * high, x + 1.15 * wide, y + 0.4 * high), _color(random, 10, 110))
    pen.rectangle((x - 100, y + high, x + 100, SIZE), _color(random))
    pen.rectangle((x - 20, y + 0.7 * high, x + 20, y + 1.15 * high), tuple((0.85 * skin).astype(int).clip(0, 255)))
    pen.ellipse((x - wide, y - high, x + wide, y + high), tuple(skin.astype(int).clip(0, 255)))
    for side in (-1, 1):
        eye = x + side * 0.42 * wide
        pen.ellipse((eye - 12, y - 22, eye + 12, y - 10), (245, 245, 245))
        pen.ellipse((eye - 5, y - 21, eye + 5, y - 11), (50, 40, 30))
    pen.polygon([(x, y - 10), (x - 8, y + 18), (x + 8, y + 18)], tuple((0.8 * skin).astype(int).clip(0, 255)))
    pen.chord((x - 24, y + 22, x + 24, y + 48), 0, 180, (160, 60, 60))
    light = np.linspace(random.uniform(0.6, 1), random.uniform(0.6, 1), SIZE)[None, :, None]
    pixels = np.asarray(image, float) * light + random.normal(0, 6, (SIZE, SIZE, 3))
    return ndimage.gaussian_filter(pixels, (1.5, 1.5, 0)).clip(0, 255)


def page(random: np.random.Generator) -> np.ndarray:
    """A page of text."""
    image, pen = _drawing((250, 250, 245))
    for line in range(14, SIZE - 14, int(random.integers(9, 16))):
        words = "".join(random.choice(list("abcdefghilmnoprstu   "), 60))
        pen.text((14, line), words[: int(random.integers(15, 36))], (20, 20, 20))
    return np.asarray(image, float)


def interface(random: np.random.Generator) -> np.ndarray:
    """A screen with windows and buttons."""
    image, pen = _drawing(_color(random, 180, 256))
    pen.rectangle((0, 0, SIZE, 16), _color(random, 20, 120))
    for _ in range(int(random.integers(3, 7))):
        x, y = random.uniform(0, 150), random.uniform(20, 150)
        corner = (x + random.uniform(40, 110), y + random.uniform(30, 90))
        pen.rectangle((x, y, *corner), _color(random, 120, 256), (60, 60, 60))
        pen.rectangle((x, y, corner[0], y + 10), _color(random, 30, 160))
        pen.text((x + 4, y + 14), "File Edit View", (10, 10, 10))
    return np.asarray(image, float)


def drawn(make: Callable[[np.random.Generator], np.ndarray], seed: int = 0) -> Pictures:
    random = np.random.default_rng(seed)
    return [make(random) for _ in range(COUNT)]


def medmnist(root: Path, name: str, split: str = "train") -> Pictures:
    images = np.load(root / "medmnist" / f"{name}.npz")[f"{split}_images"]
    images = images[:, :, :, 32] if images.ndim == 4 and images.shape[-1] == 64 else images
    return list(images[:: max(1, len(images) // COUNT)][:COUNT].astype(float))


def foreign_pictures(root: Path, name: str, half: str) -> Iterator[tuple[str, Pictures]]:
    """Pictures of other kinds than the model ``name`` knows."""
    viewer, random = root / "viewer", np.random.default_rng(0)
    others = [other for other in ("retina", "breast", "pneumonia") if other != name]
    if half == "first":
        spines = sorted((root / "lumbar_spine_mr" / "imagesTr").glob("*.nii.gz"))[:10]
        yield "MR of the spine", slices(spines, 0, COUNT)
        cine = sorted((root / "sunnybrook_lv" / "train" / "images").glob("*.png"))
        yield (
            "cine MR of the heart",
            [np.asarray(PIL.Image.open(p), float) for p in cine[:: len(cine) // COUNT]][:COUNT],
        )
        yield "CT of the head", slices([viewer / "nifti" / "ct_head_invesalius_cranium.nii.gz"], 2, COUNT, WINDOWS[:2])
        yield f"MedMNIST: {SETS[others[0]]}", medmnist(root, SETS[others[0]])
        kinds: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
            "noise of pixels": noise, "gradients from side to side": linear, "a bar": bar, "checkerboards": checks,
            "a page of text": page, "a screen": interface,
        }  # fmt: skip
    else:
        heads = [viewer / "nifti" / f"mr_{kind}.nii.gz" for kind in ("stroke_T1", "stroke_T2", "head_seg3d")]
        yield "MR of the head, axial", slices(heads, 2, COUNT)
        yield "MR of the head, from the side", slices(heads, 0, COUNT)
        chest, body = viewer / "nifti" / "ct_chest_lidc_0314_1p5mm.nii.gz", viewer / "ct_mr_totalsegmentator"
        yield "CT of the trunk, axial", slices([chest, body / "example_ct.nii.gz"], 2, COUNT, WINDOWS)
        yield "CT of the trunk, coronal", slices([chest, body / "example_ct.nii.gz"], 1, COUNT, WINDOWS)
        neck = sorted((root / "headneck_ct" / "imagesTr").glob("*.nii.gz"))[:10]
        yield "CT of the neck", slices(neck, 2, COUNT, WINDOWS[:2])
        skull = viewer / "nifti" / "ct_head_invesalius_cranium.nii.gz"
        half_count = COUNT // 3
        rays = [*projections(skull, 1, half_count, random), *projections(skull, 0, half_count, random)]
        yield "radiographs of skull and side", [*rays, *projections(chest, 0, half_count, random)]
        for other in (*others[1:], "adrenal"):
            yield f"MedMNIST: {SETS[other]}", medmnist(root, SETS[other])
        kinds = {
            "clouds": clouds, "salt and pepper": salt, "gradients from the middle": radial, "a dot": dot,
            "stripes": stripes, "photograph: a landscape": scene, "photograph: a portrait": face,
        }  # fmt: skip
    for kind, make in kinds.items():
        yield kind, drawn(make)


def own_changed(model: Model, pictures: Pictures, half: str) -> Iterator[tuple[str, Pictures, bool]]:
    """A model's own images changed, and whether they are of another kind then: a model that takes mirror images for
    the same knows them, and one that takes both of them knows images that are turned by 180 degrees."""
    mirror, some = model.card.preprocessing.mirror, pictures[:: max(1, len(pictures) // COUNT)][:COUNT]
    both = 1 in mirror
    if half == "first":
        yield "own, turned to the left", [np.rot90(p) for p in some], not both
        yield "own, upside down", [p[::-1] for p in some], not both
        yield "own, brighter by 5 %", [(p * 1.05).clip(0, 255) for p in some], False
        yield "own, stored at 224 pixels", [_larger(p) for p in some], False
    else:
        yield "own, turned to the right", [np.rot90(p, -1) for p in some], not both
        yield "own, turned by 180 degrees", [np.rot90(p, 2) for p in some], not both
        yield "own, inverted", [255 - p for p in some], True
        yield "own, half the contrast", [64 + p / 2 for p in some], False
        yield "own, stored at 168 pixels", [_larger(p, 6) for p in some], False
        yield "own, blurred", [ndimage.gaussian_filter(p, (0.6, 0.6, *[0] * (p.ndim - 2))) for p in some], False


def _larger(picture: np.ndarray, times: int = 8) -> np.ndarray:
    """As a file of more pixels may hold it."""
    return ndimage.zoom(picture, (times, times, *[1] * (picture.ndim - 2)), order=3).clip(0, 255)


def as_input(picture: np.ndarray, color: bool) -> list[Image]:
    """The channels that a model takes, as a picture's file gives them."""
    if color and picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=2)
    if not color and picture.ndim == 3:
        picture = picture @ [0.299, 0.587, 0.114]
    planes = np.moveaxis(picture, -1, 0) if color else [picture]
    return [
        Image(np.ascontiguousarray(p.T[..., None], np.float32), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3))
        for p in planes
    ]


# -- masks -------------------------------------------------------------------------------------------------------------


def _index(size: int = 64) -> np.ndarray:
    return np.stack(np.meshgrid(*[np.arange(size) - (size - 1) / 2] * 3, indexing="ij"))


def box(random: np.random.Generator) -> np.ndarray:
    return (np.abs(_index()) < random.uniform(4, 14) * np.ones((3, 1, 1, 1))).all(axis=0)


def ellipsoid(random: np.random.Generator) -> np.ndarray:
    return ((_index() / random.uniform(4, 20, (3, 1, 1, 1))) ** 2).sum(axis=0) < 1


def ball(random: np.random.Generator) -> np.ndarray:
    return (_index() ** 2).sum(axis=0) < random.uniform(5, 20) ** 2


def blob(random: np.random.Generator) -> np.ndarray:
    field = ndimage.gaussian_filter(random.normal(size=(64,) * 3), random.uniform(3, 8))
    labels, _ = ndimage.label(field > np.quantile(field, random.uniform(0.8, 0.97)))
    return labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])


def tube(random: np.random.Generator) -> np.ndarray:
    """A vessel that bends."""
    t = np.linspace(-1, 1, 200)
    line = np.stack([25 * t, *(random.uniform(2, 15, (2, 1)) * np.sin(random.uniform(1, 4, (2, 1)) * t))])
    points = np.zeros((64,) * 3, bool)
    points[tuple((line[random.permutation(3)] + 31.5).round().astype(int))] = True
    return ndimage.distance_transform_edt(~points) < random.uniform(1.5, 5)


def ring(random: np.random.Generator) -> np.ndarray:
    x, y, z = _index()
    return (np.hypot(x, y) - random.uniform(10, 18)) ** 2 + z**2 < random.uniform(2, 6) ** 2


def grain(random: np.random.Generator) -> np.ndarray:
    return random.random((64,) * 3) < random.uniform(0.02, 0.6)


def plate(random: np.random.Generator) -> np.ndarray:
    return (np.abs(_index()) < np.array([random.uniform(1, 3), *random.uniform(8, 25, 2)])[:, None, None, None]).all(0)


def masks_of(paths: Sequence[Path], count: int, without: Sequence[int] = (), only: Sequence[int] = ()) -> list[Image]:
    """Each segment of label maps by itself."""
    found = []
    for path in paths:
        image = volume(path)
        values = np.rint(image.array).astype(int)
        for value in np.unique(values):
            if value and value not in without and (not only or value in only):
                mask = values == value
                if mask.sum() > 20 and min(mask.shape) > 1:
                    found.append(image.with_array(mask.astype(np.uint8)))
            if len(found) == count:
                return found
    return found


def thresholded(paths: Sequence[Path], count: int) -> list[Image]:
    """What a threshold leaves of images."""
    found = []
    for path in paths:
        image = volume(path)
        for share in np.linspace(0.5, 0.98, -(-count // len(paths))):
            cut = np.quantile(image.array, share)
            found.append(image.with_array((image.array > cut).astype(np.uint8)))
    return [image for image in found if image.array.any()][:count]


def foreign_masks(root: Path, half: str) -> Iterator[tuple[str, list[Image], bool]]:
    """Masks of other things than an adrenal gland, and what is no mask; and whether they are of another kind."""
    viewer = root / "viewer"
    body, nifti = viewer / "ct_mr_totalsegmentator", viewer / "nifti"
    if half == "first":
        makers: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
            "boxes": box, "ellipsoids": ellipsoid, "blobs": blob, "noise of voxels": grain,
        }  # fmt: skip
        spines = sorted((root / "lumbar_spine_mr" / "labelsTr").glob("*.nii.gz"))
        yield "vertebrae", masks_of(spines, COUNT), True
        heads = sorted((root / "synthseg_labelmaps_2mm").glob("*.nii.gz"))
        yield "structures of the brain", masks_of(heads[::7], COUNT, only=(4, 10, 11, 12, 13, 16, 43, 49, 50, 51)), True
        yield "thresholds of CT", thresholded([body / "example_ct.nii.gz"], 20), True
        yield "volumes of CT, no masks", [volume(body / "example_ct.nii.gz")], True
    else:
        makers = {"balls": ball, "bent tubes": tube, "rings": ring, "plates": plate}
        hippocampi = sorted((root / "Task04_Hippocampus" / "labelsTr").glob("*.nii.gz"))[::4]
        whole = [image.with_array((image.array > 0).astype(np.uint8)) for image in map(volume, hippocampi)]
        yield "hippocampi", whole[:COUNT], True
        necks = sorted((root / "headneck_ct" / "labelsTr").glob("*.nii.gz"))
        yield "organs of the neck", masks_of(necks[:20], COUNT), True
        organs = [body / "example_seg.nii.gz", body / "example_seg_dicom.nii.gz", body / "example_seg_mr.nii.gz"]
        adrenals = (8, 9)  # of TotalSegmentator's classes
        yield "organs of the trunk", masks_of(organs[:2], COUNT, without=adrenals), True
        vessels = sorted((body / "aorta_report").glob("*.nii.gz")) + sorted(
            (body / "pulmonary_report").glob("*.nii.gz")
        )
        yield "vessels and heart", masks_of([p for p in vessels if "ct_cropped" not in p.name], COUNT), True
        yield "thresholds of MR", thresholded([nifti / "mr_stroke_T1.nii.gz", nifti / "mr_spine_t2.nii.gz"], 20), True
        images = [nifti / "mr_stroke_T1.nii.gz", nifti / "ct_chest_lidc_0314_1p5mm.nii.gz", body / "example_seg.nii.gz"]
        yield "volumes of MR and CT, a label map", [volume(path) for path in images], True
        yield "adrenal glands drawn by another network", masks_of(organs[:2], COUNT, only=adrenals), False
    for kind, make in makers.items():
        random = np.random.default_rng(0)
        cubes = [make(random).astype(np.uint8) for _ in range(COUNT)]
        yield kind, [Image(c, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3)) for c in cubes], True


def in_slices(mask: Image, step: int) -> Image:
    """As a scan of thicker slices gives it."""
    x, y, z = mask.spacing
    return dataclasses.replace(mask, array=mask.array[:, :, ::step], spacing=(x, y, z * step))


# -- the table ---------------------------------------------------------------------------------------------------------


def kinds_of(model: Model, root: Path, half: str) -> Iterator[tuple[str, list[list[Image]], bool]]:
    """Kinds of images, and whether they are of another kind than ``model`` knows; its own first."""
    name, preprocessing = model.card.name, model.card.preprocessing
    samples = read_image_set(root / "medmnist" / f"{SETS[name]}.npz").split(SPLITS[half])
    own = [sample.read(preprocessing) for sample in samples]
    yield f"own {SPLITS[half]} images", own, False
    if preprocessing.slice_axis is None:
        for mm in (2, 5) if half == "first" else (3, 4):
            yield f"own, in slices of {mm} mm", [[in_slices(channels[0], mm)] for channels in own[:COUNT]], False
        for kind, masks, foreign in foreign_masks(root, half):
            yield kind, [[mask] for mask in masks], foreign
        return
    for kind, pictures in foreign_pictures(root, name, half):
        yield kind, [as_input(picture, preprocessing.color) for picture in pictures], True
    pixels = [np.stack([c.array[..., 0].T for c in channels], axis=-1).squeeze() for channels in own]
    for kind, pictures, foreign in own_changed(model, pixels, half):
        yield kind, [as_input(picture, preprocessing.color) for picture in pictures], foreign
    if name == "pneumonia" and half == "second":
        chest = root / "viewer" / "nifti" / "ct_chest_lidc_0314_1p5mm.nii.gz"
        adult = projections(chest, 1, COUNT // 3, np.random.default_rng(0))
        yield "an adult's chest radiograph, of a CT", [as_input(picture, color=False) for picture in adult], False


def refuses(model: Model, channels: list[Image]) -> bool:
    try:
        return classify(model, channels).refused
    except LLMBoostError:
        return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(SETS), help="models; by default all that are shipped")
    parser.add_argument("--data", type=Path, required=True, help="folder with medmnist, viewer and the other data sets")
    parser.add_argument("--half", choices=SPLITS, default="second", help="which kinds")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.names:
        model, total, refused = load_model(find(name)), 0, 0
        print(f"\n| {name} | images | refused |\n|---|---|---|")
        for kind, images, foreign in kinds_of(model, arguments.data, arguments.half):
            count = sum(refuses(model, channels) for channels in images)
            total, refused = total + foreign * len(images), refused + foreign * count
            known = "" if foreign or kind.startswith(("own val", "own test")) else " (not foreign)"
            print(f"| {kind}{known} | {len(images)} | {count / len(images):.1%} |", flush=True)
        print(f"| all that is foreign | {total} | {refused / total:.1%} |")


if __name__ == "__main__":
    main()
