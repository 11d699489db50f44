"""The pictures of the panels that documents show: `python3 scripts/pictures.py KIND [FOLDER]`.

Kinds are segment, train, strokes and walkthrough. They are taken in the tests' stand-in for 3D Slicer (Testing/gui),
with the real worker, which takes some minutes, and on real images where the folder that LLMBOOST_DATA names has them.
Into Resources/, by default, go those alone that a document shows; another folder gets all.

Each carries the models that it shows, with version and digest: Testing/project/test_pictures.py compares them with
those that are shipped.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from bootstrap import ROOT, VENV, run_in_environment

KINDS = {"segment": "pictures", "train": "trainpictures", "strokes": "strokespictures", "walkthrough": "walkthrough"}
FOLDER = ROOT / "Resources"
KEY = "LLMBoost models"  # of the PNG's text; in a JPEG, it begins the comment
COLORS = 96  # of a palette
PICTURE = re.compile(r"Resources/([\w-]+\.(?:png|jpg))")


def main(arguments: list[str]) -> int:
    if Path(sys.prefix) != VENV:
        return run_in_environment([__file__, *arguments])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER, help="where the pictures go")
    chosen = parser.parse_args(arguments)
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    sys.path[:0] = [str(ROOT), str(ROOT / "LLMBoostSegment")]
    from Testing.host import start

    start()  # what follows imports what needs the application
    taker = importlib.import_module(f"Testing.gui.{KINDS[chosen.kind]}")
    data = Path(os.environ.get("LLMBOOST_DATA") or ROOT.parent / "shared" / "data")
    text = described(taker.MODELS)
    wanted = shown() if chosen.folder.resolve() == FOLDER else None
    with tempfile.TemporaryDirectory() as own:
        taker.takePictures(Path(own), data)
        for path in sorted(Path(own).iterdir()):
            if path.suffix not in (".png", ".jpg"):
                print(path.read_text(encoding="utf-8"))
            elif wanted is None or path.name in wanted:
                finish(path, chosen.folder / path.name, text)
    return 0


def shown() -> set[str]:
    """The names of the pictures in Resources/ that documents and the extension's description show."""
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "CMakeLists.txt"]
    return {name for path in documents for name in PICTURE.findall(path.read_text(encoding="utf-8"))}


def described(models: Iterable[str]) -> str:
    """Name, version and digest of shipped models."""
    from llmboost import library
    from llmboost.card import read_card

    cards = [read_card(library.shipped_folder() / f"{name}.safetensors") for name in sorted(models)]
    return ", ".join(f"{card.name} {card.version} {card.digest[:8]}" for card in cards)


def finish(source: Path, target: Path, text: str) -> None:
    """Write a picture with what it shows, a PNG with a palette."""
    from PIL import Image, PngImagePlugin

    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".jpg":  # whose pixels stay
        data, comment = source.read_bytes(), f"{KEY}: {text}".encode()
        target.write_bytes(data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:])
        return
    told = PngImagePlugin.PngInfo()
    told.add_text(KEY, text)
    with Image.open(source) as picture:
        few = picture.convert("RGB").quantize(COLORS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        few.save(target, optimize=True, pnginfo=told)


def read(path: Path) -> str | None:
    """The models that a picture shows, as :func:`described` tells them; None: it does not say."""
    from PIL import Image

    with Image.open(path) as picture:
        comment = picture.info.get("comment", b"").decode(errors="replace")
        told = picture.info.get(KEY) or comment.partition(f"{KEY}: ")[2]
    return told or None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
