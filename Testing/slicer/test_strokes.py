"""Strokes from the Python console, and which models know what is painted."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from safetensors import safe_open
from safetensors.numpy import save_file

from llmboost import library
from llmboost.card import METADATA_KEY, Label, read_card
from llmboost.errors import LLMBoostError
from llmboost.io.segnrrd import terminology_entry
from llmboost.messages.strokes import BACKGROUND
from LLMBoostLib.segment.logic import LLMBoostSegmentLogic
from LLMBoostLib.strokes.knowledge import valuesOf, whoKnow
from LLMBoostLib.training.cases import Kind
from LLMBoostLib.worker.client import Client

WORKER = Path(__file__).parents[1] / "gui" / "light_strokes.py"
NAMES = "Anterior hippocampus", "Posterior hippocampus"
ANTERIOR, POSTERIOR = read_card(library.find("hippocampus")).labels


@pytest.fixture
def logic(session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LLMBoostSegmentLogic]:
    """With a worker that needs no torch."""
    monkeypatch.setenv(library.FOLDER_VARIABLE, str(tmp_path / "models"))
    client = Client([sys.executable, str(WORKER), str(tmp_path / "gate")])
    yield LLMBoostSegmentLogic(client)
    client.shutDown()


@pytest.fixture
def painted(makeVolume: Callable[..., Any], oblique: np.ndarray) -> Callable[..., tuple[Any, Any]]:
    """``painted(names)``: an oblique volume with two bright blocks, and a stroke in each of these segments."""

    def make(names: tuple[str, ...]) -> tuple[Any, Any]:
        array = np.zeros((20, 30, 40), np.int16)
        array[6:14, 10:20, 8:16] = array[6:14, 10:20, 24:32] = 200
        volumeNode = makeVolume(array, oblique)
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "strokes")
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
        for number, name in enumerate(names):
            node.GetSegmentation().AddEmptySegment(name, name, (0.2 * number, 0.5, 1.0))
            voxels = np.zeros(array.shape, np.uint8)
            voxels[10, 15, 9 + 16 * number : 14 + 16 * number] = 1
            slicer.util.updateSegmentBinaryLabelmapFromArray(voxels, node, name, volumeNode)
        return volumeNode, node

    return make


def test_a_script_gets_the_whole_and_its_strokes_stay(logic, painted, segmentVoxels):
    volumeNode, node = painted(("left", "right"))
    found = logic.strokes(volumeNode, node)
    assert (found.method, found.model, found.strokes) == ("walker", "", 2)
    bright = slicer.util.arrayFromVolume(volumeNode) > 100
    for name, half in (("left", slice(0, 20)), ("right", slice(20, 40))):
        drawn = segmentVoxels(found.segmentationNode, name, volumeNode)
        assert drawn[:, :, half].sum() == drawn.sum() > 500
        assert not (drawn & ~bright).any()
        assert segmentVoxels(node, name, volumeNode).sum() == 5
    segment = found.segmentationNode.GetSegmentation().GetNthSegment(1)
    assert segment.GetColor() == pytest.approx((0.2, 0.5, 1.0), abs=0.01)
    bounds = np.zeros(6)
    volumeNode.GetRASBounds(bounds)
    for place in found.unsure:
        assert (np.array(place) > bounds[::2] - 2).all()
        assert (np.array(place) < bounds[1::2] + 2).all()


def test_a_script_lets_a_model_learn_and_keeps_it(logic, painted):
    volumeNode, node = painted(NAMES)
    found = logic.strokes(volumeNode, node, keep="mine")
    assert (found.method, found.model) == ("taught", "hippocampus")
    assert found.kept is not None
    assert logic.strokes(volumeNode, node, learn=False).method == "walker"
    assert logic.strokes(volumeNode, node, "walker").method == "walker"


def test_background_strokes_belong_to_no_segment(logic, painted, segmentVoxels):
    volumeNode, node = painted(("left", "Background"))
    found = logic.strokes(volumeNode, node)
    segmentation = found.segmentationNode.GetSegmentation()
    assert [segmentation.GetNthSegment(n).GetName() for n in range(segmentation.GetNumberOfSegments())] == ["left"]
    assert not segmentVoxels(found.segmentationNode, "left", volumeNode)[:, :, 24:32].any()


def test_what_cannot_be_done_is_told(logic, painted):
    volumeNode, node = painted(("left", "right"))
    with pytest.raises(LLMBoostError, match="nothing to keep"):
        logic.strokes(volumeNode, node, keep="mine")
    with pytest.raises(TypeError, match="steps"):
        logic.strokes(volumeNode, node, steps=4)
    node.GetSegmentation().RemoveAllSegments()
    with pytest.raises(LLMBoostError, match="nothing is painted"):
        logic.strokes(volumeNode, node)
    assert len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")) == 1


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """``install(name, **changes)`` puts a copy of the model hippocampus with another card into the user's folder."""
    monkeypatch.setenv(library.FOLDER_VARIABLE, str(tmp_path))

    def make(name: str, **changes: Any) -> Path:
        source = library.find("hippocampus")
        with safe_open(source, "numpy") as file:
            first = next(iter(file.keys()))
            tensors = {first: file.get_tensor(first)}
        path = tmp_path / f"{name}.safetensors"
        save_file(tensors, path, {METADATA_KEY: replace(read_card(source), name=name, **changes).to_json()})
        return path

    return make


def test_models_are_found_by_name_and_by_code(install):
    assert [card.name for card in whoKnow([Kind("anterior Hippocampus"), Kind("background")])] == ["hippocampus"]
    byCode = Kind("Segment_1", terminology_entry(Label(1, "spleen", (1, 2, 3), type=ANTERIOR.type)))
    assert whoKnow([byCode]) == []  # both parts have that code, but for their modifiers
    byCode = Kind("Segment_1", terminology_entry(POSTERIOR))
    (card,) = whoKnow([byCode])
    assert valuesOf(card, [byCode, Kind("background"), Kind("else")]) == [POSTERIOR.value, BACKGROUND, 3]
    assert whoKnow([Kind("anterior"), Kind("background")]) == []  # part of a name is no proof
    assert whoKnow([Kind("Anterior hippocampus"), Kind("tumor")]) == []
    assert whoKnow([Kind("background")]) == whoKnow([]) == []


def test_labels_of_large_values_are_painted(logic, install, painted, segmentVoxels):
    install("large", cascade=None, labels=(replace(ANTERIOR, value=300), replace(POSTERIOR, value=40000)))
    kinds = [Kind(name) for name in NAMES]
    card = whoKnow(kinds)[0]
    assert valuesOf(card, [*kinds, Kind("background"), Kind("else")]) == [300, 40000, BACKGROUND, 1]
    volumeNode, node = painted(NAMES)
    found = logic.strokes(volumeNode, node, "large")
    assert (found.method, found.model) == ("taught", "large")
    for name in NAMES:
        assert segmentVoxels(found.segmentationNode, name, volumeNode).sum() > 100


def test_a_label_that_has_the_value_of_background_strokes_is_not_known(install):
    install("largest", cascade=None, labels=(replace(ANTERIOR, value=BACKGROUND), POSTERIOR))
    assert [card.name for card in whoKnow([Kind(name) for name in NAMES])] == ["hippocampus"]
    assert [card.name for card in whoKnow([Kind(NAMES[1])])] == ["largest", "hippocampus"]


def test_more_segments_than_a_byte_tells_apart(logic, makeVolume, segmentVoxels):
    volumeNode = makeVolume(np.full((10, 10, 10), 300, np.int16), np.eye(4))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "strokes")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    for number in range(300):
        node.GetSegmentation().AddEmptySegment(f"s{number}", f"s{number}")
        voxels = np.zeros((10, 10, 10), np.uint8)
        voxels.flat[3 * number] = 1
        slicer.util.updateSegmentBinaryLabelmapFromArray(voxels, node, f"s{number}", volumeNode)
    drawn = logic.strokes(volumeNode, node).segmentationNode
    assert drawn.GetSegmentation().GetNumberOfSegments() == 300
    for number in (0, 254, 255, 299):
        assert segmentVoxels(drawn, f"s{number}", volumeNode).flat[3 * number]


def test_what_the_user_made_last_comes_first(install):
    for age, name in enumerate(("newer", "older")):
        os.utime(install(name), (1e9 - age, 1e9 - age))
    install("other", labels=(replace(ANTERIOR, name="Spleen"), POSTERIOR))
    assert [card.name for card in whoKnow([Kind(name) for name in NAMES])] == ["newer", "older", "hippocampus"]
