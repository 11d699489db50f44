"""Pictures of the panels: of the models that are shipped, each in a document, and small."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import pictures  # noqa: E402

FOLDER = ROOT / "Resources"
TAKEN = sorted(path for path in FOLDER.iterdir() if re.match(r"(import|panel|strokes|train|walk)-", path.name))
LARGEST = 150_000  # bytes


def test_every_picture_is_shown_by_a_document_and_the_other_way_round():
    assert {path.name for path in FOLDER.iterdir()} == pictures.shown()


@pytest.mark.parametrize("path", TAKEN, ids=lambda path: path.name)
def test_a_picture_shows_models_as_they_are_shipped(path):
    """Else the script that the document names is to be run again."""
    told = pictures.read(path)
    assert told, "scripts/pictures.py writes it"
    assert told == pictures.described(part.split()[0] for part in told.split(", "))
    assert path.stat().st_size < LARGEST
