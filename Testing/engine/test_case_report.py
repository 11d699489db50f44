"""The report of a case: sentences, page, print and DICOM SR, in which every number and side is the measured one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest

from llmboost.card import LEFT, RIGHT, SEGMENTATION, Card, Code, Flag, Label, Pair, Preprocessing, Volumetry
from llmboost.io.dicom import find_series, write_dicom_seg, write_dicom_sr
from llmboost.io.image import Image, write_image
from llmboost.report.case import case_report
from llmboost.report.casepdf import pdf
from llmboost.report.sentences import Measured, sentences

from .dicom_samples import write_series
from .summaries import names

HIPPOCAMPUS, BRAIN_STEM = Code("SCT", "5366008", "Hippocampus"), Code("SCT", "15926001", "Brain stem")
LABELS = (
    Label(1, "left hippocampus", (230, 159, 0), type=HIPPOCAMPUS, modifier=LEFT),
    Label(2, "right hippocampus", (86, 180, 233), type=HIPPOCAMPUS, modifier=RIGHT),
    Label(3, "brain stem", (0, 158, 115), type=BRAIN_STEM),
)
VOLUMES = {"left hippocampus": 3.25, "right hippocampus": 2.75, "brain stem": 0.0}
TOGETHER = Volumetry((Pair("hippocampus", "left hippocampus", "right hippocampus"),), tuple(VOLUMES))
QUALITY = Flag(0.8125, low=False, limit=0.6, text="expected agreement with an expert's segments: Dice 0.81")
MEASURED = Measured(VOLUMES, TOGETHER, QUALITY, entropy=0.125, warnings=["not found: brain stem"])
CARD = Card(
    name="heads",
    title="Parts of <the> brain",
    description="For tests",
    task=SEGMENTATION,
    labels=LABELS,
    modality="MR",
    preprocessing=Preprocessing(),
    network={},
    booster={},
    version="2.3",
    digest="0123456789abcdef" * 4,
    license="CC0",
)
SHAPE, SPACING = (12, 10, 6), (1.0, 1.0, 2.0)


def labelmap():
    values = np.zeros(SHAPE, np.uint8)
    values[7:10, 3:7, 2:4], values[2:5, 3:7, 2:4] = 1, 2
    return Image(values, SPACING, (0, 0, 0), np.eye(3))


def image():
    return Image(np.random.default_rng(0).normal(100, 20, SHAPE).astype(np.int16), SPACING, (0, 0, 0), np.eye(3))


# sentences


def test_every_number_and_side_is_the_measured_one():
    text = sentences(MEASURED, "heads 2.3")
    assert text == [
        "The model heads 2.3 drew 2 structures of the 3 that it knows.",
        "The total intracranial volume is 6.00 mL.",
        "Volumes: left hippocampus 3.25 mL (54.17 % of it); right hippocampus 2.75 mL (45.83 % of it).",
        "Of hippocampus, the left side is the larger one: 3.25 mL at the left and 2.75 mL at the right (asymmetry index"
        " +16.7 %).",
        "Not found: brain stem.",
        "Expected agreement with an expert's segments: Dice 0.81.",
        "The mean uncertainty where something was drawn (entropy, from 0 to 1) is 0.12.",
    ]


def test_the_larger_side():
    swapped = {**VOLUMES, "left hippocampus": 2.75, "right hippocampus": 3.25}
    assert "the right side is the larger one" in " ".join(sentences(Measured(swapped, TOGETHER), "m"))
    alike = {**VOLUMES, "right hippocampus": 3.25}
    assert "both sides are alike" in " ".join(sentences(Measured(alike, TOGETHER), "m"))


def test_what_a_person_edited_is_not_rated_by_the_model():
    text = " ".join(sentences(Measured(VOLUMES, TOGETHER, QUALITY, 0.1, edited=True), "m"))
    assert "edited by a person" in text
    assert "Dice" not in text
    assert "uncertainty" not in text


@pytest.mark.parametrize("volumes", [{"a": 0.0}, {"a": 0.0, "b": 0.0}])
def test_nothing_found(volumes):
    text = " ".join(sentences(Measured(volumes), "m"))
    assert "found nothing" in text or "drew no structures" in text
    assert "Volumes" not in text


# page and print


@pytest.fixture(scope="module")
def report():
    entropy = labelmap().with_array((labelmap().array / 4).astype(np.float32))
    return case_report("case <1>", CARD, MEASURED, image(), labelmap(), LABELS, entropy)


def test_the_page(report):
    text = report.html().decode()
    assert "<h1>case &lt;1&gt;</h1>" in text
    assert "Parts of &lt;the&gt; brain" in text
    assert len(re.findall('src="data:image/png;base64,', text)) == 2
    for told in ("3.250", "2.750", "54.17", "+16.7", "CC0", CARD.digest, "Research use only", "not found: brain stem"):
        assert told in text
    assert "<script" not in text
    assert "//" not in re.sub('base64,[^"]*', "", text)


def test_the_print(report):
    data = pdf(report)
    assert data.startswith(b"%PDF")
    assert len(re.findall(rb"/Type /Page\b", data)) == 2
    many = {f"structure {n}": float(n) for n in range(1, 131)}
    labels = tuple(Label(n, f"structure {n}", (n, n, n)) for n in range(1, 131))
    long = case_report("long", CARD, Measured(many), image(), labelmap(), labels)
    assert len(re.findall(rb"/Type /Page\b", pdf(long))) >= 4


# DICOM SR


@pytest.fixture
def structured(tmp_path):
    """A DICOM SR of a small series, and the segmentation that it refers to."""
    pixels = image().array.transpose()
    write_series(tmp_path / "series", pixels, spacing=SPACING, PatientName="Doe^Anna", PatientID="7")
    (series,) = find_series(tmp_path / "series")
    write_dicom_seg(labelmap(), CARD, series, tmp_path / "a.dcm")
    write_dicom_sr(tmp_path / "sr.dcm", tmp_path / "a.dcm", CARD, VOLUMES, TOGETHER, QUALITY)
    return tmp_path / "sr.dcm", tmp_path / "a.dcm"


def items(dataset, keyword="ContentSequence"):
    """All content items below one."""
    for item in dataset.get(keyword, []):
        yield item
        yield from items(item)


def number(group):
    (found,) = [item for item in group.ContentSequence if item.ValueType == "NUM"]
    measured = found.MeasuredValueSequence[0]
    unit = measured.MeasurementUnitsCodeSequence[0].CodeValue
    return found.ConceptNameCodeSequence[0].CodeMeaning, float(measured.NumericValue), unit


def of(group, meaning):
    """The code that an item of a group has."""
    for item in items(group):
        if item.ConceptNameCodeSequence[0].CodeMeaning == meaning and item.ValueType == "CODE":
            return item.ConceptCodeSequence[0].CodeValue
    return None


def test_the_structured_report(structured):
    report, drawn = (pydicom.dcmread(path) for path in structured)
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID"):
        assert report[keyword].value == drawn[keyword].value
    groups = [item for item in items(report) if item.ConceptNameCodeSequence[0].CodeMeaning == "Measurement Group"]
    found = {}
    for group in groups:
        name = next(item.TextValue for item in items(group) if item.ValueType == "TEXT" and "TextValue" in item)
        found[name] = (*number(group), of(group, "Finding"), of(group, "Laterality"))
    assert found == {
        "left hippocampus": ("Volume", 3.25, "mL", "5366008", "7771000"),
        "right hippocampus": ("Volume", 2.75, "mL", "5366008", "24028007"),
        "total intracranial volume": ("Volume", 6.0, "mL", "1101003", None),
        "hippocampus": ("Asymmetry index 100 (left - right) / mean of both", 16.6667, "%", None, None),
        "all segments": ("Expected Dice with an expert's segments", 0.8125, "1", of(groups[-1], "Finding"), None),
    }
    references = [item.ReferencedSOPSequence[0] for item in items(report) if item.ValueType == "IMAGE"]
    assert {reference.ReferencedSOPInstanceUID for reference in references} == {drawn.SOPInstanceUID}
    segments = {number: segment.SegmentLabel for number, segment in enumerate(drawn.SegmentSequence, 1)}
    assert [segments[reference.ReferencedSegmentNumber] for reference in references] == list(found)[:2]


def test_the_structured_report_conforms_to_the_standard(structured):
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("no dciodvfy: install the package dicom3tools to check conformance")
    done = subprocess.run([program, structured[0]], capture_output=True, text=True, timeout=60, check=False)
    assert "Comprehensive3DSR" in done.stderr.splitlines(), done.stderr
    assert not [line for line in done.stderr.splitlines() if line.startswith("Error")]


def test_an_independent_reader_agrees(structured, tmp_path):
    dcmqi = pytest.importorskip("dcmqi", reason="no dcmqi: pip install dcmqi to test with an independent reader")
    program = Path(dcmqi.__file__).parent / "bin" / "tid1500reader"
    command = [program, "--inputDICOM", structured[0], "--outputMetadata", tmp_path / "a.json"]
    subprocess.run([*map(str, command)], check=True, capture_output=True, timeout=120)
    groups = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["Measurements"]
    told = {
        (group["TrackingIdentifier"], group["Finding"]["CodeValue"], group["ReferencedSegment"]): [
            (float(item["value"]), item["units"]["CodeValue"]) for item in group["measurementItems"]
        ]
        for group in groups
        if "ReferencedSegment" in group
    }
    assert told == {
        ("left hippocampus", "5366008", 1): [(3.25, "mL")],
        ("right hippocampus", "5366008", 2): [(2.75, "mL")],
    }


# of a batch


def test_segment_report(llmboost, tiny_model, make_case, tmp_path):
    case = make_case(3)[0]
    write_image(case, tmp_path / "anna.nii.gz")
    write_series(tmp_path / "berta", (100 * case.array).astype(np.int16).transpose(), direction=case.direction)
    command = ["segment", tmp_path / "berta", "--model", tiny_model, "--report", "--output"]
    assert llmboost(*command, tmp_path / "dcm", "--format", "dcm").status == 0
    assert names(tmp_path / "dcm") == [
        "berta.dcm", "berta_measurements.dcm", "berta_report.html", "berta_report.pdf", "summary.csv", "summary.json",
    ]  # fmt: skip
    command[1] = tmp_path / "anna.nii.gz"
    assert llmboost(*command, tmp_path / "out").status == 0
    assert names(tmp_path / "out") == [
        "anna.seg.nrrd", "anna_report.html", "anna_report.pdf", "summary.csv", "summary.json",
    ]  # fmt: skip
