"""docs/evidence.md says what the committed rows give, docs/models what the cards say; a change of either is found."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"<!-- (.+?) -->\n.*?<!-- end -->", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def stale():
    """``blocks_that_differ`` of scripts/evidence.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "scripts")
        return runpy.run_path(str(ROOT / "scripts" / "evidence.py"))["blocks_that_differ"]


def block(name):
    return PAGE[PAGE.index(f"<!-- {name} -->") :].partition("<!-- end -->")[0] + "<!-- end -->\n"


@pytest.mark.parametrize("name", BLOCKS)
def test_each_table_is_what_the_rows_give(stale, name):
    assert stale(block(name)) == [], "run scripts/evidence.py"


def test_all_committed_rows_are_shown():
    shown = set(re.findall(r"`(?:llmboost bench |scripts/measure_)(\w+)(?:\.py)? --", PAGE))
    assert {folder.name for folder in (ROOT / "Testing" / "bench").iterdir()} - shown == set()


@pytest.mark.parametrize(("old", "new"), [("0.743", "0.744"), ("| adapter |", "| adaptor |"), ("4 rows", "5 rows")])
def test_a_number_that_was_typed_is_found(stale, old, new):
    (name,) = [name for name in BLOCKS if "adapt_three_minutes" in name]
    assert old in block(name)
    assert stale(block(name).replace(old, new)) == [name]


def test_a_published_number_that_was_typed_is_found(stale):
    (name,) = [name for name in BLOCKS if name == "classifiers: published 3D"]
    assert "0.839" in block(name)
    assert stale(block(name).replace("0.839", "0.893")) == [name]


def test_a_commit_is_not_checked(stale):
    (name,) = [name for name in BLOCKS if "adapt_three_minutes" in name]
    assert stale(re.sub("rows of commit [0-9a-f]+", "rows of commit 1234abcd", block(name))) == []


@pytest.fixture(scope="module")
def pages():
    """``pages`` of scripts/model_pages.py."""
    return runpy.run_path(str(ROOT / "scripts" / "model_pages.py"))["pages"]()


def test_model_pages_are_what_the_cards_say(pages):
    written = {file.name: file.read_text(encoding="utf-8") for file in (ROOT / "docs" / "models").iterdir()}
    assert written == pages, "run scripts/model_pages.py"


def test_a_model_page_tells_what_a_reader_needs(pages):
    page = pages["hippocampus.md"]
    assert "0.892 (0.884 to 0.901)" in page  # with its interval
    assert "Hippocampus (SCT 5366008); Anterior (SCT 255549009)" in page
    assert "warns below 0.8 (0.55 in a head)" in page
    assert "`brain` finds where to look in a head" in page
    assert all(word in page for word in ("CC-BY-SA 4.0", "139 cases", "1 x 1 x 1 mm", "layer 20, frozen", "## Limits"))
    assert "images of another kind" in pages["pneumonia.md"]
    assert "- pneumonia (looked for)" in pages["pneumonia.md"]
