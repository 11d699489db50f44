"""The module's file, and its logic as scripts use it, on the real engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import slicer
from Testing.host import EventLoop

from llmboost.errors import LLMBoostError
from llmboost.io.image import Image, read_image, resample, write_image
from llmboost.messages.images import ExplainOptions
from LLMBoostLib.scene import volumes
from LLMBoostLib.worker import launcher
from LLMBoostLib.worker.client import Client, WorkerError

ROOT = Path(__file__).parents[2]
NAMES = "Anterior hippocampus", "Posterior hippocampus"
RAS = np.diag([-1.0, -1.0, 1.0])  # in LPS


@pytest.fixture(scope="session")
def engine():
    """``engine(image)``: what the engine itself finds in an image."""
    from llmboost import library
    from llmboost.inference.segment import segment
    from llmboost.model import load_model

    model = load_model(library.find("hippocampus"))
    return lambda image, **options: segment(model, [image], **options)


@pytest.fixture
def volumeNode(makeVolume, cloud, oblique):
    return makeVolume(cloud, oblique, "head")


def asImage(node) -> Image:
    (volume,) = volumes.volumesFromNode(node)
    return Image(volume.array.transpose(), volume.spacing, volume.origin, volume.direction)


def labelmapOf(node, volumeNode, segmentVoxels) -> np.ndarray:
    return sum(value * segmentVoxels(node, name, volumeNode) for value, name in enumerate(NAMES, start=1))


def test_an_oblique_volume_under_a_transform_gives_the_engines_own_result(
    logic, engine, volumeNode, makeTransform, segmentVoxels
):
    volumeNode.SetAndObserveTransformNodeID(makeTransform((20, -100, 40), (5, 6, 7)).GetID())
    node = logic.process(volumeNode)
    found = labelmapOf(node, volumeNode, segmentVoxels)
    volumeNode.HardenTransform()  # the grid in the patient's frame, by Slicer's own arithmetic
    own = engine(asImage(volumeNode))
    np.testing.assert_array_equal(found, own.labelmap.array.transpose())
    assert found.any()


def test_a_map_that_comes_with_the_segments_is_nearly_that_of_a_later_question(logic, client, volumeNode):
    logic.process(volumeNode, explain=ExplainOptions())
    made = logic.result.explanation
    together = slicer.util.arrayFromVolume(made.mapNode).copy()
    assert made.name == NAMES[0]
    assert together.any()
    assert logic.explain(volumeNode, target=1) is made.mapNode
    # of what was drawn, and of what the network would draw
    np.testing.assert_allclose(slicer.util.arrayFromVolume(made.mapNode), together, atol=0.05)


def test_the_modality_that_dicom_told_goes_along(logic, client, volumeNode):
    logic.process(volumeNode)
    assert client.request.modality == ""
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    name = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName()
    hierarchy.SetItemAttribute(hierarchy.GetItemByDataNode(volumeNode), name, "PT")
    logic.process(volumeNode)
    assert client.request.modality == "PT"


@pytest.mark.parametrize("extension", [".nii.gz", ".nrrd"])
@pytest.mark.parametrize("sense", [1, -1])
def test_a_file_whose_axes_slicer_reverses_gives_the_engines_own_result(
    logic, engine, cloud, reorient, segmentVoxels, tmp_path, extension, sense
):
    image = Image(cloud.transpose(), (1.0, 1.0, 1.0), (10.0, 20.0, 30.0), RAS)
    stored = reorient(image, (0, 1, 2), (sense, 1, 1))
    assert np.sign(np.linalg.det(stored.direction)) == sense
    write_image(stored, tmp_path / f"case{extension}")
    volumeNode = slicer.util.loadVolume(str(tmp_path / f"case{extension}"), {})
    node = logic.process(volumeNode)
    own = engine(read_image(tmp_path / f"case{extension}"))
    expected = resample(own.labelmap, asImage(volumeNode), "nearest").array.transpose()
    np.testing.assert_array_equal(labelmapOf(node, volumeNode, segmentVoxels), expected)
    assert expected.any()


def test_a_real_case_gives_the_engines_own_result(logic, engine, data_root, segmentVoxels):
    path = sorted((data_root / "Task04_Hippocampus" / "imagesTr").glob("hippocampus_*.nii.gz"))[0]
    volumeNode = slicer.util.loadVolume(str(path), {})
    node = logic.process(volumeNode)
    own = engine(read_image(path))
    expected = resample(own.labelmap, asImage(volumeNode), "nearest").array.transpose()
    np.testing.assert_array_equal(labelmapOf(node, volumeNode, segmentVoxels), expected)
    assert set(np.unique(expected)) == {0, 1, 2}


def test_a_roi_limits_the_result(logic, engine, volumeNode, makeTransform, segmentVoxels):
    whole = labelmapOf(logic.process(volumeNode), volumeNode, segmentVoxels)
    center = np.argwhere(whole).mean(axis=0)[::-1]
    roiNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    roiNode.SetCenter(*(volumes.worldFromVoxels(volumeNode) @ [*center, 1])[:3])
    roiNode.SetSize(20, 25, 30)
    node = logic.process(volumeNode, roiNode=roiNode)
    found = labelmapOf(node, volumeNode, segmentVoxels)
    inside = np.zeros(whole.shape, bool)
    for index in np.argwhere(found):
        inside[tuple(index)] = roiNode.IsPointInROIWorld((volumes.worldFromVoxels(volumeNode) @ [*index[::-1], 1])[:3])
    assert found.any()
    assert not found[~inside].any()


def test_a_run_leaves_segments_maps_and_a_table(logic, client, volumeNode):
    node = logic.process(volumeNode, uncertainty=True, probabilities=True, mirror=True, closedSurface=True)
    result = logic.result
    assert result.segmentationNode is node
    assert node.GetName() == "head hippocampus"
    assert node.GetSegmentation().ContainsRepresentation("Closed surface")
    assert set(result.mapNodes) == {"entropy", "probability_1", "probability_2"}
    assert result.mapNodes["probability_1"].GetName() == "head Anterior hippocampus probability"
    assert slicer.util.arrayFromVolume(result.mapNodes["entropy"]).max() > 0.5
    assert [result.tableNode.GetCellText(row, 0) for row in (0, 1)] == list(NAMES)
    assert (client.request.mirror, client.request.device, client.request.roi) == (True, "auto", None)
    assert node.GetAttribute("LLMBoost.Notice") == "Not for clinical use"


def test_warnings_of_frame_and_engine_are_kept(logic, volumeNode, makeTransform):
    volumeNode.SetAndObserveTransformNodeID(makeTransform(scale=(1.2, 1, 1)).GetID())
    roiNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    roiNode.SetCenter(*(volumes.worldFromVoxels(volumeNode) @ [2, 2, 2, 1])[:3])
    roiNode.SetSize(3, 3, 3)
    logic.process(volumeNode, roiNode=roiNode)
    assert any("scales it" in warning for warning in logic.result.warnings)
    assert any("not found" in warning for warning in logic.result.warnings)


def test_without_waiting_nothing_is_made_before_the_answer(logic, client, volumeNode):
    done = []
    assert logic.process(volumeNode, waitForCompletion=False, onDone=done.append) is None
    assert not slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    client.poll()
    assert done == [logic.result]
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == [logic.result.segmentationNode]


def test_a_volume_removed_meanwhile_is_an_error_and_leaves_nothing(scene, logic, client, volumeNode):
    errors = []
    logic.process(volumeNode, uncertainty=True, waitForCompletion=False, onDone=pytest.fail, onError=errors.append)
    scene.RemoveNode(volumeNode)
    client.poll()
    assert len(errors) == 1
    assert "removed from the scene" in str(errors[0])
    for className in ("vtkMRMLSegmentationNode", "vtkMRMLVolumeNode", "vtkMRMLTableNode"):
        assert not slicer.util.getNodesByClass(className)


def test_a_run_is_taken_back(logic, volumeNode, segmentVoxels):
    node = logic.process(volumeNode)
    before = labelmapOf(node, volumeNode, segmentVoxels)
    volumeNode.GetImageData().GetPointData().GetScalars().Fill(0)
    logic.process(volumeNode, segmentationNode=node)
    assert not np.array_equal(labelmapOf(node, volumeNode, segmentVoxels), before)
    logic.revert()
    np.testing.assert_array_equal(labelmapOf(node, volumeNode, segmentVoxels), before)
    assert not slicer.util.getNodesByClass("vtkMRMLTableNode")
    with pytest.raises(LLMBoostError, match="no result to revert"):
        logic.revert()


def test_bad_input_is_refused_before_the_worker_is_asked(logic, client, volumeNode, makeVolume):
    with pytest.raises(LLMBoostError, match="no volume is chosen"):
        logic.process(None)
    roiNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    with pytest.raises(LLMBoostError, match="box: an empty box"):
        logic.process(volumeNode, roiNode=roiNode)
    assert client.request is None
    with pytest.raises(LLMBoostError, match="takes 1 image"):
        logic.process([volumeNode, makeVolume(np.zeros((2, 3, 4)))])


def test_the_real_worker_gives_the_engines_own_result(session, logic, engine, volumeNode, segmentVoxels):
    worked = sys.modules["LLMBoostSegment"].LLMBoostSegmentLogic(Client())
    loop, results, errors = EventLoop(), [], []
    loop.slots.append(worked.client.poll)
    try:
        worked.process(volumeNode, uncertainty=True, waitForCompletion=False, onDone=results.append)
        loop.runUntil(lambda: results)
        worked.process(volumeNode, "no-such-model", waitForCompletion=False, onDone=pytest.fail, onError=errors.append)
        loop.runUntil(lambda: errors)
        with pytest.raises(WorkerError, match="no installed model of that name"):
            worked.process(volumeNode, "no-such-model")
    finally:
        worked.client.shutDown()
    assert errors[0].kind == "bad_input"
    (result,) = results
    own = engine(asImage(volumeNode), entropy=True)
    found = labelmapOf(result.segmentationNode, volumeNode, segmentVoxels)
    np.testing.assert_array_equal(found, own.labelmap.array.transpose())
    entropy = slicer.util.arrayFromVolume(result.mapNodes["entropy"])
    np.testing.assert_allclose(entropy, own.entropy.array.transpose(), atol=0.003)
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == [result.segmentationNode]


def test_a_folder_is_segmented_and_resumed(logic, cloud, tmp_path):
    cases = tmp_path / "cases"
    image = Image(cloud.transpose(), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), RAS)
    for name in ("a", "b"):
        write_image(image, cases / f"{name}.nii.gz")
    (cases / "broken.nii.gz").write_bytes(b"no image")
    lines = []
    rows = logic.processFolder(cases, tmp_path / "out", onProgress=lines.append, device="cpu")
    assert {row["id"]: row["status"] for row in rows} == {"a": "ok", "b": "ok", "broken": "failed"}
    assert any(line.startswith("a: ") for line in lines)
    assert lines[-1].endswith((tmp_path / "out" / "overview.html").as_uri())
    assert (tmp_path / "out" / "a.seg.nrrd").is_file()
    write_image(image, cases / "broken.nii.gz")
    again = []
    rows = logic.processFolder(cases, tmp_path / "out", resume=True, onProgress=again.append, device="cpu")
    assert {row["status"] for row in rows} == {"ok"}
    assert not any(line.startswith("a: ") for line in again)
    assert any(line.startswith("broken: ") for line in again)
    loaded = slicer.util.loadSegmentation(str(tmp_path / "out" / "a.seg.nrrd"), {})
    assert loaded.GetSegmentation().GetNthSegment(0).GetName() == NAMES[0]


def test_a_folder_run_is_cancelled_keeps_what_is_finished_and_is_resumed(logic, cloud, tmp_path):
    cases, output = tmp_path / "cases", tmp_path / "out"
    image = Image(cloud.transpose(), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), RAS)
    for number in range(4):
        write_image(image, cases / f"{number}.nii.gz")
    lines = []

    def isOneDone():
        return any(line.startswith("0: ") for line in lines)

    children = set(launcher.descendants(os.getpid()))
    with pytest.raises(LLMBoostError, match=r"out: cancelled; .* resume=True"):
        logic.processFolder(cases, output, device="cpu", onProgress=lines.append, shouldCancel=isOneDone)
    assert not {pid for pid in launcher.descendants(os.getpid()) if pid not in children}
    finished = {path.name for path in output.glob("*.seg.nrrd")}
    assert "0.seg.nrrd" in finished
    assert len(finished) < 4
    again = []
    rows = logic.processFolder(cases, output, device="cpu", resume=True, onProgress=again.append)
    assert [row["status"] for row in rows] == ["ok"] * 4
    assert not any(line.startswith("0: ") for line in again)


def test_a_folder_without_images_is_one_clear_error(logic, tmp_path):
    with pytest.raises(LLMBoostError, match="no images"):
        logic.processFolder(tmp_path, tmp_path / "out", onProgress=lambda line: None)


def test_the_modules_metadata_and_its_own_test(session, logic):
    module = sys.modules["LLMBoostSegment"]
    parent = slicer.modules.llmboostsegment
    assert (parent.title, parent.categories) == ("LLMBoost Segment", ["Segmentation"])
    assert "not for clinical use" in parent.helpText
    assert module.HOMEPAGE in parent.helpText
    assert parent.acknowledgementText
    assert parent.contributors
    module.LLMBoostSegmentTest().runTest()


def test_the_module_brings_no_heavy_library_into_slicer():
    code = """
import json, sys
from pathlib import Path
from Testing.host import start
start().load(Path("LLMBoostSegment/LLMBoostSegment.py"))
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert {"LLMBoostLib", "llmboost", "slicer"} <= loaded
    assert not loaded & {"torch", "monai", "transformers", "safetensors", "SimpleITK", "scipy"}


@pytest.mark.parametrize("call", ["process", "classify", "explain"])
def test_an_option_that_nobody_knows_is_refused(logic, call):
    volumeNode = slicer.util.addVolumeFromArray(np.zeros((4, 5, 6), np.int16), name="image")
    with pytest.raises(TypeError, match="unexpected keyword argument 'mirrored'"):
        getattr(logic, call)(volumeNode, mirrored=True)
