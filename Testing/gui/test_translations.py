"""What users read can be translated, all of it, and is in a language that the application has."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6 import QtCore
from Testing.gui.panelcase import Case

from llmboost import library

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import translations  # noqa: E402

WORDS = re.compile(r"[A-Za-z]{2,}")
SENTENCE = 3  # words, from which on a text is one
FIELDS = re.compile(r"\{[^}]*\}")
SHOWN_TO_PROGRAMS = (  # in errors for programmers, in files, in what other programs say
    "packages are installed from the main thread only",
    "got an unexpected keyword argument '{}'",
    "Snapshots of LLMBoost Train",
    "The LLMBoost developers",
    "Total intracranial (TIV)",  # the name of a row, by which scripts find it
)
CODE = re.compile(r"QLabel \{|<t|<p style|^\s*import |\\s|\\b|\||WinError|\[\^|conflict is caused|No matching|"
                  r"satisfies|is invalid|from versions|Temporary|Authentication|CERTIFICATE")  # fmt: skip


def sentences(path: Path) -> Iterator[str]:
    """Texts of a source file that read as sentences, and are neither documentation nor given to ``_``."""
    tree, known = ast.parse(path.read_text(encoding="utf-8")), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            known.add(id(node.body[0].value))
        isTranslated = isinstance(node, ast.Call) and ast.unparse(node.func) in ("_", "translate")
        if isTranslated or isinstance(node, ast.Assert):
            known |= {id(each) for each in ast.walk(node)}
        if isinstance(node, ast.JoinedStr):
            known |= {id(part) for part in node.values}
    for node in ast.walk(tree):
        if id(node) in known:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        elif isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        else:
            continue
        if len(WORDS.findall(text)) >= SENTENCE and " " in text.strip() and not CODE.search(text):
            yield text


def test_every_sentence_of_the_panels_can_be_translated():
    files = [path for pattern in translations.SOURCES[:3] for path in sorted(ROOT.glob(pattern))]
    assert len(files) > 80
    found = {f"{path.name}: {text}" for path in files for text in sentences(path) if text not in SHOWN_TO_PROGRAMS}
    assert found == set()


def test_the_template_has_all_sentences_and_german_translates_them_with_the_same_fields():
    wanted = translations.messages()
    template = (translations.FOLDER / translations.TEMPLATE).read_text(encoding="utf-8")
    assert template.count("<message>") == len(wanted), "run scripts/translations.py"
    german = translations.read(translations.FOLDER / "LLMBoost_de-DE.ts")
    assert [source for name, source in wanted if (name, source) not in german] == []
    for (_name, source), translation in german.items():
        assert sorted(FIELDS.findall(source)) == sorted(FIELDS.findall(translation)), source
        assert source.count("\n") == translation.count("\n")


@pytest.fixture
def german(host, tmp_path) -> Iterator[None]:
    """The application speaks German from now on."""
    file = tmp_path / "german.qm"
    command = [Path(sys.executable).parent / "pyside6-lrelease", translations.FOLDER / "LLMBoost_de-DE.ts", "-qm", file]
    subprocess.run(command, check=True, capture_output=True)
    translator = QtCore.QTranslator()
    assert translator.load(str(file))
    QtCore.QCoreApplication.installTranslator(translator)
    yield
    QtCore.QCoreApplication.removeTranslator(translator)


def test_the_panel_speaks_german(host, german, tmp_path, monkeypatch):
    monkeypatch.setenv(library.FOLDER_VARIABLE, str(tmp_path / "models"))
    case = Case(host, tmp_path, tmp_path / "models")
    assert case.ui.choiceButton.text == "Bild, Modell und Ausgabe"
    assert case.ui.applyButton.text == "&Anwenden"
    assert case.ui.applyLabel.text == "Ein Bild auswählen"
    assert "ein Ausschnitt davon" in case.ui.modelLine.text
    case.addImage()
    case.run()
    assert re.fullmatch(r"Fertig in \d+ s: head hippocampus", case.status)
    assert case.ui.revertButton.text == "Rückgängig: Ergebnis"
    assert case.height <= 900
