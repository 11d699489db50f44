"""Writes docs/models, a page a shipped model, from the cards: `.venv/bin/python scripts/model_pages.py [--check]`."""

from __future__ import annotations

import sys
from pathlib import Path

from llmboost.card import Card, read_card
from llmboost.card.bodyparts import PARTS, part_of
from llmboost.card.figures import measured
from llmboost.card.sheet import page
from llmboost.card.told import told

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT / "LLMBoostSegment" / "llmboost" / "models"
FOLDER = ROOT / "docs" / "models"
FAILED = {
    "segmentation": "Where it fails: the worst of the cases that it did not learn from; above, the reference",
    "classification": "Where it fails: the test images of which it was surest, and wrong",
}
PICTURES = {
    "hippocampus": {
        "Both hippocampi on the MNI152 template and on six heads that no training saw: T1, T2, FLAIR": "heads.jpg",
        "Where it looked for the left anterior hippocampus": "explanation.png",
    },
    "brain-1mm": {"The MNI152 template, and a patient's FLAIR with a lesion, which it did not learn from": "brain.jpg"},
    "headneck": {"A case of the validation list: as planners drew it, and below by the model": "headneck.jpg"},
}
# what a card does not say, with the figures of docs/evidence.md
LIMITS = {
    "hippocampus": (
        "Outside of T1, take volumes for rough: those of one person in T1, T2 and FLAIR differ by up to 35 %.",
        "In FLAIR, T2 and slices of 6 mm, a whole head's result may be that of `brain-1mm`, with a warning.",
        "A small crop of something else is still drawn in; all 8 that were tried were flagged by the expected quality.",
    ),
    "brain": (
        "It tells other models where to look; it does not measure.",
        "The left or the upper half of a head alone is refused, and 14 of 33 synthetic heads of extreme contrast are.",
    ),
    "brain-1mm": (
        "It learned from healthy and older people: what a tumor or a stroke displaces is not known to it.",
        "Its hippocampi are rougher than those of `hippocampus` on T1.",
        "Volumes of one patient in T1, T2 and FLAIR differ by 17 % (median of 28 structures over 1 mL).",
    ),
    "headneck": (
        "It draws as planners did, at 4 mm: coarse outlines, and spinal cord and esophagus end where plans ended.",
        "Its training images showed the body alone; tables, masks and air around were made up for half of them.",
        "It does not know tumors and operations: an organ that one displaced or removed may be drawn where it was.",
    ),
    "adrenal": (
        "It does not tell a hippocampus from an adrenal gland: 28.8 % of hippocampi are refused.",
        "At its threshold it flags a third of the large normal glands (23 of 64 on test).",
    ),
    "breast": (
        "Its picture has 28 x 28 pixels; 78 cases chose its threshold.",
        "It is too sure: of 25 test images told malignant with 90 % or more, 20 were, and of 19 with 10 to 30 %, 8.",
    ),
    "pneumonia": (
        "It does not tell an adult's chest X-ray from a child's: 0 of 20 were refused.",
        "In the brightest third of the test images, 29 % of the normal ones are told to be pneumonia.",
    ),
    "retina": (
        "Photographs of half the contrast are refused. Accuracy over five grades is 0.53.",
        "It never says grade 4: of 20 such test images, 12 were told to be grade 3, and 4 grade 0.",
        "It is too sure of its probabilities; whether the grade is 2 or more, it tells better than the grade.",
    ),
}
INDEX = """# The shipped models

For research use only; none is a medical device. A page a model, made from its card by `scripts/model_pages.py`: what
it takes and draws, what it learned from, how good it is, what it refuses. How the figures were measured, and more of
them: [Evidence](../evidence.md). `llmboost models show NAME` prints a card in a terminal.

| part of the body | model | takes | figure | license |
|---|---|---|---|---|
"""
LIST = "\n```{toctree}\n:hidden:\n\n"


def main() -> None:
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit(__doc__)
    made = pages()
    if sys.argv[1:]:
        stale = [name for name, text in made.items() if not (FOLDER / name).exists() or _read(name) != text]
        if stale:
            sys.exit(f"{FOLDER}: not what the cards say: {', '.join(stale)}; run scripts/model_pages.py")
        return
    FOLDER.mkdir(exist_ok=True)
    for name, text in made.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    """The text of each page by its file's name."""
    files = sorted(MODELS.glob("*.safetensors"))
    cards = sorted(((read_card(file), file.stat().st_size / 1e6) for file in files), key=lambda one: part_of(one[0]))
    made = {f"{card.name}.md": page(card, size, LIMITS[card.name], _pictures(card)) for card, size in cards}
    rows = "\n".join(_row(card) for card, _ in cards)
    names = "\n".join(card.name for card, _ in cards)
    return {"index.md": f"{INDEX}{rows}\n{LIST}{names}\n```\n", **made}


def _row(card: Card) -> str:
    takes = told(card)["Input"]
    link = f"[`{card.name}`]({card.name}.md): {card.title}"
    return f"| {PARTS[part_of(card)]} | {link} | {takes} | {measured(card)} | {card.license} |"


def _pictures(card: Card) -> dict[str, str]:
    files = {**PICTURES.get(card.name, {}), FAILED[card.task]: f"failure-{card.name}.jpg"}
    return {words: f"../../Resources/{file}" for words, file in files.items()}


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


if __name__ == "__main__":
    main()
