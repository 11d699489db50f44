"""Pictures of segments over their images."""

import matplotlib.image
import numpy as np
import pytest

from llmboost.card import Label
from llmboost.io.image import Image
from llmboost.io.picture import Scene, draw

LABELS = (Label(1, "front", (255, 0, 0)), Label(2, "back", (0, 255, 0)), Label(5, "absent", (0, 0, 255)))
RAS = np.diag([-1.0, -1.0, 1.0])  # in LPS
LEGEND = 40  # pixel rows at the bottom of the picture that may hold the legend


def picture(tmp_path, *scenes, labels=LABELS):
    """The drawn picture as [row, column, RGB], 0 to 255."""
    path = tmp_path / "new" / "picture.png"
    draw(scenes, labels, path)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    return (matplotlib.image.imread(path)[..., :3] * 255).round().astype(int)


def places(pixels, color, tolerance=60):
    """(rows, columns) above the legend where the color is."""
    return np.nonzero(np.abs(pixels[:-LEGEND] - color).max(axis=-1) <= tolerance)


def scene_of(image, labels, title="case"):
    return Scene(title, image, image.with_array(labels))


def test_size_and_colours(tmp_path, make_case):
    image, truth = make_case(80)
    pixels = picture(tmp_path, Scene("one", image, truth))
    assert pixels.shape == (350, 900, 3)
    for label in LABELS[:2]:
        columns = places(pixels, label.color)[1]
        assert {int(column) // 300 for column in columns} == {0, 1, 2}, "in each of the three planes"
    assert len(places(pixels, LABELS[2].color)[0]) == 0
    legend = pixels[-LEGEND:]
    assert all(np.any(np.abs(legend - label.color).max(axis=-1) <= 60) for label in LABELS)


def test_a_row_a_scene(tmp_path, make_case):
    pairs = [make_case(seed) for seed in (81, 82)]
    pixels = picture(tmp_path, *(Scene(f"case {n}", *pair) for n, pair in enumerate(pairs)))
    assert pixels.shape == (660, 900, 3)
    rows = places(pixels, LABELS[0].color)[0]
    assert {int(row) // 320 for row in rows} == {0, 1}


def test_nothing_segmented(tmp_path, make_case):
    image, truth = make_case(83)
    pixels = picture(tmp_path, scene_of(image, np.zeros_like(truth.array)))
    assert pixels.shape == (350, 900, 3)
    assert all(len(places(pixels, label.color)[0]) == 0 for label in LABELS)
    assert pixels[:-LEGEND].max() > 200, "the image is there"
    assert picture(tmp_path, scene_of(image, np.zeros_like(truth.array)), labels=()).shape == (350, 900, 3)


@pytest.mark.parametrize("direction", [RAS, np.eye(3), np.array([[0.0, 0, 1], [1, 0, 0], [0, -1, 0]])], ids=str)
def test_as_radiologists_look_at_it(tmp_path, direction):
    """A cube at the patient's right, anterior, superior lies at the left and top of coronal and axial planes."""
    affine = direction * 2.0
    index = np.stack(np.meshgrid(*[np.arange(20)] * 3, indexing="ij"), axis=-1)
    x, y, z = np.moveaxis((index - 9.5) @ affine.T, -1, 0)  # LPS mm around the middle
    cube = (x < -5) & (x > -15) & (y < -5) & (y > -15) & (z > 5) & (z < 15)
    assert cube.any()
    image = Image(100.0 * cube + 10, (2, 2, 2), tuple(affine @ np.full(3, -9.5)), direction)
    pixels = picture(tmp_path, scene_of(image, cube.astype(np.uint8)))
    rows, columns = places(pixels, LABELS[0].color)
    middle = 165
    for panel, left in ((0, False), (1, True), (2, True)):  # sagittal: anterior is at the right
        inside = columns // 300 == panel
        assert inside.any()
        assert np.all((columns[inside] % 300 < 150) == left), panel
        assert np.all(rows[inside] < middle), panel


@pytest.mark.parametrize("spacing", [(1, 1, 5), (0.5, 4, 1)])
def test_anisotropic_images_keep_their_proportions(tmp_path, spacing):
    """A ball in mm is drawn as wide as high."""
    shape = np.ceil(60 / np.array(spacing)).astype(int)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    ball = np.sum(((index - (shape - 1) / 2) * spacing) ** 2, axis=-1) < 20**2
    image = Image(100.0 * ball, spacing, (0, 0, 0), RAS)
    rows, columns = places(picture(tmp_path, scene_of(image, ball.astype(np.uint8))), LABELS[0].color)
    for panel in range(3):
        inside = columns // 300 == panel
        high, wide = np.ptp(rows[inside]), np.ptp(columns[inside])
        assert high == pytest.approx(wide, rel=0.25)
        assert high > 60


def test_images_of_one_slice(tmp_path, make_case):
    image, truth = make_case(84)
    thin = [Image(i.array[:, :, 12:13], i.spacing, i.origin, i.direction) for i in (image, truth)]
    assert np.any(thin[1].array)
    assert len(places(picture(tmp_path, Scene("thin", *thin)), LABELS[0].color)[0]) > 0
