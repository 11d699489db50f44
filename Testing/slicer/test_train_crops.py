"""A whole head as cases of a model of crops: one around each structure, with its place, its names and its side."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import slicer
from Testing.slicer.blocks import NAMES

from llmboost import library
from llmboost.card import read_card
from llmboost.errors import LLMBoostError
from llmboost.io.dataset import load, read_dataset
from llmboost.io.datasetcheck import check
from llmboost.io.image import read_image
from llmboost.io.segnrrd import terminology_entry
from llmboost.messages.images import DrawnLabel
from llmboost.messages.words import AdaptTask
from LLMBoostLib.scene.segmentation import writeSegmentation
from LLMBoostLib.training import snapshot
from LLMBoostLib.training.casestore import CaseStore
from LLMBoostLib.training.plan import examine, freeze, makePlan

CARD = read_card(library.find("hippocampus"))
SIDED = tuple(label.name for label in CARD.sided_labels)
SHAPE = (100, 140, 150)  # k, j, i
CENTERS = {"Left": (45, 60, 40), "Right": (47, 64, 110)}  # of the two blocks of a side, where i goes to the right


@pytest.fixture
def store(session, tmp_path) -> CaseStore:
    return CaseStore(tmp_path / "cases")


@pytest.fixture
def makeHead(makeVolume) -> Any:
    """``makeHead(names, ijkToRAS)``: a volume node, and a segmentation node with a block of 10 voxels for each name."""

    def make(names: tuple = SIDED, ijkToRAS: np.ndarray | None = None, model: str = "") -> tuple[Any, Any]:
        volumeNode = makeVolume(np.random.default_rng(0).integers(0, 500, SHAPE).astype(np.int16), ijkToRAS, "Doe^Jane")
        labelmap = np.zeros(SHAPE, np.uint8)
        labels = []
        for value, name in enumerate(names, start=1):
            labels.append(DrawnLabel(value, name, (9, 9, 9)))
            for side, (k, j, i) in CENTERS.items():
                if side in name or not name.startswith(("Left", "Right")):
                    front = j + 10 * ("posterior" not in name.lower())
                    labelmap[k : k + 10, front : front + 10, i : i + 10] = value
        provenance = {"LLMBoost.Model": model} if model else {}
        node = writeSegmentation(labelmap, labels, volumeNode, name="segments", provenance=provenance)
        return volumeNode, node.segmentationNode

    return make


def problems(store: CaseStore) -> tuple[list[str], dict[str, list[str]]]:
    whole, perCase = examine(makePlan(store, CARD, AdaptTask.IMPROVE), store)
    return whole.problems, {id: found.problems for id, found in perCase.items() if found.problems}


def world(image, labels) -> np.ndarray:
    """RAS mm of the middle of what is labeled."""
    places = np.argwhere(labels.array > 0).mean(axis=0)
    return np.diag([-1, -1, 1]) @ (image.affine[:3, :3] @ places + image.origin)


def test_a_whole_head_becomes_a_case_a_side_that_can_be_trained_with(store, makeHead, tmp_path):
    volumeNode, node = makeHead(model="hippocampus")
    cases = snapshot.addCases(store, volumeNode, node)
    assert len(cases) == len(store.cases) == 2
    assert len({case.subject for case in cases}) == 1
    assert problems(store) == ([], {})
    array = slicer.util.arrayFromVolume(volumeNode)
    for case, side in zip(cases, CENTERS, strict=True):
        image, labels = read_image(store.image(case)), read_image(store.labels(case))
        assert not CARD.needs_cascade(case.extent)
        assert all(n >= patch_size for n, patch_size in zip(image.shape, CARD.preprocessing.patch_size, strict=True))
        k, j, i = CENTERS[side]
        # by hand: index (i, j, k) lies at (i, j, k) mm to the right, front and top
        assert world(image, labels) == pytest.approx((i + 4.5, j + 9.5, k + 4.5), abs=1e-3)
        first = np.round(np.diag([-1, -1, 1, 1]) @ image.affine @ [0, 0, 0, 1]).astype(int)[:3]
        corner = np.round(np.diag([-1, -1, 1, 1]) @ image.affine @ [*(np.array(image.shape) - 1), 1]).astype(int)[:3]
        low, high = np.minimum(first, corner), np.maximum(first, corner) + 1
        part = array[low[2] : high[2], low[1] : high[1], low[0] : high[0]].transpose()
        turned = part[tuple(slice(None, None, 1 if a < b else -1) for a, b in zip(first, corner, strict=True))]
        assert np.array_equal(image.array, turned)
        assert sorted(case.voxels.values()) == [1000, 1000]
        kinds = [store.kinds[value] for value in case.voxels]
        assert [kind.name for kind in kinds] == list(NAMES)
        assert [kind.terminology for kind in kinds] == [terminology_entry(label) for label in CARD.labels]
    dataset = read_dataset(freeze(makePlan(store, CARD, AdaptTask.IMPROVE), store, tmp_path / "run"))
    check(dataset, dataset.cases.values())
    for case in dataset.cases.values():  # what the model learns: its own values
        _channels, labels = load(case)
        assert [int((labels.array == label.value).sum()) for label in CARD.labels] == [1000, 1000]


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1), (-1, -1, 1), (1, -1, -1)])
def test_the_axes_of_the_image_do_not_matter(store, makeHead, flips):
    """The blocks named left lie at the right where the first axis is turned: names say which side, not places."""
    ijkToRAS = np.diag([*(1.1 * np.array(flips)), 1.0])
    cases = snapshot.addCases(store, *makeHead(ijkToRAS=ijkToRAS), card=CARD)
    for case, side in zip(cases, CENTERS, strict=True):
        k, j, i = CENTERS[side]
        image, labels = read_image(store.image(case)), read_image(store.labels(case))
        assert world(image, labels) == pytest.approx(1.1 * np.array(flips) * (i + 4.5, j + 9.5, k + 4.5), abs=1e-3)
    assert problems(store) == ([], {})


def test_an_image_that_lies_askew_is_cropped_along_its_own_axes(store, makeHead, oblique):
    cases = snapshot.addCases(store, *makeHead(ijkToRAS=oblique), card=CARD)
    assert problems(store) == ([], {})
    for case, (k, j, i) in zip(cases, CENTERS.values(), strict=True):
        image, labels = read_image(store.image(case)), read_image(store.labels(case))
        assert world(image, labels) == pytest.approx((oblique @ [i + 4.5, j + 9.5, k + 4.5, 1])[:3], abs=1e-2)
        assert set(case.voxels.values()) == {1000}


def test_segments_without_a_side_are_parted_in_the_middle(store, makeHead):
    ijkToRAS = np.eye(4)
    ijkToRAS[0, 3] = -75
    volumeNode, node = makeHead(NAMES, ijkToRAS)
    left, right = snapshot.addCases(store, volumeNode, node, card=CARD)
    places = [world(read_image(store.image(case)), read_image(store.labels(case)))[0] for case in (left, right)]
    assert places == pytest.approx([CENTERS["Left"][2] + 4.5 - 75, CENTERS["Right"][2] + 4.5 - 75])
    assert snapshot.sideOf(left) == "Left"
    assert sorted(left.voxels.values()) == [1000, 1000]


def test_a_side_that_the_model_sees_mirrored_is_learnt_from_mirrored(store, makeHead):
    targets = tuple(replace(one, mirror=one.side.meaning == "Right") for one in CARD.cascade.targets)
    card = replace(CARD, cascade=replace(CARD.cascade, targets=targets))
    volumeNode, node = makeHead()
    _left, plain = snapshot.addCases(store, volumeNode, node, card=CARD)
    image, labels = read_image(store.image(plain)), read_image(store.labels(plain))
    other = CaseStore(store.folder.parent / "mirrored")
    left, right = snapshot.addCases(other, volumeNode, node, card=card)
    mirrored, marked = read_image(other.image(right)), read_image(other.labels(right))
    x, y, z = world(image, labels)
    assert world(mirrored, marked) == pytest.approx((-x, y, z), abs=1e-3)  # as of a mirrored patient
    isRight = (image.direction[0, 0] > 0) == (mirrored.direction[0, 0] > 0)
    assert np.array_equal(mirrored.array, image.array[::-1] if isRight else image.array)
    assert world(read_image(other.image(left)), read_image(other.labels(left)))[0] == pytest.approx(44.5, abs=1e-3)


def test_edits_are_copied_into_the_same_crops(store, makeHead):
    volumeNode, node = makeHead(model="hippocampus")
    cases = snapshot.addCases(store, volumeNode, node)
    segmentID = node.GetSegmentation().GetSegmentIdBySegmentName("Left anterior hippocampus")
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, segmentID, volumeNode)
    mask[45:55, 80:83, 40:50] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segmentID, volumeNode)
    again = snapshot.addCases(store, volumeNode, node)
    assert [case.id for case in again] == [case.id for case in cases]
    assert sorted(store.cases[cases[0].id].voxels.values()) == [1000, 1300]
    assert sorted(store.cases[cases[1].id].voxels.values()) == [1000, 1000]
    assert snapshot.nodesOf(again[1]) == (volumeNode, node)
    mask[:] = 0
    mask[20:30, 30:40, 40:50] = 1  # elsewhere: another crop takes the place of the first one
    for name in ("Left anterior hippocampus", "Left posterior hippocampus"):
        segmentID = node.GetSegmentation().GetSegmentIdBySegmentName(name)
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segmentID, volumeNode)
    third = snapshot.addCases(store, volumeNode, node)
    assert third[0].id != cases[0].id
    assert set(store.cases) == {third[0].id, cases[1].id}
    assert third[0].subject == cases[0].subject


def test_what_was_drawn_far_away_is_told_and_nothing_is_kept(store, makeHead):
    volumeNode, node = makeHead(model="hippocampus")
    segmentID = node.GetSegmentation().GetSegmentIdBySegmentName("Right anterior hippocampus")
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, segmentID, volumeNode)
    mask[90, 10, 140] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segmentID, volumeNode)
    with pytest.raises(LLMBoostError, match=r"Right hippocampus: .* reaches over .* remove what lies"):
        snapshot.addCases(store, volumeNode, node)
    assert not store.cases
    assert not CaseStore(store.folder).cases
    with pytest.raises(LLMBoostError, match="reaches over"):
        snapshot.addAllOfScene(store)


def test_a_case_without_its_nodes_comes_back_as_its_crop(store, makeHead):
    volumeNode, node = makeHead(model="hippocampus")
    left, right = snapshot.addCases(store, volumeNode, node)
    assert snapshot.openCase(store, left) == (volumeNode, node)
    slicer.mrmlScene.RemoveNode(node)
    cropNode, segmentsNode = snapshot.openCase(store, right)
    assert cropNode is not volumeNode
    assert slicer.util.arrayFromVolume(cropNode).shape == read_image(store.image(right)).shape[::-1]
    assert snapshot.openCase(store, right) == (cropNode, segmentsNode)
    assert snapshot.addCase(store, cropNode, segmentsNode).id == right.id
    assert len(store.cases) == 2


def test_a_head_that_waited_to_be_labelled_gives_way_to_its_crops(store, makeHead):
    volumeNode, node = makeHead(model="hippocampus")
    waiting = snapshot.addCase(store, volumeNode)
    assert waiting.role == "unlabelled"
    cases = snapshot.addCases(store, volumeNode, node)
    assert set(store.cases) == {case.id for case in cases}
    assert {case.role for case in cases} == {"train"}


def test_a_model_that_takes_whole_heads_learns_from_whole_heads(store, makeHead):
    volumeNode, node = makeHead()
    (case,) = snapshot.addCases(store, volumeNode, node, card=read_card(library.find("brain")))
    assert case.extent == pytest.approx(SHAPE[::-1])


def test_a_full_disk_leaves_no_half_of_a_head(store, makeHead, monkeypatch):
    volumeNode, node = makeHead(model="hippocampus")
    add, calls = CaseStore.add, []

    def fail(self, *arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise LLMBoostError("the disk is full")
        return add(self, *arguments, **options)

    monkeypatch.setattr(CaseStore, "add", fail)
    with pytest.raises(LLMBoostError, match="full"):
        snapshot.addCases(store, volumeNode, node)
    assert not store.cases
    assert not node.GetAttribute(snapshot.CASE)
