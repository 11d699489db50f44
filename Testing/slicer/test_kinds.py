"""Words for kinds of images: panels and engine take and doubt the same ones, whatever word is used."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import slicer
from Testing.slicer.blocks import SHAPE

from llmboost import library
from llmboost.card import read_card
from llmboost.card.modality import differ
from llmboost.card.told import takes_mask
from llmboost.io.image import Image
from llmboost.messages.words import AdaptTask
from LLMBoostLib.scene import fit
from LLMBoostLib.training.casestore import CaseStore
from LLMBoostLib.training.plan import examine, makePlan

CARD = read_card(library.find("hippocampus"))
WORDS = [
    "MR",
    "MRI",
    "CT",
    "CR",
    "DX",
    "RG",
    "OP",
    "OPT",
    "US",
    "SEG",
    "mask",
    "PT",
    "PET",
    "XC",
    "MG",
    "OT",
    "T2w",
    "",
]


@pytest.fixture
def volumeNode(makeVolume):
    return makeVolume(np.random.default_rng(0).integers(-10, 10, SHAPE).astype(np.int16))


def tell(volumeNode, word: str) -> None:
    """As Slicer's DICOM module does."""
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    name = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName()
    hierarchy.SetItemAttribute(hierarchy.GetItemByDataNode(volumeNode), name, word)


@pytest.mark.parametrize("told", WORDS)
def test_both_panels_doubt_what_the_engine_doubts(volumeNode, tmp_path, told):
    tell(volumeNode, told)
    store = CaseStore(tmp_path)
    image = fit.volumesFromNode(volumeNode)[0]

    case = store.add(Image(image.array.transpose(), (1, 1, 1), (0, 0, 0), np.eye(3)), modality=told)
    for expected in WORDS:
        card = replace(CARD, modality=expected)
        doubted = any("was trained on" in text for text in fit.concerns(card, [volumeNode]))
        assert doubted == differ(told, expected), (told, expected)
        notes = examine(makePlan(store, card, AdaptTask.IMPROVE), store)[1].get(case.id)
        noted = any("its modality is" in text for text in notes.notes) if notes else False
        assert noted == differ(told, expected)


@pytest.mark.parametrize(("word", "isMask"), [("SEG", True), ("mask", True), ("segmentation", True), ("MR", False)])
def test_a_model_of_masks_is_one_by_whatever_word(word, isMask):
    assert takes_mask(replace(CARD, modality=word)) is isMask


def test_a_word_that_says_nothing_leaves_it_to_the_values(makeVolume):
    node = makeVolume(np.full(SHAPE, -1000, np.int16))
    tell(node, "OT")
    assert "The image has values like CT, the model was trained on MR." in fit.concerns(CARD, [node])
