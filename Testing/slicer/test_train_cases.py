"""Cases of LLMBoost Train on real MRML: what a snapshot holds and what it does not, labels, problems, frozen runs."""

from __future__ import annotations

import gzip
import json
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from Testing.slicer.blocks import NAMES, SHAPE, VOXELS, drawBlocks

from llmboost import library
from llmboost.card import read_card
from llmboost.errors import LLMBoostError
from llmboost.io.dataset import load, read_dataset
from llmboost.io.datasetcheck import check, settle
from llmboost.io.image import read_image
from llmboost.io.segnrrd import terminology_entry
from llmboost.messages.images import DrawnLabel
from llmboost.messages.words import AdaptTask
from LLMBoostLib.scene.segmentation import writeSegmentation
from LLMBoostLib.training import snapshot
from LLMBoostLib.training.cases import Kind
from LLMBoostLib.training.casestore import CaseStore
from LLMBoostLib.training.mapping import match, matchOwn, ownLabels
from LLMBoostLib.training.plan import examine, freeze, makePlan, purposeOf

CARD = read_card(library.find("hippocampus"))


@pytest.fixture
def store(session, tmp_path) -> CaseStore:
    return CaseStore(tmp_path / "cases")


@pytest.fixture
def makeCase(makeVolume) -> Any:
    """``makeCase(names, seed)``: a volume node and a segmentation node with a block for each name."""

    def make(names: tuple = NAMES, seed: int = 0, ijkToRAS: Any = None, name: str = "Doe^Jane") -> tuple:
        array = np.random.default_rng(seed).integers(0, 500, SHAPE).astype(np.int16)
        volumeNode = makeVolume(array, ijkToRAS, name)
        return volumeNode, writeSegmentation(*drawBlocks(names), volumeNode, name=f"{name} segments").segmentationNode

    return make


def problems(store: CaseStore, task: str = AdaptTask.IMPROVE) -> tuple[list[str], dict[str, list[str]]]:
    whole, perCase = examine(makePlan(store, CARD, task), store)
    return whole.problems, {id: found.problems for id, found in perCase.items() if found.problems}


# Snapshots


def test_a_snapshot_is_a_data_set_of_the_decathlons_form(store, makeCase, oblique):
    volumeNode, segmentationNode = makeCase(ijkToRAS=oblique)
    case = snapshot.addCase(store, volumeNode, segmentationNode)
    dataset = read_dataset(store.folder)
    check(dataset, dataset.cases.values())
    assert dataset.labels == {1: NAMES[0], 2: NAMES[1]}
    assert dataset.splits == {"train": [case.id], "val": [], "test": []}
    image, labels = read_image(store.image(case)), read_image(store.labels(case))
    assert np.array_equal(image.array.transpose(), slicer.util.arrayFromVolume(volumeNode))
    assert np.allclose(np.diag([-1, -1, 1, 1]) @ image.affine, oblique, atol=1e-4)
    assert labels.same_grid(image)
    for value, name in enumerate(NAMES, start=1):
        segmentID = segmentationNode.GetSegmentation().GetSegmentIdBySegmentName(name)
        voxels = slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, segmentID, volumeNode) > 0
        assert np.array_equal(labels.array.transpose() == value, voxels)


def test_nothing_of_nodes_and_dicom_is_kept(store, makeCase):
    volumeNode, segmentationNode = makeCase(name="Doe^Jane")
    volumeNode.SetDescription("born 1970")
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    constants = slicer.vtkMRMLSubjectHierarchyConstants
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Doe^Jane")
    hierarchy.SetItemAttribute(patient, constants.GetDICOMPatientIDAttributeName(), "PID1234")
    item = hierarchy.GetItemByDataNode(volumeNode)
    hierarchy.SetItemParent(item, patient)
    hierarchy.SetItemAttribute(item, constants.GetDICOMSeriesModalityAttributeName(), "MR")
    other, _ = makeCase(seed=1, name="Doe^Jane 2")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(other), patient)
    cases = [snapshot.addCase(store, volumeNode, segmentationNode), snapshot.addCase(store, other)]
    assert cases[0].modality == "MR"
    assert cases[0].subject == cases[1].subject  # but who it is, nobody can tell
    for path in store.folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            data = gzip.decompress(data) if path.suffix == ".gz" else data
            for secret in (b"Doe", b"Jane", b"PID1234", b"1970"):
                assert secret not in data, path
                assert secret not in path.name.encode()


def test_editing_later_changes_no_snapshot_until_it_is_taken_over(store, makeCase):
    volumeNode, segmentationNode = makeCase()
    case = snapshot.addCase(store, volumeNode, segmentationNode)
    state, before = snapshot.segmentsState(segmentationNode), store.labels(case).read_bytes()
    segmentationNode.GetSegmentation().RemoveSegment(segmentationNode.GetSegmentation().GetNthSegmentID(0))
    assert snapshot.segmentsState(segmentationNode) != state
    assert store.labels(case).read_bytes() == before
    again = snapshot.addCase(store, volumeNode, segmentationNode)
    assert again.id == case.id
    assert len(store.cases) == 1
    assert list(again.voxels.values()) == [VOXELS]


def test_an_image_that_changed_is_another_case(store, makeCase):
    volumeNode, segmentationNode = makeCase()
    case = snapshot.addCase(store, volumeNode, segmentationNode)
    slicer.util.updateVolumeFromArray(volumeNode, np.ones(SHAPE, np.int16))
    assert snapshot.addCase(store, volumeNode, segmentationNode).id != case.id


def test_a_segmentation_on_another_grid_and_under_a_transform(store, makeCase, makeVolume, makeTransform):
    volumeNode, _ = makeCase()
    coarse = makeVolume(np.zeros((20, 28, 20), np.int16), np.diag([2.0, 2.0, 2.0, 1.0]), "coarse")
    labelmap = np.zeros((20, 28, 20), np.uint8)
    labelmap[5:10, 4:8, 6:12] = 1
    label = [DrawnLabel(1, NAMES[0], (200, 0, 0))]
    segmentationNode = writeSegmentation(labelmap, label, coarse).segmentationNode
    transform = makeTransform(translation=(4, 0, 0))
    for node in (volumeNode, segmentationNode):
        node.SetAndObserveTransformNodeID(transform.GetID())
    case = snapshot.addCase(store, volumeNode, segmentationNode)
    assert np.isclose(read_image(store.image(case)).origin[0], -4)  # LPS: in the patient's frame
    assert 0.8 < case.voxels[1] / (labelmap.sum() * 8) < 1.25


def test_segments_that_overlap_and_segments_of_which_nothing_is_drawn(store, makeCase):
    volumeNode, segmentationNode = makeCase(names=("Anterior hippocampus",))
    segmentation = segmentationNode.GetSegmentation()
    copy = slicer.vtkSegment()
    copy.DeepCopy(segmentation.GetNthSegment(0))
    copy.SetName("Posterior hippocampus")
    segmentation.AddSegment(copy)
    segmentation.AddEmptySegment("empty", "not drawn")
    case = snapshot.addCase(store, volumeNode, segmentationNode)
    assert case.overlap == VOXELS
    assert {store.kinds[value].name: count for value, count in case.voxels.items()} == {
        "Anterior hippocampus": 0,
        "Posterior hippocampus": VOXELS,
        "not drawn": 0,
    }


def test_without_segments_a_case_waits_to_be_labelled(store, makeCase):
    volumeNode, segmentationNode = makeCase()
    case = snapshot.addCase(store, volumeNode)
    assert case.role == "unlabelled"
    assert store.image(case).parent.name == "imagesTs"
    with pytest.raises(LLMBoostError, match="has no segments; draw them"):
        store.setRole(case.id, "train")
    labelled = snapshot.addCase(store, volumeNode, segmentationNode)
    assert (labelled.id, labelled.role) == (case.id, "train")
    assert store.image(labelled).parent.name == "imagesTr"
    assert store.image(labelled).is_file()


def test_what_is_no_gray_image_of_numbers_is_refused(store, makeVolume):
    array = np.zeros(SHAPE, np.float32)
    array[0, 0, 0] = np.nan
    with pytest.raises(LLMBoostError, match="NaN or infinite"):
        snapshot.addCase(store, makeVolume(array))
    with pytest.raises(LLMBoostError, match="holds no voxels"):
        snapshot.addCase(store, slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty"))
    assert not store.folder.exists()


def test_a_full_disk_leaves_nothing_behind(store, makeCase):
    volumeNode, segmentationNode = makeCase()
    case = snapshot.addCase(store, volumeNode, segmentationNode)
    before = {path: path.read_bytes() for path in store.folder.rglob("*") if path.is_file()}
    other = makeCase(seed=1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))  # no file gets longer: so a full disk looks
    try:
        with pytest.raises(LLMBoostError, match="cannot be written"):
            snapshot.addCase(store, *other)
        with pytest.raises(LLMBoostError, match="cannot be written"):
            freeze(makePlan(store, CARD, AdaptTask.IMPROVE), store, store.folder / ("x" * 300))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(store.cases) == [case.id]
    assert {path: path.read_bytes() for path in store.folder.rglob("*") if path.is_file()} == before


def test_cases_of_another_panel_are_seen_and_a_damaged_index_is_told(store, makeCase):
    other = CaseStore(store.folder)
    case = snapshot.addCase(other, *makeCase())
    second = snapshot.addCase(store, *makeCase(seed=1))  # nothing is lost
    assert set(CaseStore(store.folder).cases) == {case.id, second.id}
    (store.folder / "cases.json").write_text("{")
    with pytest.raises(LLMBoostError, match="mend it, or choose another folder"):
        CaseStore(store.folder)


def test_removing_deletes_the_copies_and_nothing_else(store, makeCase):
    cases = [snapshot.addCase(store, *makeCase(seed=seed)) for seed in range(2)]
    (store.folder / "notes.txt").write_text("mine")
    store.remove([cases[0].id])
    assert not store.image(cases[0]).exists()
    assert store.image(cases[1]).exists()
    store.removeAll()
    assert [path.name for path in store.folder.rglob("*")] == ["notes.txt"]
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 2


def test_a_case_comes_back_into_the_scene(store, makeCase, oblique, session):
    volumeNode, segmentationNode = makeCase(ijkToRAS=oblique)
    expected = slicer.util.arrayFromVolume(volumeNode).copy()
    case = snapshot.addCase(store, volumeNode, segmentationNode)
    assert snapshot.openCase(store, case) == (volumeNode, segmentationNode)
    slicer.mrmlScene.Clear(False)
    volumeNode, segmentationNode = snapshot.openCase(store, case)
    assert np.array_equal(slicer.util.arrayFromVolume(volumeNode), expected)
    assert [kind.name for kind, _ in snapshot.masksOf(segmentationNode, volumeNode)] == list(NAMES)
    assert snapshot.addCase(store, volumeNode, segmentationNode).id == case.id
    assert snapshot.openCase(store, case) == (volumeNode, segmentationNode)


def test_all_of_the_scene(store, makeCase):
    makeCase(), makeCase(seed=1)
    assert len(snapshot.addAllOfScene(store)) == 2
    assert snapshot.addAllOfScene(store) == []


def test_a_folder_is_imported_with_its_roles_and_subjects(store, makeCase, tmp_path):
    source = CaseStore(tmp_path / "source")
    ids = [snapshot.addCase(source, *makeCase(seed=seed)).id for seed in range(4)]
    source.setRole(ids[1], "val")
    alone = snapshot.addCase(source, makeCase(seed=9)[0])
    assert alone.role == "unlabelled"
    splits = json.loads((source.folder / "splits.json").read_text())
    splits["subjects"] = {ids[2]: "a", ids[3]: "a"}
    (source.folder / "splits.json").write_text(json.dumps(splits))
    assert snapshot.importFolder(store, source.folder) == 5
    roles = [case.role for case in store.cases.values()]
    assert sorted(roles) == ["train", "train", "train", "unlabelled", "val"]
    subjects = [case.subject for case in store.cases.values()]
    assert len(set(subjects)) == 4
    assert not {*ids, alone.id} & set(store.cases)
    with pytest.raises(LLMBoostError, match="no such folder"):
        snapshot.importFolder(store, tmp_path / "nothing")


# Labels


@pytest.mark.parametrize("name", ["anterior_hippocampus", "Hippocampus, anterior", "ANTERIOR HIPPOCAMPUS"])
def test_a_label_is_found_by_its_name_however_it_is_spelled(name):
    assert match(Kind(name), CARD.labels).label == "Anterior hippocampus"


def test_a_label_is_found_by_its_snomed_code():
    found = match(Kind("HC head", terminology_entry(CARD.labels[0])), CARD.labels)
    assert (found.label, found.problem) == ("Anterior hippocampus", "")


def test_a_name_and_a_code_that_disagree_are_pointed_out():
    found = match(Kind("Posterior hippocampus", terminology_entry(CARD.labels[0])), CARD.labels)
    assert found.label == "Posterior hippocampus"
    assert "says Anterior hippocampus, not Posterior hippocampus" in found.doubt


def test_a_part_of_a_name_will_do_if_it_is_one_labels_alone_but_is_pointed_out():
    found = match(Kind("anterior"), CARD.labels)
    assert (found.label, found.problem) == ("Anterior hippocampus", "")
    assert "'anterior' was taken for Anterior hippocampus" in found.doubt
    assert match(Kind("hippocampus"), CARD.labels).label == ""


def test_what_slicer_gives_to_every_segment_is_no_code():
    """ "Tissue": of two unknown segments, none is taken for the other."""
    found = match(Kind("Segment_1", slicer.vtkSegment().GetTerminology()), CARD.labels)
    assert (found.label, found.problem) == ("", "'Segment_1' has no label: choose one")


def test_what_the_user_chose_comes_first_unless_there_is_no_such_label():
    assert match(Kind("Segment_1"), CARD.labels, "Posterior hippocampus").label == "Posterior hippocampus"
    assert match(Kind("Segment_1"), CARD.labels, "liver").label == ""
    assert match(Kind("ignore"), CARD.labels).label == "ignore"


def test_new_labels_are_harmonized():
    kinds = [Kind("Left ventricle"), Kind("left_ventricle"), Kind("LV"), Kind("ignore")]
    names = ownLabels(kinds)
    assert names == ["Left ventricle", "LV"]
    assert matchOwn(kinds[1], names).label == "Left ventricle"
    assert matchOwn(kinds[2], names, "Left ventricle").label == "Left ventricle"


# Problems


def test_problems_and_what_to_do_about_each(store, makeCase, makeVolume):
    assert problems(store) == (
        ["No case to train with: add an image with its segmentation, or set a labeled case to 'train'"],
        {},
    )
    good = snapshot.addCase(store, *makeCase())
    assert problems(store) == ([], {})
    odd = snapshot.addCase(store, *makeCase(names=("Segment_1", "Posterior hippocampus"), seed=1))
    assert problems(store)[1] == {odd.id: ["'Segment_1' has no label: choose one, in the section Labels"]}
    plan = makePlan(store, CARD, AdaptTask.IMPROVE)
    value = next(value for value, kind in store.kinds.items() if kind.name == "Segment_1")
    store.setMapping(purposeOf(CARD, plan.task), {value: "Anterior hippocampus"})
    assert problems(store) == ([], {})
    volumeNode, segmentationNode = makeCase()  # the first one's voxels
    twin = snapshot.addCase(store, volumeNode, segmentationNode)
    assert "the same image as case" in problems(store)[1][twin.id][0]
    store.remove([twin.id])
    store.image(good).unlink()
    assert "its files are gone" in problems(store)[1][good.id][0]


def test_a_whole_head_is_too_large_and_a_slice_too_thin(store, makeVolume):
    for shape in ((100, 120, 100), (4, 56, 40)):
        volumeNode = makeVolume(np.arange(np.prod(shape)).reshape(shape).astype(np.int32), name="head")
        labelmap = np.zeros(shape, np.uint8)
        labelmap[1:3, 10:30, 10:30] = 1
        label = [DrawnLabel(1, NAMES[0], (200, 0, 0))]
        snapshot.addCase(store, volumeNode, writeSegmentation(labelmap, label, volumeNode).segmentationNode)
    (large,), (thin,) = problems(store)[1].values()
    assert "too large (100 × 120 × 100 mm)" in large
    assert "Crop Volume" in large
    assert "too thin" in thin


def test_one_patient_does_not_check_what_was_learnt_from_the_same(store, makeCase):
    nodes = makeCase()
    image = read_image(store.image(snapshot.addCase(store, *nodes)))
    masks = snapshot.masksOf(nodes[1], nodes[0])
    store.remove(list(store.cases))
    first = store.add(image, masks, subject="a")
    second = store.add(image.with_array(image.array + 1), masks, "val", subject="a")
    assert set(problems(store)[1]) == {first.id, second.id}
    store.setRole(second.id, "train")
    assert problems(store) == ([], {})


def test_cases_of_which_only_segments_count_have_no_background(store, makeCase):
    case = snapshot.addCase(store, *makeCase(names=NAMES[:1]))
    assert problems(store) == ([], {})
    store.setPartly(case.id, True)
    assert "no background to learn" in problems(store)[0][0]
    store.setPartly(case.id, False)
    assert problems(store) == ([], {})


# Frozen runs


def test_a_run_gets_the_labels_of_the_base_and_ignores_what_was_not_labelled(store, makeCase, tmp_path):
    whole = snapshot.addCase(store, *makeCase())
    partly = snapshot.addCase(store, *makeCase(names=("background", "Posterior hippocampus", "ignore"), seed=1))
    store.setPartly(partly.id, True)
    alone = snapshot.addCase(store, makeCase(seed=2)[0])
    folder = freeze(makePlan(store, CARD, AdaptTask.IMPROVE), store, tmp_path / "run")
    dataset = read_dataset(folder)
    check(dataset, dataset.cases.values())
    assert (dataset.labels, dataset.ignore) == ({1: NAMES[0], 2: NAMES[1]}, 3)
    assert np.unique(read_image(dataset.cases[whole.id].label).array).tolist() == [0, 1, 2]
    array = read_image(dataset.cases[partly.id].label).array.transpose()
    assert (array[12, 10, 18], array[12, 18, 18], array[12, 26, 18], array[0, 0, 0]) == (0, 2, 3, 3)
    assert (folder / "imagesTs" / f"{alone.id}.nii.gz").is_file()


def test_a_run_does_not_change_with_its_cases(store, makeCase, tmp_path):
    volumeNode, segmentationNode = makeCase()
    case = snapshot.addCase(store, volumeNode, segmentationNode)
    folder = freeze(makePlan(store, CARD, AdaptTask.IMPROVE), store, tmp_path / "run")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    segmentationNode.GetSegmentation().RemoveSegment(segmentationNode.GetSegmentation().GetNthSegmentID(0))
    snapshot.addCase(store, volumeNode, segmentationNode)
    store.setRole(case.id, "val")
    store.removeAll()
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_label_maps_that_have_the_values_to_learn_are_not_written_again(store, makeCase, tmp_path):
    same = snapshot.addCase(store, *makeCase())
    other = snapshot.addCase(store, *makeCase(names=NAMES[::-1], seed=1))
    partly = snapshot.addCase(store, *makeCase(names=NAMES[:1], seed=2))
    labels = freeze(makePlan(store, CARD, AdaptTask.IMPROVE), store, tmp_path / "run") / "labelsTr"
    linked = {case.id for case in (same, other, partly) if store.labels(case).samefile(labels / f"{case.id}.nii.gz")}
    assert linked == {same.id, other.id, partly.id}
    store.setPartly(partly.id, True)
    labels = freeze(makePlan(store, CARD, AdaptTask.IMPROVE), store, tmp_path / "other") / "labelsTr"
    assert np.unique(read_image(labels / f"{partly.id}.nii.gz").array).tolist() == [1, 3]


def test_what_was_not_drawn_in_a_case_is_learned_so(store, makeCase, tmp_path):
    """In a run, and by the command line from the folder of the cases; what the user says is not guessed again."""
    whole = snapshot.addCase(store, *makeCase())
    undrawn, absent, strokes = (snapshot.addCase(store, *makeCase(names=NAMES[:1], seed=seed)) for seed in (1, 2, 3))
    store.setPartly(absent.id, False)
    store.setPartly(strokes.id, True)
    alone = snapshot.addCase(store, makeCase(seed=4)[0])
    store.setPartly(alone.id, True)
    for folder in (freeze(makePlan(store, CARD, AdaptTask.IMPROVE), store, tmp_path / "run"), store.folder):
        dataset = read_dataset(folder)
        dataset, checked = settle(dataset, check(dataset, dataset.split("train")), dataset.split("train"))
        shown = {one.id: set(np.unique(load(dataset.cases[one.id])[1].array)) for one in (whole, undrawn, strokes)}
        assert shown == {whole.id: {0, 1, 2}, undrawn.id: {0, 1}, strokes.id: {1, 3}}
        assert {id for id in dataset.cases if dataset.undrawn(id, checked.values[id])} == {undrawn.id}
        assert checked.notes == (f"of 4 cases, some lack {NAMES[1]} ({undrawn.id}): not drawn there, by dataset.json",)
    other = CaseStore(tmp_path / "other")
    assert snapshot.importFolder(other, store.folder) == 5
    assert sorted(str(case.partly) for case in other.cases.values()) == ["False", "False", "False", "None", "True"]


def test_a_run_on_new_labels_has_those_of_the_cases(store, makeCase, tmp_path):
    snapshot.addCase(store, *makeCase(names=("LV", "Aorta")))
    snapshot.addCase(store, *makeCase(names=("lv", "thing"), seed=1))
    value = next(value for value, kind in store.kinds.items() if kind.name == "thing")
    store.setMapping(AdaptTask.NEW_LABELS, {value: "background"})
    plan = makePlan(store, CARD, AdaptTask.NEW_LABELS)
    assert plan.labels == {1: "LV", 2: "Aorta"}
    dataset = read_dataset(freeze(plan, store, tmp_path / "run"))
    assert dataset.labels == {1: "LV", 2: "Aorta"}
    assert dataset.name == "LV, Aorta"


def test_real_cases_are_imported(store, data_root):
    source = data_root / "Task04_Hippocampus"
    seen: list[int] = []

    def onCase(number: int, count: int) -> bool:
        seen.append(count)
        return number < 3

    assert snapshot.importFolder(store, Path(source), onCase) == 3
    assert seen[0] == 207
    assert {kind.name for kind in store.kinds.values()} == {"anterior", "posterior"}
