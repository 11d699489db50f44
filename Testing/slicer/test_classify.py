"""Classifying and explaining by the module's logic, on the real engine with networks of random weights."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest
import slicer
from Testing.host import EventLoop

from llmboost import library
from llmboost.card import CLASSIFICATION, Card, Classification, Label, Preprocessing
from llmboost.errors import LLMBoostError
from llmboost.io.image import Image, write_image
from LLMBoostLib.scene import volumes
from LLMBoostLib.scene.segmentinput import SegmentInput
from LLMBoostLib.worker.client import Client

RAS = np.diag([-1.0, -1.0, 1.0])  # in LPS
SMALL = {"stem": (4, 6), "width": 16, "depth": 2, "heads": 2, "head_width": 8, "mlp": 32}
WINDOWS = {"flat": (16, 16, 1), "solid": (24, 32, 24), "gland": (24, 32, 24)}


@pytest.fixture(scope="session")
def modelFolder(tmp_path_factory):
    """Three classifiers: of slices, of volumes, of masks."""
    import torch

    from llmboost.model import save_model
    from llmboost.networks import build, describe

    folder = tmp_path_factory.mktemp("models")
    for name, patch_size in WINDOWS.items():
        torch.manual_seed(0)
        network = build("vit-tiny" if name == "flat" else "vit3d-tiny", {"image_size": patch_size, **SMALL}, None)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape))
        entry, booster = describe(network)
        card = Card(
            name=name,
            title=name,
            description="For tests",
            task=CLASSIFICATION,
            labels=(Label(0, "no", (1, 2, 3)), Label(1, "yes", (3, 2, 1))),
            modality="SEG" if name == "gland" else "MR",
            preprocessing=Preprocessing(patch_size=patch_size),
            network=entry,
            booster=booster,
            classification=Classification("mask" if name == "gland" else "square", "yes", (0.4,), range_limit=1e9),
        )
        save_model(network.eval(), card, folder / f"{name}.safetensors")
    return folder


@pytest.fixture(autouse=True)
def models(modelFolder, monkeypatch):
    monkeypatch.setenv(library.FOLDER_VARIABLE, str(modelFolder))


@pytest.fixture
def load():
    """``load(name)``: the engine's model."""
    from llmboost.model import load_model

    return lambda name: load_model(library.find(name))


@pytest.fixture
def volumeNode(makeVolume, cloud, oblique):
    return makeVolume(cloud, oblique, "head")


def asImage(node) -> Image:
    (volume,) = volumes.volumesFromNode(node)
    return Image(volume.array.transpose(), volume.spacing, volume.origin, volume.direction)


def cells(table) -> list[list[str]]:
    rows, columns = range(table.GetNumberOfRows()), range(table.GetNumberOfColumns())
    return [[table.GetCellText(row, column) for column in columns] for row in rows]


def test_a_volume_is_classified_as_the_engine_does(logic, load, volumeNode, makeTransform):
    from llmboost.inference.classify import classify

    volumeNode.SetAndObserveTransformNodeID(makeTransform((20, -100, 40), (5, 6, 7)).GetID())
    found = logic.classify(volumeNode, "solid")
    assert found is logic.result
    own = classify(load("solid"), [asImage(volumeNode)])
    assert [one.probability for one in found.classes] == pytest.approx(own.probabilities, abs=1e-5)
    assert found.decision == own.decision
    assert (found.positive, found.threshold, found.outside, found.slices) == ("yes", 0.4, (), ())
    assert [row[0] for row in cells(found.tableNode)] == ["no", "yes"]
    assert [float(row[1]) for row in cells(found.tableNode)] == pytest.approx(own.probabilities, abs=1e-4)
    assert found.tableNode.GetAttribute("LLMBoost.Model") == "solid"
    logic.revert()
    assert not slicer.util.getNodesByClass("vtkMRMLTableNode")
    with pytest.raises(LLMBoostError, match="no result to revert"):
        logic.revert()


def test_slices_are_those_of_the_engine_however_the_image_is_stored(logic, load, makeVolume, cloud, oblique):
    from llmboost.inference.views import slice_axis_of
    from LLMBoostLib.panels.slicechoice import sliceAxis, sliceCount

    model = load("flat")
    for axes, scale in itertools.product(itertools.permutations(range(3)), [(1, 1, 1), (1, 1, 4), (4, 1, 1)]):
        matrix = oblique.copy()
        matrix[:3, :3] = (matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0) * scale)[:, axes]
        node = makeVolume(cloud[:9, :10, :11], matrix)
        axis = sliceAxis(model.card, node)
        assert axis == slice_axis_of(asImage(node), model)
        assert sliceCount(model.card, node) == (11, 10, 9)[axis]
    one = logic.classify(node, "flat", slice=7)
    every = logic.classify(node, "flat")
    assert [each.number for each in one.slices] == [7]
    assert [each.number for each in every.slices] == list(range(sliceCount(model.card, node)))
    assert every.slices[7].probabilities == pytest.approx(one.slices[0].probabilities, abs=1e-5)
    assert every.slicesNode.GetNumberOfRows() == len(every.slices)
    with pytest.raises(LLMBoostError, match="slice 99"):
        logic.classify(node, "flat", slice=99)


def test_the_slice_that_a_view_shows(session, makeVolume, cloud, oblique):
    from LLMBoostLib.panels.slicechoice import shownSlice

    def isShown(axis):
        try:
            return shownSlice(view, node, axis) is not None
        except LLMBoostError:
            return False

    node = makeVolume(cloud, oblique, "head")
    view = session.sliceLogics["Red"].GetSliceNode()
    view.SetOrientationToAxial()  # whatever other tests left; turning to a volume takes the nearest of its planes
    with pytest.raises(LLMBoostError, match="cuts across"):
        shownSlice(view, node, 2)
    view.RotateToVolumePlane(node)
    place = volumes.worldFromVoxels(node) @ [3, 4, 5.2, 1]
    view.JumpSlice(*place[:3])
    assert [axis for axis in range(3) if isShown(axis)] == [2]
    assert shownSlice(view, node, 2) == 5
    view.JumpSlice(*(volumes.worldFromVoxels(node) @ [3, 4, 500, 1])[:3])
    with pytest.raises(LLMBoostError, match="shows no slice"):
        shownSlice(view, node, 2)


def test_a_segment_is_classified_and_explained(logic, makeVolume):
    volumeNode = makeVolume(np.zeros((24, 40, 36), np.int16), name="abdomen")
    segmentationNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs")
    segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    segmentID = segmentationNode.GetSegmentation().AddEmptySegment("", "gland")
    mask = np.zeros((24, 40, 36), np.uint8)
    mask[8:16, 10:24, 12:20] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentationNode, segmentID, volumeNode)
    segment = SegmentInput(segmentationNode, segmentID)
    found = logic.classify(segment, "gland")
    assert found.volumeNode is None
    assert found.tableNode.GetName() == "organs gland gland classes"
    node = logic.explain(segment, "gland")
    assert slicer.util.arrayFromVolume(node).shape == mask.shape
    assert slicer.util.arrayFromVolume(node).max() == 1
    slicer.mrmlScene.RemoveNode(volumeNode)


@pytest.mark.parametrize(("method", "layer"), [("grad-cam", "after"), ("attention-rollout", "before")])
def test_a_class_is_explained_on_the_inputs_grid(logic, load, volumeNode, method, layer):
    from llmboost.explanation import ExplanationSpec
    from llmboost.inference.explain import explain

    node = logic.explain(volumeNode, "solid", target=1, method=method, layer=layer)
    own = explain(load("solid"), [asImage(volumeNode)], ExplanationSpec(1, method, layer))
    np.testing.assert_allclose(slicer.util.arrayFromVolume(node), own.map.array.transpose(), atol=0.003)
    np.testing.assert_allclose(volumes.worldFromVoxels(node), volumes.worldFromVoxels(volumeNode))
    assert logic.explain(volumeNode, "solid", target=1, method=method, layer=layer) is node
    assert logic.explain(volumeNode, "solid", target=0, method=method, layer=layer) is not node


def test_a_segment_of_a_segmentation_is_explained_where_it_lies(logic, volumeNode, segmentVoxels):
    segmentationNode = logic.process(volumeNode)
    ((value, name), *_more) = logic.result.targets
    node = logic.explain(volumeNode, "hippocampus", target=value)
    seen = slicer.util.arrayFromVolume(node)
    inside = segmentVoxels(segmentationNode, name, volumeNode)
    assert node.GetName() == f"head {name} grad-cam"
    assert seen[inside].mean() > 2 * seen[~inside].mean()


def test_without_waiting_and_with_the_volume_removed_meanwhile(scene, logic, client, volumeNode):
    done, errors = [], []
    assert logic.classify(volumeNode, "solid", waitForCompletion=False, onDone=done.append) is None
    client.poll()
    assert done == [logic.result]
    assert logic.explain(volumeNode, "solid", waitForCompletion=False, onDone=done.append) is None
    client.poll()
    assert done[1].mapNode.GetName() == f"head {done[1].name} grad-cam"
    for start in (logic.classify, logic.explain):
        start(volumeNode, "solid", waitForCompletion=False, onDone=pytest.fail, onError=errors.append)
    slicer.mrmlScene.RemoveNode(done[1].mapNode)
    logic.revert()
    scene.RemoveNode(volumeNode)
    client.poll()
    assert ["removed from the scene" in str(error) for error in errors] == [True, True]
    for className in ("vtkMRMLVolumeNode", "vtkMRMLTableNode"):
        assert not slicer.util.getNodesByClass(className)


def test_what_speaks_against_an_image_is_told_once(logic, makeVolume):
    found = logic.classify(makeVolume(np.ones((24, 32, 24), np.int16)), "solid")
    assert any("uniform" in reason for reason in found.outside)
    assert found.warnings == ()


def test_models_of_the_other_task_are_refused(logic, volumeNode):
    with pytest.raises(LLMBoostError, match="segments; use a classification model"):
        logic.classify(volumeNode, "hippocampus")
    with pytest.raises(LLMBoostError, match="has nothing of value 9"):
        logic.explain(volumeNode, "solid", target=9)


def test_the_real_worker_classifies_and_explains(session, logic, volumeNode):
    worked = sys.modules["LLMBoostSegment"].LLMBoostSegmentLogic(Client())
    loop, done = EventLoop(), []
    loop.slots.append(worked.client.poll)
    try:
        worked.classify(volumeNode, "solid", waitForCompletion=False, onDone=done.append, onError=done.append)
        loop.runUntil(lambda: done)
        worked.explain(volumeNode, "solid", waitForCompletion=False, onDone=done.append, onError=done.append)
        loop.runUntil(lambda: len(done) == 2)
    finally:
        worked.client.shutDown()
    assert done[0].classes == logic.classify(volumeNode, "solid").classes
    assert done[1].name in done[0].decision


def test_a_folder_is_classified(logic, cloud, tmp_path):
    image = Image(cloud.transpose(), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), RAS)
    for name in ("a", "b"):
        write_image(image, tmp_path / "cases" / f"{name}.nii.gz")
    lines = []
    out = tmp_path / "out"
    rows = logic.processFolder(tmp_path / "cases", out, "solid", "cpu", explanation=True, onProgress=lines.append)
    assert [(row["id"], row["status"]) for row in rows] == [("a", "ok"), ("b", "ok")]
    assert set(rows[0]["probabilities"]) == {"no", "yes"}
    assert any(line.startswith("a: ") for line in lines)
    assert not list(out.glob("*.nrrd"))
    node = slicer.util.loadVolume(str(out / "a_explanation.nii.gz"), {})
    assert slicer.util.arrayFromVolume(node).shape == cloud.shape
    with pytest.raises(LLMBoostError, match="classifies images"):
        logic.processFolder(tmp_path / "cases", out, "solid", uncertainty=True)


def test_the_text_of_several_labels():
    from LLMBoostLib.scene.classification import ClassChance, asRichText
    from LLMBoostLib.scene.classification import Classification as Found

    classes = (ClassChance(0, "edema", 0.7), ClassChance(1, "mass", 0.2))
    text = asRichText(Found(classes, ("edema",), "", None, (), (), None))
    assert "<b>edema</b>" in text
    assert "70.0 %" in text
    assert "positive class" not in text
    none = asRichText(Found(classes, (), "", None, (), (), None))
    assert "none of the classes" in none
