"""Images that show a head, part of one, or none: what the guard of `brain` and `hippocampus` is measured on.

Real ones are read from the folders of data that are there; others are made of those (worse scans of the same heads,
other intensities of the same CT) or drawn by code.
"""

from __future__ import annotations

import importlib.util
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from llmboost.io.dicom import find_series, read_series
from llmboost.io.image import Image, read_image, resample_to_spacing, to_canonical
from llmboost.learn.augment import IMAGE
from reorient_dataset import reorient
from synthesis import SyntheticHeads, read_head_map

HEAD, PART, OTHER = "head", "part of a head", "no head"
MNI152 = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
HEADS = {
    "ch2": "templates/ch2.nii.gz",
    "studyforrest": "dicom/mr_t1_head_studyforrest.zip",
    "stroke_T1": "nifti/mr_stroke_T1.nii.gz",
    "stroke_T2": "nifti/mr_stroke_T2.nii.gz",
    "stroke_FLAIR": "nifti/mr_stroke_FLAIR.nii.gz",
    "seg3d": "nifti/mr_head_seg3d.nii.gz",
}
BODIES = {
    "spine MR": "nifti/mr_spine_t2.nii.gz",
    "body MR": "ct_mr_totalsegmentator/example_mr_sm.nii.gz",
    "body PET": "dicom/pet_wholebody_qin_headneck_with_seg.zip",
    "chest CT": "nifti/ct_chest_lidc_0314_1p5mm.nii.gz",
    "abdomen CT": "ct_mr_totalsegmentator/example_ct.nii.gz",
    "slab CT": "ct_mr_totalsegmentator/example_ct_sm.nii.gz",
    "aorta CT": "ct_mr_totalsegmentator/aorta_report/ct_cropped.nii.gz",
    "pulmonary CT": "ct_mr_totalsegmentator/pulmonary_report/ct_cropped.nii.gz",
    "three CT slices": "dicom/ct_3slice_with_liver_seg_dcmqi.zip",
    "labels of a brain": "templates/aal.nii.gz",
    "labels of white matter": "templates/JHU-WhiteMatter-labels-1mm.nii.gz",
    "labels of a body": "ct_mr_totalsegmentator/example_seg.nii.gz",
}
CT_HEADS = {
    "CT head, cranium": "nifti/ct_head_invesalius_cranium.nii.gz",
    "CT head, quarter": "nifti/ct_head_vtk_quarter.nrrd",
    "CT head, tilted": "dicom/ct_head_ge_gantry_tilt.zip",
}


@dataclass(frozen=True)
class Sample:
    """An image, what it shows (``HEAD``, ``PART`` or ``OTHER``), and of what kind it is, for the table."""

    name: str
    shows: str
    kind: str
    image: Image


Change = Callable[[Image, np.random.Generator], Image]


def samples(data: Path, ways: int = 4) -> Iterator[Sample]:
    """All of them; each head in ``ways`` of the worse forms, drawn by lot but the same each time."""
    for name, kind, image in heads(data):
        yield Sample(name, HEAD, kind, image)
        for way, shows, change in _drawn(name, ways):
            yield Sample(f"{name}, {way}", shows, way, change(image, _random(name + way)))
    for name, kind, image in others(data):
        yield Sample(name, OTHER, kind, image)
        if not kind.startswith("drawn") and len(name) % 2:
            for way, _, change in _drawn(name, 1):
                yield Sample(f"{name}, {way}", OTHER, kind, change(image, _random(name + way)))
    for name, image in drawn():
        yield Sample(name, OTHER, "drawn", image)


def heads(data: Path) -> Iterator[tuple[str, str, Image]]:
    wheel = importlib.util.find_spec("nilearn")
    if wheel is not None and wheel.submodule_search_locations:
        yield "MNI152", "T1", read(Path(wheel.submodule_search_locations[0]) / MNI152)
    for name, file in HEADS.items():
        yield name, "without skull" if "stroke" in name else "T1", read(data / "viewer" / file)
    for kind in ("t1", "flair"):
        for path in sorted((data / "heads_t1_flair_2mm" / kind).glob("*.nii.gz")):
            yield f"{path.name[:7]} {kind}", kind.upper(), read(path)
    maps = [read_head_map(path) for path in sorted((data / "synthseg_labelmaps_2mm").glob("*.nii.gz"))[-4:]]
    made = SyntheticHeads(maps, (96, 112, 96), 2.0, 12, 77, negative=0) if maps else ()
    for n in range(len(made)):
        array = made[n][IMAGE][0].numpy()
        if (made[n]["label"] > 0).sum() * 8 > 900_000:  # a whole brain in view
            yield f"synthetic {n}", "synthetic", Image(array, (2.0,) * 3, (0.0,) * 3, np.diag([-1.0, -1.0, 1.0]))


def others(data: Path) -> Iterator[tuple[str, str, Image]]:
    """Real images of other parts of the body, and of heads in another modality."""
    for name, file in BODIES.items():
        yield name, name, read(data / "viewer" / file)
    for name, file in CT_HEADS.items():
        image = read(data / "viewer" / file)
        values = image.array.astype(np.float32)
        yield name, "CT head", image
        yield f"{name}, +1024", "CT head", image.with_array(values - values.min())
        yield f"{name}, brain window", "CT head", image.with_array(np.clip(values, 0, 80))
        yield f"{name}, bone window", "CT head", image.with_array(np.clip((values + 500) / 2000 * 255, 0, 255))
        yield f"{name}, soft window", "CT head", image.with_array(np.clip((values + 160) / 400 * 255, 0, 255))
    for folder, kind, step in (("lumbar_spine_mr", "lumbar spine MR", 1), ("headneck_ct", "neck CT", 2)):
        for path in sorted((data / folder / "imagesTr").glob("*.nii.gz"))[::step]:
            yield path.name.removesuffix("_0000.nii.gz"), kind, read(path)
    for path in sorted((data / "headneck_ct" / "imagesTr").glob("*.nii.gz"))[1::8]:
        image = read(path)
        values = np.clip((image.array.astype(np.float32) + 160) / 400 * 255, 0, 255)
        yield path.name.removesuffix("_0000.nii.gz") + ", window", "neck CT, windowed", image.with_array(values)
    for path in sorted((data / "Task04_Hippocampus" / "imagesTr").glob("*.nii.gz"))[:4]:
        image = read(path)
        i, j, k = image.spacing
        large = replace(image, spacing=(4 * i, 4 * j, 4 * k))
        yield f"{path.name[:15]} enlarged", "hippocampus crop, enlarged", large
    pictures = sorted((data / "sunnybrook_lv" / "test" / "images").glob("*.png"))
    for n in range(0, 60, 20):
        stack = np.concatenate([read(path).array for path in pictures[n : n + 10]], axis=2)
        image = Image(stack, (1.4, 1.4, 8.0), (0.0, 0.0, 0.0), np.diag([-1.0, -1.0, 1.0]))
        yield f"heart {n}", "heart MR", image


# -- drawn by code -----------------------------------------------------------------------------------------------------


def drawn() -> Iterator[tuple[str, Image]]:
    random = np.random.default_rng(0)
    shape = (110, 110, 100)
    x, y, z = (
        ((np.arange(n) - (n - 1) / 2) * 2.0).reshape([-1 if a == b else 1 for b in range(3)])
        for a, n in enumerate(shape)
    )

    def place(array: np.ndarray, noise: float = 0.03) -> Image:
        array = array + noise * np.abs(array).max() * random.standard_normal(shape)
        return Image((1000 * array).astype(np.float32), (2.0,) * 3, (0.0,) * 3, np.diag([-1.0, -1.0, 1.0]))

    r = np.sqrt(x**2 + y**2 + z**2)
    disk = np.sqrt(x**2 + y**2)
    head = np.sqrt((x / 75) ** 2 + (y / 92) ** 2 + (z / 70) ** 2)
    yield "ball of water", place(1.0 * (r < 80))
    yield "small ball", place(1.0 * (r < 50))
    yield "ball, rim", place(0.5 * (r < 85) + 0.5 * ((r > 76) & (r < 85)))
    yield "ball, dark rim", place(1.0 * (r < 72) + 0.8 * ((r > 80) & (r < 88)))
    yield "apple", place(0.8 * (r < 40) + 0.2 * ((r > 37) & (r < 40)) - 0.5 * ((disk < 6) & (r < 25)))
    yield "bottle", place(1.0 * ((disk < 45) & (abs(z) < 85)))
    yield "wide bottle", place(1.0 * ((disk < 90) & (abs(z) < 85)))
    yield "bottle on its side", place(1.0 * ((np.sqrt(x**2 + z**2) < 60) & (abs(y) < 90)))
    yield "bottles", place(1.0 * ((np.sqrt((abs(x) - 40) ** 2 + y**2) < 30) & (abs(z) < 80)))
    yield "bottle, rods", place((1 - 0.6 * ((disk % 30) < 8)) * ((disk < 85) & (abs(z) < 85)))
    yield "box", place(1.0 * ((abs(x) < 70) & (abs(y) < 85) & (abs(z) < 70)))
    yield (
        "box, grid",
        place((0.6 + 0.4 * ((abs(x) % 20 < 4) | (abs(y) % 20 < 4))) * ((abs(x) < 80) & (abs(y) < 80) & (abs(z) < 80))),
    )
    yield (
        "resolution phantom",
        place(
            (1 - 0.7 * (np.sqrt((abs(x) - 35) ** 2 + (abs(y) - 35) ** 2) < 12) + 0 * z) * ((disk < 88) & (abs(z) < 70))
        ),
    )
    yield "egg", place(1.0 * (head < 1))
    yield "egg, shell", place(0.6 * (head < 0.85) + 1.0 * ((head > 0.92) & (head < 1)))
    yield "egg, yolk", place(0.5 * (head < 1) + 0.4 * (head < 0.5))
    yield "egg, layers", place(0.3 * (head < 1) + 0.3 * (head < 0.86) + 0.35 * (head < 0.7) - 0.5 * (head < 0.25))
    cavities = np.sqrt(((abs(x) - 14) / 8) ** 2 + (y / 30) ** 2 + (z / 15) ** 2) < 1
    yield "egg, two holes", place(0.3 * (head < 1) + 0.3 * (head < 0.86) + 0.35 * (head < 0.7) - 0.8 * cavities)
    coil = np.exp(-((x - 60) ** 2 + (y + 60) ** 2) / 8000) + 0 * z
    yield "ball, one coil", place(coil * (r < 85))
    yield (
        "knee",
        place(
            0.6 * (disk < 70)
            + 0.4 * ((disk < 70) & (disk > 62))
            - 0.3 * ((r < 35) & (z > 4))
            - 0.25 * ((np.sqrt(x**2 + (y - 5) ** 2) < 28) & (abs(z) > 12))
        ),
    )
    breast = ((np.sqrt(((abs(x) - 60) / 50) ** 2 + ((y - 10) / 80) ** 2 + (z / 60) ** 2) < 1) & (y > 0)) | (
        (y < 5) & (y > -60)
    )
    yield "breasts", place(breast * (0.7 + 0.3 * np.sin(x / 9) * np.sin(y / 7) * np.sin(z / 8)))
    yield "noise", place(np.ones(shape), 0.3)
    yield "noise alone", place(np.full(shape, 0.1), 1.0)
    smooth = ndimage.gaussian_filter(random.standard_normal(shape), 8)
    yield "clouds", place(smooth / smooth.std())
    yield "clouds in a ball", place((1 + smooth / smooth.std() / 3) * (head < 1))
    fine = ndimage.gaussian_filter(random.standard_normal(shape), 3)
    yield "fine clouds in a ball", place((1 + fine / fine.std() / 3) * (head < 1))
    yield "gradient", place(x + 110 + 0 * y + 0 * z, 0.0)
    yield "gradient in z", place(z + 110 + 0 * y + 0 * x, 0.01)
    yield "waves", place(np.sin(x / 15) * np.sin(y / 15) * np.sin(z / 15))
    yield "constant", place(np.ones(shape), 0.0)
    yield "zeros", place(np.zeros(shape), 0.0)
    yield "one bright voxel", place(1.0 * (r == r.min()), 0.0)
    yield "cubes", place(1.0 * (random.random((11, 11, 10)) > 0.5).repeat(10, 0).repeat(10, 1).repeat(10, 2))


# -- worse forms -------------------------------------------------------------------------------------------------------


def _random(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))


def _drawn(name: str, ways: int) -> list[tuple[str, str, Change]]:
    chosen = np.random.default_rng(zlib.crc32(name.encode()) + 1).choice(len(WAYS), min(ways, len(WAYS)), replace=False)
    return [WAYS[n] for n in sorted(chosen)]


def _thick(mm: float, axis: int) -> Change:
    def change(image: Image, _random: np.random.Generator) -> Image:
        grid = to_canonical(image)
        return resample_to_spacing(grid, [mm if n == axis else own for n, own in enumerate(grid.spacing)])

    return change


def _cut(axis: int, first: float, last: float) -> Change:
    """The part of the object's own extent along R, A or S."""

    def change(image: Image, _random: np.random.Generator) -> Image:
        grid = to_canonical(image)
        values = grid.array.astype(np.float32)
        there = values > np.percentile(values, 0.5) + 0.15 * np.ptp(np.percentile(values, (0.5, 99.5)))
        along = np.flatnonzero(there.mean(axis=tuple(n for n in range(3) if n != axis)) > 0.02)
        a, b = (along[0], along[-1] + 1) if len(along) else (0, grid.shape[axis])
        low, high = round(a + first * (b - a)), round(a + last * (b - a))
        inside = tuple(slice(low, max(high, low + 2)) if n == axis else slice(None) for n in range(3))
        origin = grid.affine[:3, :3] @ [part.start or 0 for part in inside] + grid.origin
        return replace(grid, array=grid.array[inside], origin=tuple(origin))

    return change


def _order(image: Image, random: np.random.Generator) -> Image:
    return reorient(image, tuple(random.permutation(3).tolist()), tuple(random.choice([1, -1], 3).tolist()))


def _noise(image: Image, random: np.random.Generator) -> Image:
    values = image.array.astype(np.float32)
    return image.with_array(values + 0.6 * values.std() * random.standard_normal(values.shape).astype(np.float32))


def _faint(image: Image, _random: np.random.Generator) -> Image:
    values = image.array.astype(np.float32)
    low, high = np.percentile(values, (0.5, 99.5))
    return image.with_array(np.clip((values - low) / (high - low), 0, 1) ** 0.5 * 40 + 100)


def _bias(image: Image, random: np.random.Generator) -> Image:
    ramps = [np.linspace(-1, 1, n).reshape([-1 if a == b else 1 for b in range(3)]) for a, n in enumerate(image.shape)]
    field = sum(random.uniform(-0.6, 0.6) * ramp for ramp in ramps)
    values = image.array.astype(np.float32)
    return image.with_array((values - values.min()) * np.exp(field).astype(np.float32))


def _blur(image: Image, _random: np.random.Generator) -> Image:
    return image.with_array(ndimage.gaussian_filter(image.array.astype(np.float32), 2.5 / np.array(image.spacing)))


def _tilted(image: Image, random: np.random.Generator) -> Image:
    """The patient's head turned, by 20 degrees about the axis to the right and a few about the others."""
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_euler("xyz", (random.choice([-20, 20]), *random.uniform(-8, 8, 2)), degrees=True).as_matrix()
    return replace(image, direction=turn @ image.direction)


WAYS: list[tuple[str, str, Change]] = [
    *((f"{mm} mm slices along {name}", HEAD, _thick(mm, n)) for n, name in enumerate("RAS") for mm in (5, 6)),
    ("left half", PART, _cut(0, 0.0, 0.5)),
    ("one side cut off", PART, _cut(0, 0.0, 0.75)),
    ("face cut off", HEAD, _cut(1, 0.0, 0.85)),
    ("back cut off", PART, _cut(1, 0.25, 1.0)),
    ("upper half", PART, _cut(2, 0.5, 1.0)),
    ("lower part", PART, _cut(2, 0.0, 0.75)),
    ("top cut off", PART, _cut(2, 0.0, 0.9)),
    ("other axes", HEAD, _order),
    ("noise", HEAD, _noise),
    ("low contrast", HEAD, _faint),
    ("bias", HEAD, _bias),
    ("blurred", HEAD, _blur),
    ("tilted", HEAD, _tilted),
]


def read(path: Path) -> Image:
    """The image of a file, or that of the largest DICOM series in a zip file."""
    if path.suffix != ".zip":
        return read_image(path)
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(path).extractall(folder)
        series = max(find_series(Path(folder)), key=lambda one: len(one.files))
        return read_series(series)[0][0]
