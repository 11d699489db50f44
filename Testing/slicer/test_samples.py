"""The samples: what Slicer's module Sample Data is told, and the drawn image."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from Testing.host.sampledata import SampleDataLogic


@pytest.fixture
def samples(session) -> Any:
    from LLMBoostLib.scene import samples

    return samples


@pytest.fixture
def sources(samples) -> dict[str, dict]:
    SampleDataLogic.sources.clear()
    samples.register()
    return {source["sampleName"]: source for source in SampleDataLogic.sources}


def test_samples_are_listed_with_what_proves_them_whole(sources):
    assert {source["category"] for source in sources.values()} == {"LLMBoost"}
    downloads = [source for source in sources.values() if "customDownloader" not in source]
    assert downloads
    for source in downloads:
        assert source["uris"].startswith("https://")
        assert re.fullmatch("SHA256:[0-9a-f]{64}", source["checksums"])
        if "/SHA256/" in source["uris"]:  # Slicer's own store names its files by their contents
            assert source["uris"].rpartition("/")[2] == source["checksums"].removeprefix("SHA256:")


def test_a_click_on_the_phantom_shows_it(sources, scene):
    view = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    source = sources["HippocampusPhantom"]
    assert source["uris"] == ""  # Slicer fails on None
    assert Path(source["thumbnailFileName"]).is_file()
    source["customDownloader"](source)
    shown = scene.GetNodeByID(view.GetBackgroundVolumeID())
    assert "phantom" in shown.GetName()
    assert "no person" in shown.GetName()


def test_the_phantom_is_always_the_same_and_lies_around_a_left_hippocampus(samples):
    node, again = samples.makePhantomVolume(), samples.makePhantomVolume()
    assert np.array_equal(slicer.util.arrayFromVolume(node), slicer.util.arrayFromVolume(again))
    bounds = np.zeros(6)
    node.GetRASBounds(bounds)
    assert np.allclose(bounds.reshape(3, 2).mean(axis=1), samples.CENTER)
    assert np.allclose(np.diff(bounds.reshape(3, 2)).ravel(), (40, 56, 40))


def test_the_shipped_model_finds_what_was_drawn(samples, logic, segmentVoxels):
    node = samples.makePhantomVolume()
    result = logic.process(node, model="hippocampus")
    front, back = (segmentVoxels(result, f"{part} hippocampus", node) for part in ("Anterior", "Posterior"))
    assert np.argwhere(front)[:, 1].mean() > np.argwhere(back)[:, 1].mean()
    image = slicer.util.arrayFromVolume(node)
    found = front | back
    assert 2500 < found.sum() < 6500  # mm³, as in people
    assert abs(np.median(image[found]) - 430) < 20  # gray matter


def test_phantoms_to_train_with_have_segments_of_what_was_drawn(samples, sources, scene):
    sources["HippocampusPhantomsToTrainWith"]["customDownloader"](None)
    volumeNodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    segmentationNodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert (len(volumeNodes), len(segmentationNodes)) == (5, 4)
    assert all("no person" in node.GetName() for node in volumeNodes)
    known = slicer.util.arrayFromVolume(samples.makePhantomVolume())
    inside = samples.drawLabels() > 0
    assert known[inside].mean() < known[~inside].mean()  # gray matter in white matter
    for volumeNode, segmentationNode in zip(volumeNodes, segmentationNodes, strict=False):
        segmentID = segmentationNode.GetSegmentation().GetSegmentIdBySegmentName("Anterior hippocampus")
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, segmentID, volumeNode) > 0
        array = slicer.util.arrayFromVolume(volumeNode)
        assert np.isclose(array[mask].mean(), 420, atol=40)  # 850 less the gray that is drawn
