"""A batch at a glance: the page of a folder's cases, its pictures, and which cases are unlike the others."""

import json
import re
import statistics
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from llmboost.card import SEGMENTATION, Card, Label, Preprocessing
from llmboost.io.image import Image, write_image
from llmboost.report.cohort import robust_z
from llmboost.report.entry import Entry
from llmboost.report.overview import write_overview
from llmboost.report.thumbnail import draw_thumbnail

from .browser import shown
from .summaries import rows

CARD = Card(
    name="organs",
    title="Organs & more",
    description="For tests",
    task=SEGMENTATION,
    labels=(Label(1, "liver", (255, 0, 0)), Label(2, "spleen", (0, 0, 255))),
    modality="CT",
    preprocessing=Preprocessing(),
    network={},
    booster={},
    version="1",
    digest="ab" * 32,
)
LIVER = "liver (mL)"
EVIL = "</script><script>document.title='obeyed'</script><img src=x onerror=\"document.title='obeyed'\">"


def table(folder):
    """What a page's table is made of."""
    text = (folder / "overview.html").read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


def entry(id, ml, **more):
    return Entry(id, "ok", True, values={LIVER: ml, "note": "a"}, compared=frozenset([LIVER]), **more)


def cohort(size=40):
    """Volumes around 1500 mL, of which one is far too small and one far too large."""
    volumes = np.random.default_rng(0).normal(1500, 100, size).round(1)
    volumes[[3, 7]] = 90.0, 4000.0
    return [entry(f"case {n:02}", float(ml)) for n, ml in enumerate(volumes)]


# which are unlike the others


def test_robust_z_is_a_z_score_where_values_are_normal():
    values = np.random.default_rng(1).normal(20, 3, 4001)
    assert np.allclose(robust_z(values.tolist()), (values - 20) / 3, atol=0.2)


def test_one_wild_value_does_not_hide_itself_or_others():
    values = [10.0 + n % 5 for n in range(30)]
    middle = statistics.median(values)
    spread = statistics.median(abs(value - middle) for value in values)
    z = robust_z([*values, 1e6, None])
    assert z[31] is None
    assert z[30] > 1e5
    assert z[4] == pytest.approx(0.6745 * (14 - middle) / spread, rel=0.1)


@pytest.mark.parametrize("values", [[1.0, 2.0, 99.0] * 6, [0.0] * 30 + [5.0] * 9], ids=["few", "most are the same"])
def test_where_nobody_knows_what_is_usual(values):
    assert set(robust_z(values)) == {None}


def test_unusual_cases_are_marked(tmp_path):
    write_overview(tmp_path, CARD, cohort(), "")
    found = {row["id"]: row["z"]["0"] for row in table(tmp_path)["rows"] if "z" in row}
    assert set(found) == {"case 03", "case 07"}
    assert found["case 03"] < -3.5
    assert found["case 07"] > 3.5


# the page


def test_what_most_needs_a_look_comes_first(tmp_path):
    entries = [
        *cohort(),
        entry("sure", 1500.0, doubt=0.05),
        entry("unsure", 1500.0, doubt=0.4),
        entry("low", 1500.0, doubt=0.6, flags=["check closely"]),
        Entry("broken", "failed", False, told=["broken.nii: cannot be read"]),
    ]
    write_overview(tmp_path, CARD, entries, "")
    ids = [row["id"] for row in table(tmp_path)["rows"]]
    assert ids[:6] == ["broken", "low", "case 07", "case 03", "unsure", "sure"]
    assert len(ids) == len(entries)


def test_the_page_needs_nothing_from_elsewhere(tmp_path):
    write_overview(tmp_path, CARD, cohort(), "Not for clinical use")
    text = (tmp_path / "overview.html").read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", text)
    assert "Not for clinical use" in text


def test_20000_cases(tmp_path):
    columns = [f"structure {n} (mL)" for n in range(60)]
    volumes = np.random.default_rng(0).normal(50, 5, (20_000, len(columns))).round(4).tolist()
    entries = [
        Entry(f"case{n}", "ok", True, f"overview/case{n}.jpg", values=dict(zip(columns, row, strict=True)),
              compared=frozenset(columns))
        for n, row in enumerate(volumes)
    ]  # fmt: skip
    write_overview(tmp_path, CARD, entries, "")
    assert (tmp_path / "overview.html").stat().st_size < 25e6
    page = shown(tmp_path / "overview.html", "page=799")
    assert page.html.count("<tr>") == 25, "no more than a page is laid out"
    assert "of 20000" in page.html


def lines(page):
    """The ids of the table's rows, in their order."""
    body = re.search(r'<tbody id="body">(.*?)</tbody>', page.html, re.S)[1]
    return re.findall(r"<tr><td>([^<]*)", body)


def test_sorting_filtering_and_turning_pages(tmp_path):
    entries = [*cohort(), Entry("broken", "failed", False, told=["cannot be read"])]
    write_overview(tmp_path, CARD, entries, "")
    path = tmp_path / "overview.html"
    first, second = lines(shown(path)), lines(shown(path, "page=1"))
    assert first[:3] == ["broken", "case 07", "case 03"]
    assert (len(first), len(second)) == (25, 16)
    assert sorted([*first, *second]) == sorted(entry.id for entry in entries)
    ordered = [entry.id for entry in sorted(cohort(), key=lambda entry: -entry.values[LIVER])]
    assert lines(shown(path, "sort=0&down=1&size=50")) == [*ordered, "broken"]
    assert lines(shown(path, "show=unusual")) == ["case 07", "case 03"]
    assert lines(shown(path, "search=READ")) == ["broken"]


def test_texts_of_files_are_shown_not_obeyed(tmp_path):
    folder = tmp_path / "<b>out #1?"
    (folder / "overview").mkdir(parents=True)
    picture = "overview/a #1?.jpg"
    PIL.Image.new("RGB", (4, 4)).save(folder / picture)
    evil = Entry(EVIL, "ok", True, picture, ["javascript:alert(1)", picture], {EVIL: EVIL}, flags=[EVIL], told=[EVIL])
    write_overview(folder, CARD, [evil], EVIL)
    page = shown(folder / "overview.html")
    assert "<title>Organs &amp; more: overview</title>" in page.html
    assert lines(page) == [EVIL.replace("<", "&lt;").replace(">", "&gt;")]
    assert 'href="javascript:' not in page.html
    assert not page.complaints, page.complaints


def test_contact_sheets_have_the_cases_that_most_need_a_look(tmp_path):
    sheets = tmp_path / "overview" / "contact_sheets.pdf"
    sizes = {}
    for count in (0, 8, 9, 1000):
        write_overview(tmp_path, CARD, [entry(f"case {n}", 1.0) for n in range(count)], "")
        sizes[count] = len(re.findall(rb"/Type /Page\b", sheets.read_bytes()))
    assert sizes == {0: 1, 8: 1, 9: 2, 1000: 25}


# the pictures


@pytest.mark.parametrize("axes", ["RAS", "LPS"])
def test_the_patients_right_is_at_the_left(axes, tmp_path):
    """A thing at the patient's right and front, outlined at the left and above of the axial plane."""
    signs = np.array([-1, -1, 1] if axes == "RAS" else [1, 1, 1])
    array = np.zeros((60, 60, 60), np.float32)
    values = np.zeros(array.shape, np.uint8)
    near = np.s_[5:20] if axes == "LPS" else np.s_[40:55]  # L and P grow along LPS
    values[near, near, 40:55] = 1
    array[30, 30, 30] = 100
    image, drawn = (Image(one, (1, 1, 1), (0, 0, 0), np.diag(signs).astype(float)) for one in (array, values))
    draw_thumbnail([image], tmp_path / "a.jpg", drawn, CARD.labels)
    pixels = np.asarray(PIL.Image.open(tmp_path / "a.jpg").convert("RGB")).astype(int)
    red = pixels[..., 0] - pixels[..., 1] > 100
    assert pixels.shape == (150, 3 * 152, 3)
    for n, (across, above) in enumerate([(0.79, 0.21), (0.21, 0.21), (0.21, 0.21)]):  # P-A, R-L, R-L; up is S, S, A
        rows, columns = np.nonzero(red[:, n * 152 : n * 152 + 150])
        assert columns.mean() / 150 == pytest.approx(across, abs=0.03)
        assert rows.mean() / 150 == pytest.approx(above, abs=0.03)


# of a batch


def test_a_batch_writes_its_overview(llmboost, tiny_model, make_case, tmp_path):
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    for n, id in enumerate(["anna", "berta #2"]):
        write_image(make_case(60 + n)[0], images / f"{id}.nii.gz")
    (images / "carl.nrrd").write_text("garbage")
    command = ["segment", images, "--model", tiny_model, "--output", out]
    assert llmboost(*command).status == 1
    told = {row["id"]: row for row in table(out)["rows"]}
    assert next(iter(told)) == "carl"
    assert "carl.nrrd" in told["carl"]["told"][0]
    columns = table(out)["columns"]
    for id, row in rows(out).items():
        for name, ml in row["volumes_ml"].items():
            assert told[id]["values"][columns.index(f"{name} (mL)")] == ml
        if row["status"] == "ok":
            assert PIL.Image.open(out / "overview" / f"{id}.jpg").height == 150
            assert [name for name, _ in told[id]["files"]] == [f"{id}.seg.nrrd"]
    page = shown(out / "overview.html")
    assert 'src="overview/berta%20%232.jpg"' in page.html
    assert not page.complaints, page.complaints


def test_a_page_of_somebody_else_stays(llmboost, refusal, tiny_model, make_case, tmp_path):
    write_image(make_case(60)[0], tmp_path / "anna.nii.gz")
    (tmp_path / "out").mkdir()
    page = tmp_path / "out" / "overview.html"
    page.write_text("mine")
    command = ["segment", tmp_path / "anna.nii.gz", "--model", tiny_model, "--output", tmp_path / "out"]
    assert "overview.html: exists and is no batch's overview" in refusal(*command)
    assert page.read_text() == "mine"
    page.unlink()
    (tmp_path / "out" / "overview").mkdir()
    sheets = tmp_path / "out" / "overview" / "contact_sheets.pdf"
    sheets.write_text("mine, too")
    assert "contact_sheets.pdf: exists" in refusal(*command)
    assert sheets.read_text() == "mine, too"
    assert llmboost(*command, "--overwrite").status == 0
    assert table(Path(page.parent))["rows"][0]["id"] == "anna"
