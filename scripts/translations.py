"""Sentences of the panels for translators: `python3 scripts/translations.py` brings Resources/Translations up to date.

The files there have Qt's format .ts, which Qt Linguist, Weblate and Slicer's language packs read: LLMBoost_en-US.ts is
the template of all sentences, and LLMBoost_<language>.ts keeps the translations that there are. A sentence's context is
the one that Slicer's `tr` looks it up in: package and file of its source, or the form of a .ui file.
"""

from __future__ import annotations

import ast
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "LLMBoostSegment" / "Resources" / "Translations"
TEMPLATE = "LLMBoost_en-US.ts"
SOURCES = (
    "LLMBoostSegment/LLMBoostLib/**/*.py",
    "LLMBoostSegment/*.py",
    "LLMBoostTrain/*.py",
    "LLMBoostSegment/llmboost/card/told.py",
)
FORMS = ("LLMBoostSegment/Resources/UI/*.ui", "LLMBoostTrain/Resources/UI/*.ui")
NO_TEXTS = ("SlicerParameterName", "settingKey")  # properties that name something
HEAD = '<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE TS>\n'
Message = tuple[str, str]  # context and source


def messages() -> list[Message]:
    """All sentences, in the order of the sources, each once a context."""
    found: dict[Message, None] = {}
    for pattern in SOURCES:
        for path in sorted(ROOT.glob(pattern)):
            found |= dict.fromkeys((context(path), text) for text in texts(path))
    for pattern in FORMS:
        for path in sorted(ROOT.glob(pattern)):
            found |= dict.fromkeys(of_form(path))
    return list(found)


def context(path: Path) -> str:
    """As Slicer's i18n.getContext makes it of a source file."""
    inPackage = (path.parent / "__init__.py").is_file()
    return f"{path.parent.name}.{path.stem}" if inPackage else path.stem


def texts(path: Path) -> Iterator[str]:
    """What a source file gives to `_`.

    Raises:
        ValueError: one is no plain text, which nobody could look up.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_":
            argument = node.args[0]
            if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
                raise ValueError(f"{path}:{node.lineno}: {ast.unparse(node)} is no plain text")
            yield argument.value


def of_form(path: Path) -> Iterator[Message]:
    """The texts of a .ui file that are to be translated."""
    root = ElementTree.parse(path).getroot()
    name = root.findtext("class", "")
    for item in root.iter("property"):
        for text in item.findall("string"):
            if item.get("name") not in NO_TEXTS and text.get("notr") != "true" and (text.text or "").strip():
                yield name, text.text or ""


def read(path: Path) -> dict[Message, str]:
    """The translations of a file, those that are not finished left out."""
    found = {}
    for part in ElementTree.parse(path).getroot().iter("context"):
        for message in part.iter("message"):
            translation = message.find("translation")
            if translation is not None and translation.get("type") is None and translation.text:
                found[part.findtext("name", ""), message.findtext("source", "")] = translation.text
    return found


def write(path: Path, known: dict[Message, str], language: str = "") -> None:
    """Write all sentences, with the translations that are known."""
    root = ElementTree.Element(
        "TS", {"version": "2.1", "sourcelanguage": "en_US", **({"language": language} if language else {})}
    )
    contexts: dict[str, ElementTree.Element] = {}
    for name, source in messages():
        if name not in contexts:
            contexts[name] = ElementTree.SubElement(root, "context")
            ElementTree.SubElement(contexts[name], "name").text = name
        message = ElementTree.SubElement(contexts[name], "message")
        ElementTree.SubElement(message, "source").text = source
        translation = ElementTree.SubElement(message, "translation")
        if (name, source) in known:
            translation.text = known[name, source]
        else:
            translation.set("type", "unfinished")
    ElementTree.indent(root, " ")
    path.write_text(HEAD + ElementTree.tostring(root, encoding="unicode") + "\n", encoding="utf-8")


def main() -> int:
    FOLDER.mkdir(exist_ok=True)
    write(FOLDER / TEMPLATE, {})
    for path in sorted(FOLDER.glob("LLMBoost_*.ts")):
        if path.name != TEMPLATE:
            known = read(path)
            write(path, known, path.stem.partition("_")[2].replace("-", "_"))
            missing = [source for name, source in messages() if (name, source) not in known]
            print(f"{path.name}: {len(missing)} of {len(messages())} sentences have no translation")
    return 0


if __name__ == "__main__":
    sys.exit(main())
