"""Report: a page or a PDF file of the segments as they are, where the user says; and opened."""

from __future__ import annotations

import re

import pytest
import slicer
from Testing.gui.panelcase import SEGMENTS
from Testing.gui.qthost import click

from llmboost.errors import LLMBoostError


def write(case, path):
    """Click Report and answer where to."""
    case.waitFor(lambda: not case.panel.run.resting)
    assert case.ui.reportButton.enabled
    case.host.dialogs.answers.append(str(path))
    click(case.ui.reportButton)
    case.host.dialogs.take("file")
    case.finish()


def sizes(case):
    table = case.result.tableNode
    return [table.GetCellText(row, table.GetColumnIndex("Volume (mL)")) for row in range(table.GetNumberOfRows())]


def test_a_page_is_written_and_opened(case, tmp_path):
    case.addImage()
    case.run()
    write(case, tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    for name, ml in zip(SEGMENTS, sizes(case), strict=True):
        assert re.search(rf"{name}</td>\s*<td>{float(ml):.3f}</td>", text)
    assert "<h1>head</h1>" in text
    assert "Research use only" in text
    assert "edited by a person" not in text
    assert [url for url in case.host.dialogs.urls if url.endswith("a.html")]
    assert "a.html" in case.status


def test_of_edited_segments_the_sizes_of_now(case, tmp_path):
    case.addImage()
    case.ui.uncertaintyBox.checked = True
    case.run()
    before = sizes(case)
    node, volume = case.result.segmentationNode, case.result.volumeNode
    segmentID = node.GetSegmentation().GetSegmentIdBySegmentName(SEGMENTS[0])
    voxels = slicer.util.arrayFromSegmentBinaryLabelmap(node, segmentID, volume).copy()
    voxels[:12] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(voxels, node, segmentID, volume)
    write(case, tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "edited by a person" in text
    assert sizes(case)[0] != before[0]
    assert f"<td>{float(sizes(case)[0]):.3f}</td>" in text


def test_a_pdf_file(case, tmp_path):
    case.addImage()
    case.run()
    write(case, tmp_path / "a.PDF")
    assert (tmp_path / "a.PDF").read_bytes().startswith(b"%PDF")


def test_nowhere_to_write(case, tmp_path):
    case.addImage()
    case.run()
    write(case, "")
    assert not case.host.dialogs.urls
    (tmp_path / "file").write_text("")
    write(case, tmp_path / "file" / "a.html")
    assert "cannot be written" in case.error()
    assert not case.host.dialogs.urls


def test_nothing_to_report(case):
    case.addImage()
    assert not case.ui.reportButton.visible
    with pytest.raises(LLMBoostError, match="segment an image first"):
        case.widget.logic.report("a.html")
