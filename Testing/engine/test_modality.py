"""One list of words for the kinds of images."""

import pytest

from llmboost.card.modality import differ, term


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("MR", "MR"),
        ("mri", "MR"),
        ("T1-weighted", "MR"),
        ("FLAIR", "MR"),
        ("CT scan", "CT"),
        ("chest X-ray", "DX"),
        ("CR", "DX"),
        ("PET", "PT"),
        ("fundus photography", "OP"),
        ("OCT", "OPT"),
        ("OT", ""),
        ("image", ""),
        ("PET/CT", ""),
        ("", ""),
    ],
)
def test_words_of_people_and_data_sets_become_dicoms_terms(word, expected):
    assert term(word) == expected


@pytest.mark.parametrize(
    ("told", "expected", "different"),
    [
        ("CR", "DX", False),
        ("DX", "X-ray", False),
        ("MR", "MRI", False),
        ("MR", "T1, FLAIR", False),
        ("US", "DX", True),
        ("MR", "OP", True),
        ("OP", "DX", True),
        ("MR", "SEG", True),
        ("CT", "MRI", True),
        ("OT", "MR", False),
        ("CT", "image", False),
        ("", "CT", False),
    ],
)
def test_only_kinds_that_are_known_to_differ_differ(told, expected, different):
    assert differ(told, expected) is different
