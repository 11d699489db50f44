"""The measures against values worked out by hand and against surface distances written out pair by pair."""

import itertools
import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cdist

from llmboost.metrics.segmentation import MEASURES, segmentation_scores, summarize

SPACING = (0.5, 1.5, 2.0)


def block(start, stop, shape=(16, 16, 16), value=1):
    """An image with one box of ``value`` from ``start`` up to, not including, ``stop``."""
    image = np.zeros(shape, np.uint8)
    image[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = value
    return image


def score(prediction, reference, spacing=(1, 1, 1), **options):
    return {
        name: values["1"]
        for name, values in segmentation_scores(prediction, reference, spacing, [1], **options).items()
    }


def boundary_voxels(mask, spacing):
    """Centers in mm of the voxels with a face neighbor outside the mask; ``mask`` does not touch the border."""
    inside = mask.copy()
    for axis, step in itertools.product(range(mask.ndim), (-1, 1)):
        inside &= np.roll(mask, step, axis)
    return np.argwhere(mask & ~inside) * np.array(spacing)


def brute_hd95(one, other, spacing):
    distances = cdist(boundary_voxels(one, spacing), boundary_voxels(other, spacing))
    return max(np.percentile(distances.min(axis), 95) for axis in (0, 1))


def surface_elements(mask, spacing):
    """Positions (mm) and areas of the surface elements of a box: one in each cell of eight voxel centers.

    A cell holds 4, 2 or 1 voxels of a box: a face (a rectangle), an edge (a rectangle through two half steps) or a
    corner (a triangle through three half steps). In two dimensions the same gives the lengths of a contour.
    """
    positions, areas = [], []
    for corner in itertools.product(*(range(n - 1) for n in mask.shape)):
        cell = mask[tuple(slice(c, c + 2) for c in corner)]
        if not cell.any() or cell.all():
            continue
        crossed = [axis for axis in range(mask.ndim) if len(set(np.argwhere(cell)[:, axis])) == 1]
        along = math.prod(step for axis, step in enumerate(spacing) if axis not in crossed)
        half = [spacing[axis] / 2 for axis in crossed]
        if len(crossed) == 3:
            a, b, c = half
            across = math.hypot(a * b, b * c, c * a) / 2
        else:
            across = math.hypot(*half) if len(crossed) == 2 else 1
        positions.append(np.array(corner) * spacing)
        areas.append(along * across)
    return np.array(positions), np.array(areas)


def brute_nsd(one, other, spacing, tolerance=1.0):
    (p, p_area), (q, q_area) = surface_elements(one, spacing), surface_elements(other, spacing)
    distances = cdist(p, q)
    near = p_area[distances.min(1) <= tolerance].sum() + q_area[distances.min(0) <= tolerance].sum()
    return near / (p_area.sum() + q_area.sum())


def test_overlap_of_a_shifted_cube_by_hand():
    reference, prediction = block((4, 4, 4), (8, 8, 8)), block((5, 4, 4), (9, 8, 8))
    found = score(prediction, reference, (1, 2, 3))
    # 64 voxels each, 48 shared, 80 in either, 4096 in all
    assert found["dice"] == pytest.approx(0.75)
    assert found["jaccard"] == pytest.approx(0.6)
    assert found["precision"] == found["sensitivity"] == pytest.approx(0.75)
    assert found["specificity"] == pytest.approx(4016 / 4032)
    assert found["accuracy"] == pytest.approx(4064 / 4096)
    assert found["volume_ml"] == found["reference_ml"] == pytest.approx(0.384)


def test_overlap_of_a_mask_within_another_by_hand():
    found = score(block((4, 4, 4), (8, 8, 6)), block((4, 4, 4), (8, 8, 8)))
    assert (found["precision"], found["sensitivity"], found["specificity"]) == (1, 0.5, 1)
    assert (found["volume_ml"], found["reference_ml"]) == (0.032, 0.064)


def test_labels_are_measured_apart():
    reference = block((1, 1, 1), (4, 4, 4)) + block((6, 6, 6), (9, 9, 9), value=7)
    found = segmentation_scores(block((1, 1, 1), (4, 4, 4)), reference, (1, 1, 1), (7, 1))
    assert set(found) == set(MEASURES)
    assert found["dice"] == {"1": 1, "7": 0}
    assert found["hd95_mm"] == {"1": 0, "7": None}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("shift", [1, 3])
def test_hd95_of_a_shifted_plate_is_the_shift(axis, shift):
    start, stop = [3, 3, 3], [13, 13, 13]
    stop[axis] = 4
    plate = block(start, stop)
    assert score(np.roll(plate, shift, axis), plate, SPACING)["hd95_mm"] == pytest.approx(shift * SPACING[axis])


def test_hd95_of_two_voxels_is_their_distance():
    found = score(block((2, 2, 2), (3, 3, 3)), block((5, 6, 7), (6, 7, 8)), (2, 3, 4))
    assert found["hd95_mm"] == pytest.approx(math.hypot(6, 12, 20))


def test_hd95_takes_the_worse_direction():
    """All of the prediction lies in the reference; only the reference's voxels are far from the other."""
    reference, prediction = block((3, 8, 8), (13, 9, 9)), block((3, 8, 8), (4, 9, 9))
    assert score(prediction, reference)["hd95_mm"] == pytest.approx(np.percentile(range(10), 95))


@pytest.mark.parametrize("shift", [(1, 0, 0), (0, 2, 0), (0, 0, 4), (3, 1, 2)])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), SPACING])
def test_surface_measures_of_a_shifted_box_agree_with_all_pairs(shift, spacing):
    reference, prediction = block((3, 3, 3), (8, 7, 9)), np.roll(block((3, 3, 3), (8, 8, 8)), shift, (0, 1, 2))
    found = score(prediction, reference, spacing)
    assert found["hd95_mm"] == pytest.approx(brute_hd95(prediction == 1, reference == 1, spacing), rel=1e-5)
    assert found["nsd_1mm"] == pytest.approx(brute_nsd(prediction == 1, reference == 1, spacing), rel=1e-5)


def test_nsd_counts_what_lies_within_one_millimetre_inclusive():
    reference, prediction = block((4, 4, 4), (9, 9, 9)), block((5, 4, 4), (10, 9, 9))
    assert score(prediction, reference, (1, 1, 1))["nsd_1mm"] == 1
    assert score(prediction, reference, (1.01, 1, 1))["nsd_1mm"] < 0.9
    assert score(np.roll(reference, 6, 0), reference, (2, 9, 9))["nsd_1mm"] == 0


def test_both_empty_is_agreement():
    found = score(*np.zeros((2, 5, 5, 5), int))
    assert (found["dice"], found["jaccard"], found["nsd_1mm"], found["hd95_mm"]) == (1, 1, 1, 0)
    assert found["precision"] is found["sensitivity"] is None
    assert found["specificity"] == found["accuracy"] == 1
    assert found["volume_ml"] == found["reference_ml"] == 0


@pytest.mark.parametrize("missed", [True, False])
def test_one_empty_is_failure_without_a_distance(missed):
    pair = np.zeros((5, 5, 5), int), block((1, 1, 1), (3, 3, 3), (5, 5, 5))
    found = score(*(pair if missed else pair[::-1]))
    assert (found["dice"], found["jaccard"], found["nsd_1mm"], found["hd95_mm"]) == (0, 0, 0, None)
    assert (found["precision"], found["sensitivity"]) == ((None, 0) if missed else (0, None))


def test_ignored_voxels_leave_no_trace():
    reference, prediction = block((4, 4, 4), (8, 8, 8)), block((5, 4, 4), (9, 8, 8))
    clean = score(prediction, reference, SPACING)
    reference[12:], prediction[12:] = 255, 1
    found = score(prediction, reference, SPACING, ignore=255)
    assert {name for name in found if found[name] != clean[name]} == {"specificity", "accuracy"}
    assert found["specificity"] == pytest.approx((12 * 256 - 80) / (12 * 256 - 64))
    assert found["accuracy"] == pytest.approx((12 * 256 - 32) / (12 * 256))


def test_ignored_voxels_are_background_for_surfaces():
    """A prediction that runs on into ignored voxels is cut where they begin, as the reference is."""
    reference, prediction = block((4, 4, 4), (8, 8, 8)), block((4, 4, 4), (14, 8, 8))
    reference[8:] = 255
    found = score(prediction, reference, ignore=255)
    assert (found["dice"], found["hd95_mm"], found["nsd_1mm"]) == (1, 0, 1)


def test_a_case_ignored_throughout_is_no_success():
    found = score(np.ones((3, 3, 3), int), np.full((3, 3, 3), 9), ignore=9)
    assert {name for name, value in found.items() if value is not None} == {"volume_ml", "reference_ml"}


@pytest.mark.parametrize("margin", [1, 4])
def test_cropping_and_the_image_border_change_nothing(margin):
    """Masks that touch the border score as they do in the middle of a larger image, padded here by hand."""
    rng = np.random.default_rng(3)
    prediction, reference = (rng.random((2, 7, 6, 5)) < 0.6).astype(np.int16)
    near = score(prediction, reference, SPACING)
    far = score(np.pad(prediction, margin), np.pad(reference, margin), SPACING)
    for name in ("dice", "jaccard", "precision", "sensitivity", "volume_ml"):
        assert near[name] == far[name]
    assert near["hd95_mm"] == pytest.approx(far["hd95_mm"], rel=1e-6)
    assert near["nsd_1mm"] == pytest.approx(far["nsd_1mm"], rel=1e-6)
    padded = (np.pad(image, 1) == 1 for image in (prediction, reference))
    assert near["hd95_mm"] == pytest.approx(brute_hd95(*padded, SPACING), rel=1e-5)


def test_monai_on_the_whole_image_gives_the_same():
    import torch
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    rng = np.random.default_rng(4)
    prediction, reference = np.zeros((2, 20, 20, 20), int)
    prediction[3:9, 5:14, 2:11], reference[4:10, 5:15, 3:10] = 1, rng.random((6, 10, 7)) < 0.9
    found = score(prediction, reference, SPACING)
    masks = [torch.from_numpy(image == 1)[None, None] for image in (prediction, reference)]
    options = {"include_background": True, "spacing": list(SPACING)}
    assert found["hd95_mm"] == pytest.approx(float(compute_hausdorff_distance(*masks, percentile=95, **options)))
    nsd = compute_surface_dice(*masks, class_thresholds=[1.0], use_subvoxels=True, **options)
    assert found["nsd_1mm"] == pytest.approx(float(nsd))


@pytest.mark.parametrize("axis", range(3))
def test_a_single_slice_is_measured_by_its_contour(axis):
    start, stop, shape, spacing = [4, 4], [11, 11], [16, 16], [1.0, 0.75]
    for values, value in ((start, 0), (stop, 1), (shape, 1), (spacing, 8.0)):
        values.insert(axis, value)
    reference = block(start, stop, shape)
    prediction = np.roll(reference, 3, (axis + 1) % 3)
    flat = (prediction.squeeze(axis) == 1, reference.squeeze(axis) == 1)
    found = score(prediction, reference, spacing)
    in_plane = [step for i, step in enumerate(spacing) if i != axis]
    assert found["hd95_mm"] == pytest.approx(brute_hd95(*flat, in_plane), rel=1e-5)
    assert found["nsd_1mm"] == pytest.approx(brute_nsd(*flat, in_plane), rel=1e-5)
    assert found["nsd_1mm"] < 1
    assert found["volume_ml"] == pytest.approx(49 * 0.75 * 8 / 1000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference": np.zeros((4, 4, 5), int)}, "one shape"),
        ({"prediction": np.zeros((4, 4)), "reference": np.zeros((4, 4))}, "three-dimensional"),
        ({"prediction": np.zeros((4, 4, 4))}, "integer"),
        ({"spacing": (1, 1)}, "spacing"),
        ({"spacing": (1, 0, 1)}, "spacing"),
        ({"spacing": (1, math.nan, 1)}, "spacing"),
        ({"labels": [0, 1]}, "labels"),
        ({"labels": [1, 2], "ignore": 2}, "ignore"),
    ],
)
def test_wrong_arguments_are_refused(change, message):
    image = np.zeros((4, 4, 4), int)
    arguments = {"prediction": image, "reference": image, "spacing": (1, 1, 1), "labels": [1]} | change
    with pytest.raises(ValueError, match=message):
        segmentation_scores(**arguments)


masks = arrays(np.uint8, (4, 5, 3), elements=st.integers(0, 1))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(masks, masks, st.floats(0.25, 4))
def test_properties(one, other, scale):
    there, back = score(one, other, SPACING), score(other, one, SPACING)
    for name in ("dice", "jaccard", "accuracy"):
        assert there[name] == back[name]
    assert there["precision"] == back["sensitivity"]
    assert there["jaccard"] == pytest.approx(there["dice"] / (2 - there["dice"]))
    assert there["hd95_mm"] == back["hd95_mm"]
    assert there["nsd_1mm"] == pytest.approx(back["nsd_1mm"], rel=1e-6)
    scaled = score(one, other, [scale * step for step in SPACING])
    if there["hd95_mm"] is None:
        assert scaled["hd95_mm"] is None
    else:
        assert scaled["hd95_mm"] == pytest.approx(scale * there["hd95_mm"], rel=1e-5)
    assert score(one, one, SPACING)["dice"] == score(one, one, SPACING)["nsd_1mm"] == 1


def cases_of(dice, label="1"):
    return [{"id": str(i), "dice": {label: value}} for i, value in enumerate(dice)]


def test_summary_by_hand():
    cases = [
        {"id": "a", "dice": {"1": 0.8, "2": 0.6}, "hd95_mm": {"1": 2.0, "2": None}, "nsd_1mm": {"1": 1.0, "2": 0.0}},
        {"id": "b", "dice": {"1": 0.9, "2": 0.5}, "hd95_mm": {"1": None, "2": None}, "nsd_1mm": {"1": 1.0, "2": 1.0}},
        {"id": "c", "dice": {"1": 1.0, "2": 1.0}, "hd95_mm": {"1": 4.0, "2": 7.0}, "nsd_1mm": {"1": 1.0, "2": 1.0}},
    ]
    found = summarize(cases)
    assert (found["n_cases"], found["n_groups"]) == (3, 3)
    assert found["dice"]["1"]["mean"] == pytest.approx(0.9)
    assert found["dice"]["1"]["std"] == pytest.approx(0.1)
    assert found["mean_dice"] == pytest.approx((0.7 + 0.7 + 1) / 3)
    assert found["mean_dice_ci95"] == pytest.approx([0.7, 1.0])
    distance = found["hd95_mm"]
    assert (distance["1"]["mean"], distance["1"]["n"], distance["1"]["undefined"]) == (3, 2, 1)
    assert (distance["2"]["mean"], distance["2"]["std"], distance["2"]["ci95"]) == (7, None, None)
    assert found["mean_hd95_mm"] == pytest.approx((2 + 5.5) / 2)
    assert found["mean_nsd_1mm"] == pytest.approx((0.5 + 1 + 1) / 3)
    assert found["precision"] == {}
    json.dumps(found, allow_nan=False)


def test_summary_without_any_value_is_none():
    found = summarize([{"id": "a", "hd95_mm": {"1": None}}])
    assert found["mean_hd95_mm"] is found["mean_hd95_mm_ci95"] is found["mean_dice"] is None
    assert found["hd95_mm"]["1"] == {"mean": None, "std": None, "n": 0, "undefined": 1, "ci95": None}


def test_labels_come_in_numerical_order():
    assert list(summarize([{"dice": {"10": 1.0, "9": 1.0}}])["dice"]) == ["9", "10"]


def test_bootstrap_repeats_with_its_seed():
    cases = cases_of(np.random.default_rng(0).random(20))
    assert summarize(cases, seed=5) == summarize(cases, seed=5)
    assert summarize(cases, seed=5)["mean_dice_ci95"] != summarize(cases, seed=6)["mean_dice_ci95"]


def test_bootstrap_agrees_with_resampling_case_by_case():
    values = np.random.default_rng(1).normal(0.8, 0.1, 30)
    drawn = np.random.default_rng(2).choice(values, (20000, 30)).mean(axis=1)
    assert summarize(cases_of(values))["mean_dice_ci95"] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.004)


def test_interval_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(7)
    intervals = [summarize(cases_of(rng.normal(0.8, 0.1, 40)), seed)["mean_dice_ci95"] for seed in range(100)]
    assert 88 <= sum(low <= 0.8 <= high for low, high in intervals) <= 99


def test_correlated_cases_need_their_groups():
    """Each case twice: drawn case by case the interval shrinks by about sqrt(2), drawn by subject it does not."""
    values = np.random.default_rng(8).normal(0.8, 0.1, 30)
    subjects = [f"s{i // 2:02}" for i in range(60)]

    def width(summary):
        return summary["mean_dice_ci95"][1] - summary["mean_dice_ci95"][0]

    doubled = cases_of(np.repeat(values, 2))
    naive, clustered = summarize(doubled), summarize(doubled, groups=subjects)
    assert clustered["n_groups"] == 30
    assert clustered["mean_dice"] == naive["mean_dice"]
    assert width(clustered) / width(naive) == pytest.approx(math.sqrt(2), rel=0.1)
    assert clustered["mean_dice_ci95"] == pytest.approx(summarize(cases_of(values))["mean_dice_ci95"])


def test_subjects_with_more_cases_weigh_more():
    found = summarize(cases_of([1.0, 1.0, 1.0, 0.0]), groups=["a", "a", "a", "b"])
    assert found["mean_dice"] == 0.75
    assert found["mean_dice_ci95"] == [0, 1]
    assert summarize(cases_of([1.0, 0.5]), groups=["a", "a"])["mean_dice_ci95"] is None


def test_summary_refuses_nothing_and_mismatched_groups():
    with pytest.raises(ValueError, match="no cases"):
        summarize([])
    with pytest.raises(ValueError, match="1 groups for 2 cases"):
        summarize(cases_of([1.0, 1.0]), groups=["a"])


def test_importing_is_light():
    heavy = (
        "import sys, llmboost.metrics.segmentation;"
        " sys.exit(any(m in sys.modules for m in ('torch', 'monai', 'scipy')))"
    )
    assert subprocess.run([sys.executable, "-c", heavy], check=False).returncode == 0
