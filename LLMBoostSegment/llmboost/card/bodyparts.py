"""Under which part of the body a model is listed, by the names of its structures, else by what its title says.

Standard library alone.
"""

from __future__ import annotations

import re
from collections import Counter

from .card import Card
from .told import search_text

SEVERAL = 3  # parts with structures in them, from which on a model is one of the whole body, unless most are in one
PARTS = "Head", "Neck", "Chest", "Abdomen", "Pelvis", "Spine", "Limbs", "Whole body", "Other"  # from head to foot
_HEAD, _NECK, _CHEST, _ABDOMEN, _PELVIS, _SPINE, _LIMBS, _BODY, _OTHER = range(9)
# beginnings of words, each of one part alone
# fmt: off
_WORDS = {
    _HEAD: (
        "brain", "cerebr", "cerebell", "hippocamp", "thalam", "putamen", "pallid", "caudate",
        "amygdal", "cortex", "skull", "head", "eye", "retin", "optic", "mandib",
        "teeth", "tooth", "parotid", "pituitar", "glio", "stroke", "orbit", "nasal",
        "sinus", "lens", "cochlea",
    ),
    _NECK: (
        "neck", "thyroid", "larynx", "pharynx", "trachea", "carotid", "jugular",
    ),
    _CHEST: (
        "chest", "lung", "pulmon", "heart", "cardi", "atri", "aort", "rib",
        "sternum", "clavic", "breast", "esophag", "pneumon", "nodul",
    ),
    _ABDOMEN: (
        "abdom", "liver", "hepat", "kidney", "renal", "spleen", "pancrea", "adrenal",
        "stomach", "duoden", "bowel", "colon", "intestin", "gallbladder", "portal",
    ),
    _PELVIS: (
        "pelvi", "bladder", "prostat", "uter", "rectum", "ovar", "hip", "sacr",
        "ilia",
    ),
    _SPINE: (
        "spin", "vertebr", "disc", "disk", "lumbar", "thoracic", "cervical",
    ),
    _LIMBS: (
        "knee", "femur", "femor", "tibia", "fibula", "patell", "humer", "radius",
        "ulna", "shoulder", "scapul", "foot", "hand", "ankle", "wrist", "cartilage",
        "menisc",
    ),
}
# fmt: on
_PARTS = [(word, part) for part, words in _WORDS.items() for word in words]
_PARTS.sort(key=lambda one: -len(one[0]))  # "hippocamp" before "hip"


def part_of(card: Card | None) -> int:
    """The place of a model's part among :data:`PARTS`."""
    if card is None:
        return _OTHER
    labels = Counter(part for label in card.labels if (part := _first(search_text(label))) is not None)
    if labels:
        part, count = labels.most_common(1)[0]
        return _BODY if len(labels) >= SEVERAL and count <= labels.total() / 2 else part
    part = _first(f"{card.title} {card.description}")
    return _OTHER if part is None else part


def _first(text: str) -> int | None:
    """The part that the first telling word of a text is of."""
    for word in re.findall(r"[a-z]+", text.lower()):
        for beginning, part in _PARTS:
            if word.startswith(beginning):
                return part
    return None
