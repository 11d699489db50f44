"""Store in DICOM: segments of an image from Slicer's DICOM database go back to it, as SEG and SR of the same study."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import slicer
from Testing.engine.dicom_samples import write_series
from Testing.gui.panelcase import names, voxels
from Testing.gui.qthost import click
from Testing.host.dicomdatabase import DicomDatabase, dicomLib

from llmboost.errors import LLMBoostError

SHAPE = (40, 56, 40)  # k, j, i


@pytest.fixture
def database(case, tmp_path, monkeypatch):
    """Slicer's DICOM database with a series, which is the input."""
    for folder in ("files", "database"):
        (tmp_path / folder).mkdir()
    array = (np.arange(np.prod(SHAPE)).reshape(SHAPE) % 500).astype(np.int16)
    files = write_series(tmp_path / "files", array, spacing=(1, 1, 1.5), origin=(-10, 20, 5), Modality="MR")
    database = DicomDatabase(tmp_path / "database")
    for file in files:
        database.insert(file)
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    for name, module in dicomLib().items():
        monkeypatch.setitem(sys.modules, name, module)
    # as Slicer loads it: RAS, and the instances in the order of the slices
    lps = np.array([[1, 0, 0, -10], [0, 1, 0, 20], [0, 0, 1.5, 5], [0, 0, 0, 1]])
    node = slicer.util.addVolumeFromArray(array, np.diag([-1, -1, 1, 1]) @ lps, "2: T1")
    headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    node.SetAttribute("DICOM.instanceUIDs", " ".join(header.SOPInstanceUID for header in headers))
    database.header = headers[0]
    case.chooseImage(node)
    return database


def store(case):
    case.waitFor(lambda: not case.panel.run.resting)
    assert case.ui.storeButton.enabled
    click(case.ui.storeButton)
    case.finish()


def stored(database):
    """What was added: the segmentation and the report."""
    added = [pydicom.dcmread(file) for file in database.files if Path(file).parent == database.folder]
    return {dataset.Modality: dataset for dataset in added}


def numbers(item):
    """All numbers of a structured report."""
    found = [float(item.MeasuredValueSequence[0].NumericValue)] if item.get("ValueType") == "NUM" else []
    return found + [number for child in item.get("ContentSequence", []) for number in numbers(child)]


def test_segments_go_back_to_their_study(case, database):
    before = {path: path.read_bytes() for path in map(Path, database.files)}
    case.run()
    store(case)
    assert "stored in Slicer's DICOM database" in case.status
    found, source, node = stored(database), database.header, case.result.segmentationNode
    assert sorted(found) == ["SEG", "SR"]
    for dataset in found.values():
        assert dataset.StudyInstanceUID == source.StudyInstanceUID
        assert dataset.SeriesInstanceUID != source.SeriesInstanceUID
    seg = found["SEG"]
    assert [segment.SegmentLabel for segment in seg.SegmentSequence] == names(node)
    assert {segment.SegmentAlgorithmType for segment in seg.SegmentSequence} == {"AUTOMATIC"}
    assert seg.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodingSchemeDesignator == "SCT"
    assert seg.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID
    for number, name in enumerate(names(node), 1):
        drawn = np.zeros(SHAPE, bool)
        for frame, plane in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
            if frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number:
                z = frame.PlanePositionSequence[0].ImagePositionPatient[2]
                drawn[round((float(z) - 5) / 1.5)] = plane
        assert (drawn == voxels(node, name, case.result.volumeNode)).all()
    table = case.result.tableNode
    column = table.GetColumnIndex("Volume (mL)")
    sizes = [float(table.GetCellText(row, column)) for row in range(len(names(node)))]
    assert numbers(found["SR"])[: len(sizes)] == pytest.approx(sizes, abs=1e-3)
    assert {path: path.read_bytes() for path in before} == before
    store(case)
    assert len(database.files) == len(before) + 4, "nothing is replaced"


def test_what_a_person_has_changed_is_told(case, database):
    case.run()
    node, volume = case.result.segmentationNode, case.result.volumeNode
    name = names(node)[0]
    drawn = voxels(node, name, volume).astype(np.uint8)
    drawn[:12] = 0
    segmentID = node.GetSegmentation().GetSegmentIdBySegmentName(name)
    slicer.util.updateSegmentBinaryLabelmapFromArray(drawn, node, segmentID, volume)
    store(case)
    assert stored(database)["SEG"].SegmentSequence[0].SegmentAlgorithmType == "SEMIAUTOMATIC"


def test_an_image_that_was_moved_is_refused(case, database):
    case.run()
    case.result.volumeNode.SetOrigin(0, 0, 0)
    store(case)
    assert "does not lie where its DICOM files say" in case.error()
    assert not stored(database)


def test_a_transform_of_the_scene_does_not_matter(case, database):
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(
        slicer.util.vtkMatrixFromArray(np.array([[1, 0, 0, 30], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    )
    slicer.util.getNode("2: T1").SetAndObserveTransformNodeID(transform.GetID())
    case.run()
    store(case)
    first = stored(database)["SEG"].PerFrameFunctionalGroupsSequence[0]
    assert list(first.PlanePositionSequence[0].ImagePositionPatient)[:2] == [-10, 20]


def test_a_database_that_takes_nothing(case, database):
    case.run()
    database.full = True
    store(case)
    assert "did not take the segments" in case.error()


def test_images_from_elsewhere_have_no_button(case, database):
    case.run()
    assert case.ui.storeButton.visible
    database.isOpen = False
    case.panel.update()
    assert not case.ui.storeButton.visible
    with pytest.raises(LLMBoostError, match="segment such an image first"):
        case.widget.logic.storeInDicom()
