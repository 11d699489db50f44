"""What turns strokes into segments in experiments: the random walker, and others to compare it with.

The others' packages are no part of the product; they are asked for by name when an arm needs them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from ..errors import LLMBoostError
from ..strokes.walker import walk

# of intensities float32 [i, j, k], classes int16 [i, j, k] with -1 where nothing is known, and mm along i, j, k: the
# class of each voxel
Stroker = Callable[[np.ndarray, np.ndarray, Sequence[float]], np.ndarray]

SCALES_MM = (1.0, 2.0, 4.0)  # of the forest's features
TREES = 50


def stroker(how: str) -> Stroker:
    """One of ``STROKERS``.

    Raises:
        LLMBoostError: there is none of that name, or its package is missing.
    """
    try:
        make, package = STROKERS[how]
    except KeyError as error:
        raise LLMBoostError(f"how '{how}': unknown; use one of {', '.join(STROKERS)}") from error
    try:
        return make()
    except ImportError as error:
        reason = f"how '{how}' needs the package {package} ({error}): pip install {package}"
        raise LLMBoostError(reason) from error


def _walker() -> Stroker:
    return lambda image, classes, spacing: walk(image[None], classes, spacing).argmax(0)


def _grow_from_seeds() -> Stroker:
    """Slicer's own filter behind "Grow from seeds", as its effect sets it: Zhu et al. 2014."""
    slicer, vtk = importlib.import_module("slicer"), importlib.import_module("vtk")
    support = importlib.import_module("vtk.util.numpy_support")

    def volume(array: np.ndarray, spacing: Sequence[float]) -> Any:
        image = vtk.vtkImageData()
        image.SetDimensions(*array.shape)
        image.SetSpacing(*spacing)
        image.GetPointData().SetScalars(support.numpy_to_vtk(array.ravel(order="F"), deep=True))
        return image

    def grow(image: np.ndarray, classes: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
        growing = slicer.vtkImageGrowCutSegment()
        growing.SetIntensityVolume(volume(image, spacing))
        growing.SetSeedLabelVolume(volume((classes + 1).astype(np.int16), spacing))
        growing.SetDistancePenalty(0.0)
        growing.Update()
        found = support.vtk_to_numpy(growing.GetOutput().GetPointData().GetScalars())
        return np.maximum(found.reshape(image.shape, order="F").astype(np.int16) - 1, 0)

    return grow


def _scikit_walker() -> Stroker:
    """scikit-image's random walker with its own edge strength, which expects intensities that vary by about one."""
    segmentation = importlib.import_module("skimage.segmentation")

    def walker(image: np.ndarray, classes: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
        labels = classes.astype(np.int32) + 1
        scaled = image / max(float(image.std()), 1e-6)
        found = segmentation.random_walker(scaled, labels, beta=130, mode="cg_j", spacing=np.array(spacing))
        return np.maximum(found - 1, 0)

    return walker


def _forest() -> Stroker:
    """A random forest on smoothed intensities, edges, blobs and places, as ilastik and Labkit have it."""
    ensemble = importlib.import_module("sklearn.ensemble")

    def forest(image: np.ndarray, classes: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
        features = [image, *np.indices(image.shape)]
        for mm in SCALES_MM:
            sigma = [mm / one for one in spacing]
            smooth = ndimage.gaussian_filter(image, sigma)
            features += [smooth, ndimage.gaussian_gradient_magnitude(image, sigma)]
            features += [ndimage.gaussian_laplace(image, sigma), ndimage.gaussian_filter(image**2, sigma) - smooth**2]
        table = np.stack([one.ravel() for one in features], -1).astype(np.float32)
        known = classes.ravel() >= 0
        trees = ensemble.RandomForestClassifier(TREES, class_weight="balanced", random_state=0, n_jobs=1)
        trees.fit(table[known], classes.ravel()[known])
        return trees.predict(table).reshape(image.shape)

    return forest


STROKERS: dict[str, tuple[Callable[[], Stroker], str]] = {
    "walker": (_walker, "torch"),
    "grow-from-seeds": (_grow_from_seeds, "slicer-core"),
    "scikit-walker": (_scikit_walker, "scikit-image"),
    "forest": (_forest, "scikit-learn"),
}
