"""`--explain` of the command line: a map and a picture a case, beside the results."""

import dataclasses
import json

import matplotlib.image
import numpy as np
import pytest

from llmboost.card import CLASSIFICATION, Classification, Label, Preprocessing
from llmboost.io.image import Image, read_image, write_image
from llmboost.io.picture import draw_map

HEAT = (0.99, 1.0, 0.64)  # the upper end of the color map


@pytest.fixture
def case(make_case, tmp_path):
    image = make_case(140)[0]
    write_image(image, tmp_path / "case.nii.gz")
    return tmp_path / "case.nii.gz"


def test_segment(tiny_model, case, tmp_path, llmboost):
    output = tmp_path / "out"
    command = ["segment", case, "--model", tiny_model, "--output", output, "--explain"]
    assert llmboost(*command).status == 0
    names = {path.name for path in output.iterdir()}
    assert {"case.seg.nrrd", "case_explanation.nii.gz", "case_explanation.png"} <= names
    found = read_image(output / "case_explanation.nii.gz")
    assert found.same_grid(read_image(case))
    assert found.array.min() >= 0
    assert found.array.max() <= 1
    (row,) = json.loads((output / "summary.json").read_text())["cases"]
    assert found.array.any() or any("not found" in warning for warning in row["warnings"])
    (output / "case_explanation.png").unlink()
    options = ["--explain-target", 2, "--explain-method", "attention-rollout", "--explain-layer", "before"]
    assert llmboost(*command, *options, "--resume").status == 0
    assert (output / "case_explanation.png").exists(), "a case without its picture is not done"


@pytest.mark.parametrize(
    ("option", "value"), [("--explain-method", "lime"), ("--explain-layer", "middle"), ("--explain-target", 9)]
)
def test_refusals(tiny_model, case, tmp_path, llmboost, option, value):
    done = llmboost("segment", case, "--model", tiny_model, "--output", tmp_path / "out", "--explain", option, value)
    assert done.status == 1
    assert str(value) in done.err


def test_classify(tiny_card, case, tmp_path, llmboost):
    import torch

    from llmboost.model import save_model
    from llmboost.networks import build

    torch.manual_seed(0)
    sizes = {"stem": (4, 6), "width": 16, "depth": 1, "heads": 2, "head_width": 8, "mlp": 32}
    network = build("vit3d-tiny", {"image_size": (24, 24, 24), **sizes}, None)
    card = dataclasses.replace(
        tiny_card(network),
        task=CLASSIFICATION,
        labels=(Label(0, "no", (1, 2, 3)), Label(1, "yes", (3, 2, 1))),
        classification=Classification(input_region="center"),
        preprocessing=Preprocessing(patch_size=(24, 24, 24)),
    )
    model, output = tmp_path / "classifier.safetensors", tmp_path / "out"
    save_model(network, card, model)
    done = llmboost("classify", case, "--model", model, "--output", output, "--explain")
    assert done.status == 0, done.err
    assert read_image(output / "case_explanation.nii.gz").array.max() == 1
    assert (output / "case_explanation.png").exists()


# -- pictures ----------------------------------------------------------------------------------------------------------


def draw(path, shape=(30, 34, 28), peak=(22, 26, 20), segment=None):
    image = Image(np.random.default_rng(0).normal(100, 5, shape), (1, 1, 1), (0, 0, 0), np.diag([-1.0, -1, 1]))
    index = np.indices(shape)
    distance = sum((axis - middle) ** 2 for axis, middle in zip(index, peak, strict=True))
    heat = np.exp(-distance / 20).astype(np.float32)
    mask = None if segment is None else image.with_array((distance < segment).astype(np.uint8))
    draw_map("case", image, image.with_array(heat), "what was looked for", path, mask)
    return matplotlib.image.imread(path)[..., :3]


def test_the_peak_is_where_it_is_in_the_patient(tmp_path):
    """Right, anterior, superior of the middle: at the left and top of the coronal and the axial plane."""
    pixels = draw(tmp_path / "a.png", peak=(22, 26, 20))
    rows, columns = np.nonzero(((pixels[:-80] - HEAT) ** 2).sum(axis=-1) < 0.08)
    height, width = pixels.shape[0] - 80, pixels.shape[1] / 3
    for panel, left in ((0, False), (1, True), (2, True)):
        inside = (columns // width).astype(int) == panel
        assert inside.any()
        assert (columns[inside].mean() % width < width / 2) == left, panel
        assert rows[inside].mean() < height / 2


def test_segments_are_outlined_and_single_slices_are_one_plane(tmp_path):
    plain, outlined = draw(tmp_path / "a.png"), draw(tmp_path / "b.png", segment=30)
    cyan = [int(((pixels - (0, 1, 1)) ** 2).sum(axis=-1).__lt__(0.05).sum()) for pixels in (plain, outlined)]
    assert cyan[0] == 0
    assert cyan[1] > 50
    flat = draw(tmp_path / "c.png", shape=(30, 34, 1), peak=(22, 26, 0))
    assert flat.shape[1] == plain.shape[1] / 3


def test_of_a_large_image_the_part_around_the_map_is_drawn(tmp_path):
    """A small map in a corner: what is drawn of it is as large as in an image that ends nearby."""
    spots = []
    for size in (70, 160):
        image = Image(np.zeros((size, size, size), np.float32), (1, 1, 1), (0, 0, 0), np.diag([-1.0, -1, 1]))
        heat = np.zeros(image.shape, np.float32)
        heat[20:30, 20:30, 20:30] = 1
        draw_map("case", image, image.with_array(heat), "map", tmp_path / f"{size}.png")
        pixels = matplotlib.image.imread(tmp_path / f"{size}.png")[:-80, :, :3]
        spots.append(int((pixels.sum(axis=-1) > 1.5).sum()))
    assert spots[0] == pytest.approx(spots[1], rel=0.1)


def texts_of(tmp_path, monkeypatch, title, name="what", **place):
    """What stands in the picture of a map, and its pixels."""
    from matplotlib.figure import Figure

    found, save = [], Figure.savefig

    def watched(figure, *arguments, **options):
        save(figure, *arguments, **options)
        for axes in figure.axes:
            found.extend((axes.title, *axes.texts, axes.xaxis.label))

    monkeypatch.setattr(Figure, "savefig", watched)
    shape = place.pop("shape", (60, 60, 50))
    image = Image(np.zeros(shape, np.float32), (1, 1, 1), **{"origin": (0, 0, 0), "direction": np.eye(3), **place})
    draw_map(title, image, image.with_array(np.full(shape, 0.1, np.float32)), name, tmp_path / "a.png")
    return [text for text in found if text.get_text()], matplotlib.image.imread(tmp_path / "a.png")[..., :3]


def test_of_a_picture_no_plane_and_no_side_is_named(tmp_path, monkeypatch):
    """X-rays and photographs tell no place in space, and some volumes no orientation."""
    texts, _ = texts_of(tmp_path, monkeypatch, "xray", shape=(60, 50, 1))
    assert [text.get_text() for text in texts] == ["xray", "what"]
    texts, _ = texts_of(tmp_path, monkeypatch, "scan", sides_known=False)
    assert [text.get_text() for text in texts] == ["scan"] * 3 + ["what"]
    texts, _ = texts_of(tmp_path, monkeypatch, "slice", shape=(60, 50, 1), origin=(0, 0, 5))
    assert [text.get_text() for text in texts] == ["slice, axial", "R", "L", "what"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "title", ["case", "\u6f22\u5b57", "a_$x^2$_\\frac{1} {", "$", "x" * 200, "a long name of some words " * 9]
)
@pytest.mark.parametrize("shape", [(60, 60, 50), (40, 60, 60), (60, 40, 60)], ids=str)
def test_titles_are_whole(tmp_path, monkeypatch, title, shape):
    """Whatever stands in a name is shown as it is, and within the picture."""
    texts, pixels = texts_of(tmp_path, monkeypatch, title, "grad-cam of $\\alpha_1$", shape=shape, sides_known=True)
    height, width = pixels.shape[:2]
    for text in texts:
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height
    assert [text.get_text() for text in texts if "alpha" in text.get_text()] == ["grad-cam of $\\alpha_1$"]
    titles = [text.get_text().replace("\n", "") for text in texts if text.get_text()[:1] == title[:1]]
    if len(title) < 36:
        assert [shown[: len(title)] for shown in titles] == [title] * 3


def test_names_of_labels_are_shown_as_they_are(tmp_path):
    """In the legend, too; matplotlib would read $ as mathematics and leave out what begins with _."""
    from llmboost.card import Label
    from llmboost.io.picture import Scene, draw

    image = Image(np.zeros((20, 20, 20), np.float32), (1, 1, 1), (0, 0, 0), np.eye(3))
    labels = [Label(1, "_$front^{", (255, 0, 0)), Label(2, "_back", (0, 255, 0))]
    draw([Scene("a $1^", image, image.with_array(np.ones((20, 20, 20), np.uint8)))], labels, tmp_path / "a.png")
    legend = matplotlib.image.imread(tmp_path / "a.png")[-40:, :, :3]
    assert [bool((abs(legend - color).max(axis=-1) < 0.2).any()) for color in ((1, 0, 0), (0, 1, 0))] == [True, True]
