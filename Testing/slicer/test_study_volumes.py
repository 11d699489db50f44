"""Volumes of a study or folder of the subject hierarchy: which of them suit a model, and what becomes of each."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import slicer

from llmboost import library
from llmboost.card import read_card
from llmboost.errors import LLMBoostError
from LLMBoostLib.scene import studyvolumes
from LLMBoostLib.scene.nodes import derivedNode

SAGITTAL = np.array([[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])  # IJK to RAS


@pytest.fixture(scope="module")
def card():
    return read_card(library.find("hippocampus"))


@pytest.fixture
def hierarchy(scene):
    return scene.GetSubjectHierarchyNode()


@pytest.fixture
def addTo(makeVolume, hierarchy):
    """``addTo(item, name, spacing, modality)``: a volume of the study, its slices sagittal."""

    def add(item, name, spacing=(1, 1, 1), modality="MR", shape=(48, 56, 48)):
        matrix = SAGITTAL @ np.diag([*spacing, 1])
        node = makeVolume(np.random.default_rng(0).integers(0, 400, shape).astype(np.int16), matrix, name)
        own = hierarchy.GetItemByDataNode(node)
        hierarchy.SetItemParent(own, item)
        constants = slicer.vtkMRMLSubjectHierarchyConstants
        hierarchy.SetItemAttribute(own, constants.GetDICOMSeriesModalityAttributeName(), modality)
        return node

    return add


@pytest.fixture
def study(hierarchy, addTo):
    """A study of a subject, and its volumes by name."""
    subject = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "anna")
    item = hierarchy.CreateStudyItem(subject, "2026-11-30")
    nodes = [
        addTo(item, "1: localizer", (1, 1, 12)),
        addTo(item, "2: T1 SE SAG", (1, 1, 6)),
        addTo(item, "3: T1 MPRAGE"),
        addTo(item, "5: FLAIR 3D"),
        addTo(item, "7: CT head", modality="CT"),
    ]
    return SimpleNamespace(item=item, subject=subject, nodes={node.GetName(): node for node in nodes})


def test_of_a_study_the_volume_that_suits_best_and_all_that_suit(study, card):
    (choice,) = studyvolumes.chooseVolumes(study.item, card)
    assert [node.GetName() for node in choice.taken] == ["3: T1 MPRAGE"]
    assert choice.name == "2026-11-30"
    assert dict(choice.left) == {
        "1: localizer": "a localizer",
        "2: T1 SE SAG": "6 mm, the model works at 1 mm",
        "5: FLAIR 3D": "FLAIR, the model's card names T1",
        "7: CT head": "CT, the model takes MR",
    }
    (every,) = studyvolumes.chooseVolumes(study.item, card, "all")
    assert [node.GetName() for node in every.taken] == ["2: T1 SE SAG", "3: T1 MPRAGE", "5: FLAIR 3D"]
    (ruled,) = studyvolumes.chooseVolumes(study.item, card, "thickness>2 & description~T1")
    assert [node.GetName() for node in ruled.taken] == ["2: T1 SE SAG"]


def test_each_study_of_a_subject_is_chosen_from_and_a_folder_is_one(study, card, hierarchy, addTo):
    second = hierarchy.CreateStudyItem(study.subject, "later")
    later = addTo(second, "T1")
    choices = studyvolumes.chooseVolumes(study.subject, card)
    assert [[node.GetName() for node in one.taken] for one in choices] == [["3: T1 MPRAGE"], ["T1"]]
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "files")
    loose = addTo(folder, "brain T1", modality="")
    assert studyvolumes.studyItemOf(loose) == folder
    assert studyvolumes.studyItemOf(later) == second
    assert [one.name for one in studyvolumes.chooseVolumes(hierarchy.GetSceneItemID(), card)] == [
        "2026-11-30", "later", "files"
    ]  # fmt: skip


def test_results_and_label_maps_are_no_images_of_the_study(study, card, hierarchy):
    before = studyvolumes.chooseVolumes(study.item, card, "all")
    image = study.nodes["3: T1 MPRAGE"]
    made, _new = derivedNode("vtkMRMLScalarVolumeNode", image, "entropy", "Entropy")
    slicer.util.updateVolumeFromArray(made, slicer.util.arrayFromVolume(image))
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    slicer.util.updateVolumeFromArray(labels, slicer.util.arrayFromVolume(image))
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(labels), study.item)
    after = studyvolumes.chooseVolumes(study.item, card, "all")
    assert after == before


def test_what_slicers_dicom_database_says_of_the_image_counts(study, card, monkeypatch):
    node = study.nodes["3: T1 MPRAGE"]
    node.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")
    told = {("1.2.3", "0008,0008"): "DERIVED\\SECONDARY\\MPR"}
    database = SimpleNamespace(isOpen=True, instanceValue=lambda uid, tag: told.get((uid, tag), ""))
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    (choice,) = studyvolumes.chooseVolumes(study.item, card)
    assert [one.GetName() for one in choice.taken] == ["5: FLAIR 3D"]
    assert dict(choice.left)["3: T1 MPRAGE"] == "reformatted"


def test_a_volume_each_gets_segments_and_revert_takes_all_back(study, logic):
    for name in ("1: localizer", "2: T1 SE SAG"):
        slicer.mrmlScene.RemoveNode(study.nodes[name])
    made = logic.processStudies(study.item, series="all")
    assert [result.volumeNode.GetName() for result in made.results] == ["3: T1 MPRAGE", "5: FLAIR 3D"]
    assert made.failed == ()
    assert made.told == "2 of 2 images of the study are done"
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 2
    logic.revert()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 0


def test_where_nothing_suits_the_reasons_are_told(study, logic):
    with pytest.raises(LLMBoostError, match=r"No volume here suits the model: .*7: CT head"):
        logic.processStudies(study.item, series="description~pet")
    with pytest.raises(LLMBoostError, match="'colour' is no word of a rule"):
        logic.processStudies(study.item, series="colour=red")
