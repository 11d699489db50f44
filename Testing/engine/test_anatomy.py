"""What the names of labels say: SNOMED CT codes, sides and colors."""

from __future__ import annotations

from collections import Counter

import pytest

from llmboost.card import LEFT, RIGHT, Label, synonyms, with_codes
from llmboost.card.anatomy import recognize, structures

VERTEBRAE = [f"vertebrae_{letter}{n}" for letter, count in (("C", 7), ("T", 12), ("L", 5)) for n in range(1, count + 1)]
RIBS = [f"rib_{side}_{n}" for side in ("left", "right") for n in range(1, 13)]
PAIRED = [
    *("kidney", "adrenal_gland", "lung_upper_lobe", "lung_lower_lobe", "kidney_cyst", "subclavian_artery"),
    *("common_carotid_artery", "brachiocephalic_vein", "iliac_artery", "iliac_vena", "humerus", "scapula", "clavicula"),
    *("femur", "hip", "gluteus_maximus", "gluteus_medius", "gluteus_minimus", "autochthon", "iliopsoas"),
]
SINGLE = [
    *("spleen", "gallbladder", "liver", "stomach", "pancreas", "lung_middle_lobe_right", "esophagus", "trachea"),
    *("thyroid_gland", "small_bowel", "duodenum", "colon", "urinary_bladder", "prostate", "sacrum", "vertebrae_S1"),
    *("heart", "aorta", "pulmonary_vein", "brachiocephalic_trunk", "atrial_appendage_left", "superior_vena_cava"),
    *("inferior_vena_cava", "portal_vein_and_splenic_vein", "spinal_cord", "brain", "skull", "sternum"),
    "costal_cartilages",
]
# TotalSegmentator's labels of CT (117) and of MR (50)
TOTAL = [*SINGLE, *VERTEBRAE, *RIBS, *(f"{name}_{side}" for name in PAIRED for side in ("left", "right"))]
TOTAL_MR = [
    *("spleen", "gallbladder", "liver", "stomach", "pancreas", "lung_left", "lung_right", "esophagus", "small_bowel"),
    *("duodenum", "colon", "urinary_bladder", "prostate", "sacrum", "vertebrae", "intervertebral_discs", "spinal_cord"),
    *("heart", "aorta", "inferior_vena_cava", "portal_vein_and_splenic_vein", "brain"),
    *(f"{name}_{side}" for name in [*PAIRED[:2], *PAIRED[8:]] for side in ("left", "right")),
]


def coded(name: str) -> Label:
    (label,) = with_codes([Label(1, name, (1, 2, 3))])
    return label


def test_the_names_are_as_many_as_totalsegmentator_has():
    assert len(set(TOTAL)) == 117
    assert len(set(TOTAL_MR)) == 50


@pytest.mark.parametrize("name", sorted({*TOTAL, *TOTAL_MR}))
def test_each_of_them_has_a_code_and_its_side(name):
    label = coded(name)
    assert label.guessed
    assert label.type.scheme == "SCT"
    assert label.color != (1, 2, 3)
    words = name.split("_")
    side = {"left": LEFT, "right": RIGHT}.get(next((word for word in words if word in ("left", "right")), ""))
    own = "middle" in words or "appendage" in words  # there is one alone, whose code says the side
    cyst = "cyst" in words
    assert label.modifier == (None if own or cyst else side)
    assert label.region_modifier == (side if cyst else None)


def test_names_of_one_model_differ_in_their_codes():
    def meaning(label):
        return label.type, label.modifier, label.region, label.region_modifier

    for names in (TOTAL, TOTAL_MR):
        counts = Counter(map(meaning, with_codes([Label(n, name, (n, 0, 0)) for n, name in enumerate(names, 1)])))
        assert max(counts.values()) == 1


@pytest.mark.parametrize(
    ("name", "code", "modifier"),
    [
        ("Liver", "10200004", None),
        ("hepar", "10200004", None),
        ("LeftKidney", "64033007", LEFT),
        ("kidney (R)", "64033007", RIGHT),
        ("Right-Hippocampus", "5366008", RIGHT),
        ("hippocampi", "5366008", None),
        ("lower lobe of the left lung", "90572001", LEFT),
        ("Left ventricle", "87878005", None),
        ("left lateral ventricle", "66720007", LEFT),
        ("L3", "36470004", None),
        ("4th ventricle", "35918002", None),
        ("Arteries", "51114001", None),
    ],
)
def test_other_spellings_and_synonyms(name, code, modifier):
    label = coded(name)
    assert (label.type.value, label.modifier) == (code, modifier)


def test_what_is_altered_in_a_structure():
    label = coded("Kidney cyst (left)")
    assert (label.category.value, label.type.meaning) == ("49755003", "Cyst")
    assert (label.region.meaning, label.region_modifier) == ("Kidney", LEFT)
    assert coded("tumor").region is None
    assert coded("pancreas tumour").region.meaning == "Pancreas"


@pytest.mark.parametrize(
    "name",
    ["", "label 7", "ventricle", "lesion", "left liver", "left right kidney", "T1", "front", "cortex", "kidney spleen"],
)
def test_what_is_unknown_or_may_mean_two_things_gets_no_code(name):
    label = Label(1, name, (1, 2, 3))
    assert with_codes([label]) == (label,)


def test_codes_that_are_there_stay():
    liver = coded("liver")
    other = Label(1, "kidney", (1, 2, 3), type=liver.type)
    assert with_codes([other]) == (other,)


def test_structures_of_one_color_can_be_told_apart():
    first, second, third = with_codes(
        [Label(1, "Ascending aorta", (1, 2, 3)), Label(2, "aortic arch", (4, 5, 6)), Label(3, "Liver", (7, 8, 9))]
    )
    assert second.color == (4, 5, 6)
    assert first.color not in ((1, 2, 3), second.color, third.color)
    left, right = with_codes([Label(1, "left lung", (1, 2, 3)), Label(2, "right lung", (4, 5, 6))])
    assert left.color == right.color


def test_a_name_stands_for_one_structure():
    for structure in structures():
        assert len(structure.names) == len(set(structure.names))
        for name in structure.names:
            meaning = recognize(name)
            assert structure in (meaning.structure, meaning.altered), name


def test_a_search_finds_synonyms():
    assert "hepar" in synonyms(coded("liver"))
    assert {"Kidney", "Cyst"} <= set(synonyms(coded("kidney cyst")))
    assert synonyms(Label(1, "front", (1, 2, 3))) == ()
