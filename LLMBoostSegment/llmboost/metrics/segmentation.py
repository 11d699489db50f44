"""How good a segmentation is: the measures of one case, and their summary over cases with confidence intervals.

The choice of measures follows Maier-Hein et al., "Metrics Reloaded", Nature Methods 2024: an overlap measure (Dice)
beside a boundary measure (normalized surface distance), per label and per case, with undefined values kept apart.
Undefined values are None, since JSON has no NaN.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

MEASURES = (
    "dice",
    "jaccard",
    "hd95_mm",
    "nsd_1mm",
    "precision",
    "sensitivity",
    "specificity",
    "accuracy",
    "volume_ml",
    "reference_ml",
)
AVERAGED = ("dice", "hd95_mm", "nsd_1mm")
TOLERANCE_MM = 1.0
RESAMPLES = 2000

Scores = dict[str, dict[str, float | None]]
Box = tuple[slice, ...]


def segmentation_scores(
    prediction: ArrayLike,
    reference: ArrayLike,
    spacing: Sequence[float],
    labels: Iterable[int],
    ignore: int | None = None,
    undrawn: Collection[int] = (),
) -> Scores:
    """The measures of one case, each as ``{label: value}`` with the label value as a string.

    - ``dice``, ``jaccard``, ``precision``, ``sensitivity``, ``specificity``, ``accuracy``: over voxels, the label
      against all else.
    - ``hd95_mm``: the larger of the two directed 95th percentiles (linear interpolation) of the distances from each
      boundary voxel of one mask to the nearest boundary voxel of the other, between voxel centers. A boundary voxel
      has a face neighbor outside the mask.
    - ``nsd_1mm``: normalized surface distance (surface Dice) of Nikolov et al. 2018 (arXiv:1809.04430) at 1 mm: the
      share of both surfaces' area, as surface elements between the voxel centers, that lies within 1 mm (inclusive)
      of the other surface.
    - ``volume_ml``, ``reference_ml``: the volumes of prediction and reference.

    Beyond the image lies background, so that a mask cut by the image's border has a surface there. An image of one
    slice is measured in the plane (contours); in three dimensions every voxel of it would be a boundary voxel.

    Voxels whose reference equals ``ignore`` are left out of the overlap measures and of both volumes, and count as
    background of both masks for the surface measures.

    Empty masks: both empty gives Dice, Jaccard and NSD 1 and HD95 0 (absence was found correctly); one empty gives
    Dice, Jaccard and NSD 0 and HD95 None. Ratios of 0 to 0 are None: precision without predicted voxels, sensitivity
    without reference voxels. Where every voxel is ignored there is nothing to judge: all is None but the volumes.

    Args:
        prediction: label values, integers of shape (I, J, K).
        reference: label values, integers of the same shape.
        spacing: voxel size in mm along i, j, k.
        labels: the label values to measure, each above 0.
        ignore: the value that marks unlabeled voxels in the reference.
        undrawn: the labels that nobody drew in this case: all is None, also where they were predicted.

    Raises:
        ValueError: arrays that are not integer, three-dimensional and of one shape; a spacing that is not three
            positive numbers; a label below 1 or equal to ``ignore``.
        RuntimeError: a mask of more than 2**24 boundary voxels (torch.quantile's limit, far beyond any organ).
    """
    from scipy.ndimage import find_objects

    predicted, true = np.asarray(prediction), np.asarray(reference)
    wanted = sorted({int(label) for label in labels})
    _check(predicted, true, spacing, wanted, ignore)
    counted = true.size
    if ignore is not None:
        ignored = true == ignore
        predicted, true = np.where(ignored, 0, predicted), np.where(ignored, 0, true)
        counted -= int(np.count_nonzero(ignored))
    voxel_ml, steps = float(np.prod(spacing)) / 1000, [float(step) for step in spacing]
    if true.shape.count(1) == 1:  # a single slice
        flat = true.shape.index(1)
        predicted, true = predicted.squeeze(flat), true.squeeze(flat)
        del steps[flat]

    scores: Scores = {measure: {} for measure in MEASURES}
    # One pass per image finds every label's bounding box; the rest then costs as little as the label is small.
    highest = max(wanted, default=1)
    boxes = find_objects(predicted, highest), find_objects(true, highest)
    for label in wanted:
        if label in undrawn:
            for measure in MEASURES:
                scores[measure][str(label)] = None
            continue
        box = _union(boxes[0][label - 1], boxes[1][label - 1])
        values = _label_scores(predicted[box] == label, true[box] == label, steps, voxel_ml, counted)
        for measure in MEASURES:
            scores[measure][str(label)] = values[measure]
    return scores


def summarize(cases: Sequence[Mapping[str, Any]], seed: int = 0, groups: Sequence[str] | None = None) -> dict[str, Any]:
    """The summary over cases: per measure and label, and over labels, with 95 % percentile bootstrap intervals.

    Cases of one subject are not independent: with ``groups`` whole subjects are drawn (cluster bootstrap), which
    leaves the means over cases as they are and gives honest intervals. All figures come from the same 2,000 draws.

    Args:
        cases: results of :func:`segmentation_scores`, each with whatever else the caller keeps in it (``id``).
        seed: of the bootstrap; the same seed gives the same intervals.
        groups: the subject of each case, in the order of ``cases``.

    Returns:
        ``{"n_cases", "n_groups"}`` and, per measure, ``{label: {"mean", "std", "n", "undefined", "ci95"}}``: ``n``
        cases with a value, ``undefined`` without one, which the mean leaves out (watch it beside HD95: a model that
        finds nothing has no HD95 at all), the standard deviation of the sample (n - 1) and ``[low, high]``. Also
        ``mean_dice``, ``mean_hd95_mm``, ``mean_nsd_1mm`` (a case's mean over the labels with a value, then the mean
        over cases), each with ``..._ci95``. ``std`` is None below two cases, an interval below two groups.

    Raises:
        ValueError: no cases, or not one group per case.
    """
    if not cases:
        raise ValueError("no cases to summarize")
    if groups is not None and len(groups) != len(cases):
        raise ValueError(f"{len(groups)} groups for {len(cases)} cases")
    member = np.arange(len(cases)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    n_groups = int(member.max()) + 1
    # A resample is fully told by how often each group is drawn; its mean is then a ratio of weighted sums.
    generator = np.random.default_rng(seed)
    draws = generator.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=RESAMPLES).astype(np.float64)

    summary: dict[str, Any] = {"n_cases": len(cases), "n_groups": n_groups}
    for measure in MEASURES:
        names = sorted({label for case in cases for label in case.get(measure, {})}, key=int)
        table = np.array([[case.get(measure, {}).get(label) for label in names] for case in cases], dtype=np.float64)
        summary[measure] = {label: _describe(table[:, i], member, draws) for i, label in enumerate(names)}
        if measure in AVERAGED:
            defined = ~np.isnan(table)
            means = np.full(len(cases), np.nan)
            np.divide(np.nansum(table, axis=1), defined.sum(axis=1), out=means, where=defined.any(axis=1))
            overall = _describe(means, member, draws)
            summary[f"mean_{measure}"], summary[f"mean_{measure}_ci95"] = overall["mean"], overall["ci95"]
    return summary


def _check(
    predicted: NDArray[Any], true: NDArray[Any], spacing: Sequence[float], labels: list[int], ignore: int | None
) -> None:
    if predicted.shape != true.shape or true.ndim != 3:
        raise ValueError(f"two three-dimensional arrays of one shape expected, got {predicted.shape} and {true.shape}")
    if not all(np.issubdtype(array.dtype, np.integer) for array in (predicted, true)):
        raise ValueError(f"integer label values expected, got {predicted.dtype} and {true.dtype}")
    if len(spacing) != 3 or not all(0 < step < float("inf") for step in spacing):
        raise ValueError(f"a spacing of three positive numbers expected, got {tuple(spacing)}")
    if any(label < 1 or label == ignore for label in labels):
        raise ValueError(f"labels above 0 and other than ignore ({ignore}) expected, got {labels}")


def _union(first: Box | None, second: Box | None) -> Box:
    """The smallest box around two boxes of :func:`scipy.ndimage.find_objects`, where None means a label not found."""
    if first is None or second is None:
        return first or second or (slice(0, 0),)
    return tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(first, second, strict=True))


def _label_scores(
    predicted: NDArray[np.bool_], true: NDArray[np.bool_], spacing: list[float], voxel_ml: float, counted: int
) -> dict[str, float | None]:
    """The measures of two masks, cropped to a box that holds both; the whole image has ``counted`` voxels to judge."""
    hits = int(np.count_nonzero(predicted & true))
    size, reference_size = int(np.count_nonzero(predicted)), int(np.count_nonzero(true))
    either = size + reference_size - hits

    agreed = 1.0 if counted else None
    hd95, nsd = (0.0 if counted else None), agreed
    if size and reference_size:
        hd95, nsd = _surface_scores(predicted, true, spacing)
    elif either:
        hd95, nsd = None, 0.0
    return {
        "dice": 2 * hits / (size + reference_size) if either else agreed,
        "jaccard": hits / either if either else agreed,
        "hd95_mm": hd95,
        "nsd_1mm": nsd,
        "precision": _ratio(hits, size),
        "sensitivity": _ratio(hits, reference_size),
        "specificity": _ratio(counted - either, counted - reference_size),
        "accuracy": _ratio(counted - either + hits, counted),
        "volume_ml": size * voxel_ml,
        "reference_ml": reference_size * voxel_ml,
    }


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _surface_scores(predicted: NDArray[np.bool_], true: NDArray[np.bool_], spacing: list[float]) -> tuple[float, float]:
    """HD95 in mm and NSD of two masks that are not empty, in two or three dimensions."""
    import torch
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance
    from monai.metrics.surface_dice import compute_surface_dice

    # A margin of background closes the surfaces at the box's sides, whatever MONAI does at an image's border.
    # MONAI wants (batch, class, *spatial) and would drop the first class as background.
    one, other = (torch.from_numpy(np.pad(mask, 1))[None, None] for mask in (predicted, true))
    with warnings.catch_warnings():  # MONAI 1.6 warns of its own call of a deprecated argument
        warnings.simplefilter("ignore", FutureWarning)
        hd95 = compute_hausdorff_distance(one, other, include_background=True, percentile=95, spacing=spacing)
        nsd = compute_surface_dice(
            one, other, class_thresholds=[TOLERANCE_MM], include_background=True, spacing=spacing, use_subvoxels=True
        )
    return float(hd95), float(nsd)


def _describe(values: NDArray[np.float64], member: NDArray[Any], draws: NDArray[np.float64]) -> dict[str, Any]:
    """Mean, spread and interval of one value per case (NaN: undefined); ``member`` gives each case's group and
    ``draws`` (resamples, groups) how often a resample holds each group."""
    defined = ~np.isnan(values)
    kept, n_groups = values[defined], draws.shape[1]
    sums = np.bincount(member[defined], kept, n_groups)
    counts = np.bincount(member[defined], minlength=n_groups)
    interval = None
    if np.count_nonzero(counts) > 1:
        drawn = draws @ counts
        some = drawn > 0
        interval = [float(q) for q in np.quantile((draws @ sums)[some] / drawn[some], (0.025, 0.975))]
    return {
        "mean": float(kept.mean()) if kept.size else None,
        "std": float(kept.std(ddof=1)) if kept.size > 1 else None,
        "n": int(kept.size),
        "undefined": int(values.size - kept.size),
        "ci95": interval,
    }
