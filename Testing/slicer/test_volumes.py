"""From MRML nodes to the worker's volumes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import slicer
from vtk.util.numpy_support import vtk_to_numpy

from llmboost.errors import LLMBoostError
from llmboost.inference.roi import Roi
from llmboost.io.image import Image, read_image, write_image
from LLMBoostLib.scene import volumes

ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def asImage(volume) -> Image:
    return Image(volume.array.transpose(), volume.spacing, volume.origin, volume.direction)


@pytest.fixture
def image() -> Image:
    from scipy.spatial.transform import Rotation

    array = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)
    turn = Rotation.from_euler("xyz", (20, -10, 30), degrees=True).as_matrix()
    return Image(array, (1.0, 1.25, 2.5), (10.0, -20.0, 30.0), turn)


@pytest.mark.parametrize(("axes", "senses"), ORIENTATIONS)
def test_the_grid_is_that_of_the_file_whatever_its_axes(scene, tmp_path, image, reorient, axes, senses):
    path = tmp_path / "image.nrrd"
    write_image(reorient(image, axes, senses), path)
    (volume,) = volumes.volumesFromNode(slicer.util.loadVolume(str(path), {}))
    sent, stored = asImage(volume), read_image(path)
    # each voxel is found where the file has it, in whatever order Slicer holds them
    index = np.stack(np.unravel_index(np.argsort(sent.array, axis=None), sent.shape))
    expected = np.stack(np.unravel_index(np.argsort(stored.array, axis=None), stored.shape))
    place = [i.affine @ np.vstack([n, np.ones(n.shape[1])]) for i, n in ((sent, index), (stored, expected))]
    np.testing.assert_allclose(*place, atol=1e-4)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
def test_voxels_keep_their_type_and_are_not_copied(makeVolume, dtype):
    volumeNode = makeVolume(np.arange(24, dtype=dtype).reshape(2, 3, 4))
    (volume,) = volumes.volumesFromNode(volumeNode)
    assert volume.array.dtype == dtype
    assert np.shares_memory(volume.array, slicer.util.arrayFromVolume(volumeNode))


def test_a_linear_parent_transform_moves_the_volume_as_hardening_it_would(makeVolume, makeTransform, oblique):
    volumeNode = makeVolume(np.zeros((2, 3, 4)), oblique)
    inner, outer = makeTransform((30, 0, 80)), makeTransform((0, 100, 0), (5, 6, 7), (1.1, 1, 1))
    inner.SetAndObserveTransformNodeID(outer.GetID())
    volumeNode.SetAndObserveTransformNodeID(inner.GetID())
    (volume,) = volumes.volumesFromNode(volumeNode)
    volumeNode.HardenTransform()
    (hardened,) = volumes.volumesFromNode(volumeNode)
    np.testing.assert_allclose(asImage(volume).affine, asImage(hardened).affine, atol=1e-9)


def test_a_volume_is_sent_as_if_a_bending_transform_were_not_there(makeVolume, makeBend, oblique):
    volumeNode = makeVolume(np.zeros((2, 3, 4)), oblique)
    volumeNode.SetAndObserveTransformNodeID(makeBend().GetID())
    (volume,) = volumes.volumesFromNode(volumeNode)
    np.testing.assert_allclose(asImage(volume).affine, RAS_TO_LPS @ oblique, atol=1e-9)
    assert "not linear" in volumes.frameWarnings(volumeNode)[0]


def test_only_transforms_that_change_sizes_give_a_warning(makeVolume, makeTransform):
    volumeNode = makeVolume(np.zeros((2, 3, 4)))
    assert not volumes.frameWarnings(volumeNode)
    volumeNode.SetAndObserveTransformNodeID(makeTransform((10, 20, 30), (1, 2, 3)).GetID())
    assert not volumes.frameWarnings(volumeNode)
    volumeNode.SetAndObserveTransformNodeID(makeTransform(scale=(2, 1, 1)).GetID())
    assert "scales" in volumes.frameWarnings(volumeNode)[0]


def addVector(array: np.ndarray):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "picture")
    slicer.util.updateVolumeFromArray(node, array)
    return node


@pytest.mark.parametrize("components", [3, 4])
def test_a_color_image_gives_red_green_and_blue(scene, components):
    array = np.arange(24 * components, dtype=np.uint8).reshape(2, 3, 4, components)
    channels = volumes.volumesFromNode(addVector(array), color=True)
    assert len(channels) == 3
    for n, channel in enumerate(channels):
        np.testing.assert_array_equal(channel.array, array[..., n])


def test_what_is_no_fitting_volume_is_refused(scene, makeVolume):
    color = addVector(np.zeros((2, 3, 4, 3), np.uint8))
    vectors = addVector(np.zeros((2, 3, 4, 2), np.float32))
    vectors.SetName("field")
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "heart")
    model = scene.AddNewNodeByClass("vtkMRMLModelNode", "bone")
    broken = makeVolume(np.zeros((2, 3, 4)), name="flat")
    broken.SetIJKToRASDirections(1, 0, 0, 1, 0, 0, 0, 0, 1)
    for node, isColor, reason in (
        (None, False, "no volume is chosen"),
        (color, False, "picture: a color image, but the model takes one component"),
        (vectors, False, "field: 2 components"),
        (vectors, True, "field: 2 components"),
        (makeVolume(np.zeros((2, 3, 4))), True, "image: a gray image, but the model takes a color image"),
        (empty, False, "empty: holds no voxels"),
        (sequence, False, "heart: a sequence"),
        (model, False, "bone: not a volume"),
        (scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels"), False, "labels: a label map"),
        (broken, False, "flat: its spacing or axes"),
    ):
        with pytest.raises(LLMBoostError, match=reason):
            volumes.volumesFromNode(node, isColor)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("transformed", [False, True])
def test_a_roi_is_the_box_that_the_views_show(makeVolume, makeTransform, turned, transformed):
    roiNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    roiNode.SetCenter(10, 20, 30)
    roiNode.SetSize(9, 7, 8)
    if turned:
        turn = slicer.util.arrayFromTransformMatrix(makeTransform((20, 30, 40), (10, 20, 30)))
        roiNode.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(turn))
    if transformed:
        roiNode.SetAndObserveTransformNodeID(makeTransform((50, 0, 25), (1, 2, 3), (0.9, 1.1, 1.2)).GetID())
    box = volumes.roiFromNode(roiNode, makeVolume(np.zeros((2, 3, 4))))
    roi = Roi(box.center, box.size, box.axes)
    np.testing.assert_allclose(roi.axes.T @ roi.axes, np.eye(3), atol=1e-9)
    shown = vtk_to_numpy(roiNode.CreateROIBoxPolyDataWorld().GetPoints().GetData()) * [-1, -1, 1]
    inBox = (shown - roi.center) @ roi.axes
    if turned and transformed:  # sheared: the box is the smallest around it
        np.testing.assert_allclose(np.abs(inBox).max(axis=0), np.array(roi.size) / 2, rtol=1e-5)
    else:
        np.testing.assert_allclose(np.abs(inBox), np.broadcast_to(np.array(roi.size) / 2, inBox.shape), rtol=1e-5)


def test_a_roi_that_cannot_be_used_is_refused(makeVolume, makeBend):
    volumeNode = makeVolume(np.zeros((2, 3, 4)))
    roiNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    with pytest.raises(LLMBoostError, match="box: an empty box"):
        volumes.roiFromNode(roiNode, volumeNode)
    roiNode.SetSize(1, 2, 3)
    volumeNode.SetAndObserveTransformNodeID(makeBend().GetID())
    with pytest.raises(LLMBoostError, match="image: a ROI cannot limit"):
        volumes.roiFromNode(roiNode, volumeNode)


def test_a_segment_becomes_a_volume_on_the_reference_geometry(makeVolume, makeTransform, oblique):
    volumeNode = makeVolume(np.zeros((7, 8, 9), np.uint8), oblique)
    volumeNode.SetAndObserveTransformNodeID(makeTransform((10, 20, 30)).GetID())
    segmentationNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs")
    segmentationNode.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    array = np.zeros((7, 8, 9), np.uint8)
    array[2:4, 3:6, 1:5] = 1
    for name, voxels in (("liver", array), ("other", 1 - array)):
        segmentationNode.GetSegmentation().AddEmptySegment(name, name)
        slicer.util.updateSegmentBinaryLabelmapFromArray(voxels, segmentationNode, name, volumeNode)
    segmentationNode.GetSegmentation().CollapseBinaryLabelmaps(True)
    volume = volumes.volumeFromSegment(segmentationNode, "liver")
    assert volume.array.dtype == np.uint8
    np.testing.assert_array_equal(volume.array, array)
    assert asImage(volume).same_grid(asImage(volumes.volumesFromNode(volumeNode)[0]))
    segmentationNode.GetSegmentation().AddEmptySegment("nothing", "nothing")
    with pytest.raises(LLMBoostError, match="organs: segment 'nothing' is empty"):
        volumes.volumeFromSegment(segmentationNode, "nothing")
    with pytest.raises(LLMBoostError, match="organs: has no segment 'missing'"):
        volumes.volumeFromSegment(segmentationNode, "missing")
