"""What is seen: segments, overlay and legend in views that are rendered off-screen."""

from __future__ import annotations

import ctypes.util

import numpy as np
import pytest
import slicer
from Testing.host import SliceView, ThreeDView, mosaic

from llmboost.messages.images import DrawnLabel
from LLMBoostLib.scene.maps import Overlay, writeMap
from LLMBoostLib.scene.segmentation import writeSegmentation

pytestmark = pytest.mark.skipif(
    not ctypes.util.find_library("EGL"), reason="no libEGL: apt install libegl1 libegl-mesa0 libgl1-mesa-dri"
)
SIZE = 120, 120
LABEL = DrawnLabel(1, "block", (255, 0, 0))


@pytest.fixture
def view(session):
    with SliceView(session, "Red", SIZE) as view:
        yield view


@pytest.fixture
def volumeNode(makeVolume):
    """A gray cube of 40 mm around the origin."""
    place = np.eye(4)
    place[:3, 3] = -20
    volumeNode = makeVolume(np.full((40, 40, 40), 100, np.int16), place)
    volumeNode.GetDisplayNode().AutoWindowLevelOff()
    volumeNode.GetDisplayNode().SetWindowLevelMinMax(0, 200)
    slicer.util.setSliceViewerLayers(background=volumeNode)
    return volumeNode


@pytest.fixture
def block():
    """A label map of the cube's middle."""
    labelmap = np.zeros((40, 40, 40), np.uint8)
    labelmap[10:30, 10:30, 10:30] = 1
    return labelmap


def middle(picture: np.ndarray) -> np.ndarray:
    return picture[SIZE[1] // 2, SIZE[0] // 2].astype(int)


def test_segments_are_seen_in_their_color_through_which_the_image_shines(view, volumeNode, block):
    view.show()
    red, green, blue = middle(view.render())
    assert red == green == blue == pytest.approx(128, abs=2)
    writeSegmentation(block, [LABEL], volumeNode)
    red, green, blue = middle(view.render())
    assert red > 150
    assert 30 < green == blue < 100


def test_surfaces_are_seen_in_3d(session, volumeNode, block):
    with ThreeDView(session, SIZE) as view:
        writeSegmentation(block, [LABEL], volumeNode, closedSurface=True)
        red, green, blue = middle(view.render())
    assert red > 100
    assert green < 50 > blue


def test_an_overlay_is_seen_above_its_threshold_with_a_legend(view, volumeNode, block, tmp_path):
    view.show()
    plain = view.render()
    overlay = Overlay()
    mapNode = writeMap(255 * block, volumeNode, "entropy", "Entropy")
    np.testing.assert_array_equal(view.render(), plain, "a map is not shown before it is asked for")
    overlay.show(mapNode, volumeNode, 0.8)
    shown = view.render()
    red, green, blue = middle(shown)
    assert red > green > 100 > blue
    row, quarter = SIZE[1] // 2, SIZE[0] // 4
    outside = np.s_[row, quarter // 3 : quarter // 2]
    np.testing.assert_allclose(shown[outside], plain[outside].astype(int), atol=1, err_msg="it is seen below, too")
    changed = (shown != plain).any(axis=2)
    assert changed[:, -quarter:].any(), "the legend stands at the right"
    overlay.hide()
    np.testing.assert_array_equal(view.render(), plain)
    mosaic([plain, shown], 2, tmp_path / "pictures.png")
    assert (tmp_path / "pictures.png").stat().st_size > 500
