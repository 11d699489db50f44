"""Cascades: a model that knows crops alone, and another one that tells it where in a larger image to look."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from llmboost.card import LEFT, RIGHT, SEGMENTATION, Card, Cascade, Code, Label, Normalization, Preprocessing, Target
from llmboost.errors import Cancelled, LLMBoostError
from llmboost.inference.roi import Roi
from llmboost.inference.segment import segment
from llmboost.inference.watch import Watch
from llmboost.io.image import Image
from llmboost.model import Model, load_model, save_model

ORGAN, FRONT, BACK = (Code("SCT", value, value) for value in ("Organ", "Front", "Back"))
RAW = (Normalization("window", 0, 10, 0, 1),)  # intensities as they are
CASCADE = Cascade(
    "finder", (Target("Left organ", LEFT), Target("Right organ", RIGHT)), "head", (100.0, 9000.0), (1.0, 20.0)
)
RAS = np.diag([-1.0, -1.0, 1.0])  # in LPS
SHAPE = (96, 80, 64)
HEAD, DIM, BRIGHT = 1, 3, 5  # the intensities of a head, and of an organ's back and front


class Finder(nn.Module):
    """Sees organs by their brightness, and their side by where they lie in its patch, as real ones do."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        middle = x.shape[2] // 2
        organ, left = x > 2, (torch.arange(x.shape[2]) < middle)[:, None, None]
        classes = [x <= 0.3, organ & left, organ & ~left, (x > 0.3) & ~organ]
        return 50 * torch.cat(classes, dim=1).float()


class Looker(nn.Module):
    """Tells the front of an organ from its back, in what lies to the right of the patch's middle alone if ``half``."""

    def __init__(self, half=False):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.half = half

    def forward(self, x):
        seen = torch.ones_like(x, dtype=bool)
        if self.half:
            seen[:, :, : x.shape[2] // 2] = False
        front, back = (x > 4) & seen, (x > 2) & (x <= 4) & seen
        return 50 * torch.cat([~(front | back), front, back], dim=1).float()


def card(name, labels, spacing, patch_size, **fields):
    steps = Preprocessing(spacing=(spacing,) * 3, patch_size=patch_size, normalization=RAW)
    return Card(name, name, "", SEGMENTATION, labels, "MR", steps, {"name": "none"}, {}, **fields)


def make_model(cascade=CASCADE, half=False):
    names = ("Left organ", "Right organ", "Rest")
    labels = tuple(Label(n, name, (0, 0, 0)) for n, name in enumerate(names, start=1))
    finder = Model(card("finder", labels, 4.0, (48, 40, 32)), Finder())
    parts = (Label(1, "Front", (200, 0, 0), type=ORGAN, modifier=FRONT), Label(3, "back", (0, 0, 200), type=ORGAN))
    model = Model(card("looker", parts, 2.0, (12, 16, 8), cascade=cascade), Looker(half))
    model.helpers["finder"] = finder  # in place of the library's
    return model


def make_head(organs=(-24, 24)):
    """A head with a boxy organ at each of these places (voxels to the right of the middle), at 2 mm, and the truth."""
    array, truth = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.uint8)
    array[8:-8, 8:-8, 8:-8] = HEAD
    for n, place in enumerate(organs):
        i = SHAPE[0] // 2 + place
        for part, value in ((slice(40, 46), BRIGHT), (slice(34, 40), DIM)):
            array[i - 4 : i + 4, part, 30:36] = value
            truth[i - 4 : i + 4, part, 30:36] = {BRIGHT: 1, DIM: 3}[value] + 3 * (n if len(organs) == 2 else 0)
    place = ((2.0, 2.0, 2.0), (100.0, 80.0, -60.0), RAS)
    return Image(array, *place), Image(truth, *place)


def agreement(found, truth):
    """Dice of the worst label."""
    values = np.unique(truth[truth > 0])
    return min(2 * np.sum((found == v) & (truth == v)) / (np.sum(found == v) + np.sum(truth == v)) for v in values)


def test_both_sides_are_found_and_named():
    head, truth = make_head()
    result = segment(make_model(), [head])
    assert agreement(result.labelmap.array, truth.array) > 0.95
    assert [(x.value, x.name) for x in result.labels] == [
        (1, "Left front"),
        (3, "Left back"),
        (4, "Right front"),
        (6, "Right back"),
    ]
    assert not result.warnings
    assert result.localizer.name == "finder"
    assert result.volumes_ml["Left front"] == pytest.approx(8 * 6 * 6 * 8 / 1000, rel=0.1)


def test_the_side_is_a_modifier_and_the_part_stays_told():
    front, back = make_model().card.sided_labels[:2]
    assert (front.type, front.modifier, front.region, front.region_modifier) == (ORGAN, LEFT, ORGAN, FRONT)
    assert (back.type, back.modifier, back.region) == (ORGAN, LEFT, None)


ORDERS = list(itertools.product(((0, 1, 2), (2, 0, 1), (1, 0, 2)), ((False, False, True), (True, False, False))))


@pytest.mark.parametrize(("axes", "flips"), ORDERS)
def test_axes_may_be_stored_in_any_order(reordered, axes, flips):
    head, truth = (reordered(image, axes, flips) for image in make_head())
    result = segment(make_model(), [head])
    assert result.labelmap.same_grid(head)
    assert agreement(result.labelmap.array, truth.array) > 0.95


def test_a_crop_is_segmented_at_once_and_has_no_side():
    head, truth = make_head()
    box = Roi((53.0, 1.0, 5.0), (24, 34, 16))
    crop = box.crop(head)
    assert not make_model().card.needs_cascade(np.array(crop.shape) * crop.spacing)
    result = segment(make_model(), [crop])
    assert [label.name for label in result.labels] == ["Front", "back"]
    assert result.localizer is None
    assert agreement(result.labelmap.array, box.crop(truth).array) > 0.95
    limited = segment(make_model(), [head], roi=box)
    assert np.array_equal(box.crop(limited.labelmap).array, result.labelmap.array)


def test_a_large_region_of_interest_limits_what_is_found():
    head, _ = make_head()
    box = Roi((40.0, 0.0, 4.0), (76, 120, 100))  # the left half
    result = segment(make_model(dataclasses.replace(CASCADE, targets=CASCADE.targets[:1])), [head], roi=box)
    assert [label.name for label in result.labels] == ["Left front", "Left back"]
    assert not result.labelmap.array[SHAPE[0] // 2 :].any()


def test_all_of_the_subject_may_be_the_target():
    head, truth = make_head()
    far = np.pad(head.array, ((60, 60), (0, 0), (0, 0)))
    wide = Image(far, head.spacing, (head.origin[0] + 120, *head.origin[1:]), head.direction)
    result = segment(make_model(dataclasses.replace(CASCADE, targets=(Target(""),))), [wide], entropy=True)
    assert [(label.value, label.name) for label in result.labels] == [(1, "Front"), (3, "back")]
    assert not result.warnings
    found, drawn = result.labelmap.array[60:-60], truth.array - 3 * (truth.array > 3)
    assert agreement(found, drawn) > 0.95
    assert not result.entropy.array[:40].any()  # what lies far from the head is not looked at


def test_one_target_out_of_view():
    head, _ = make_head(organs=(24,))
    result = segment(make_model(), [head])
    assert result.warnings == ("Left organ: not in view", "not found: Left front, Left back")
    assert set(np.unique(result.labelmap.array)) == {0, 4, 6}


def test_a_target_at_the_border_may_be_cut():
    head, _ = make_head()
    cut = Image(head.array[: SHAPE[0] // 2 + 24], head.spacing, head.origin, head.direction)
    # the finder tells sides by the middle of what it sees
    model = make_model(dataclasses.replace(CASCADE, targets=CASCADE.targets[1:]))
    (warning, *_) = segment(model, [cut]).warnings
    assert warning == "Right organ: reaches the border of the image, so it may be cut"


@pytest.mark.parametrize(
    ("value", "size"), [(0, 0), (5, 5), (1, 64)], ids=["empty", "smaller than any head", "larger than any head"]
)
def test_what_is_no_head_is_an_empty_result_with_a_warning(value, size):
    array = np.zeros((128,) * 3, np.float32)
    array[64 - size : 64 + size, 64 - size : 64 + size, 64 - size : 64 + size] = value
    nothing = Image(array, (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), np.eye(3))
    result = segment(make_model(), [nothing], entropy=True, probabilities=True)
    assert result.warnings[0] == "this does not look like a head: nothing was segmented"
    assert not result.labelmap.array.any()
    assert len(result.labels) == 4
    assert (result.probabilities.array[0] == 1).all()
    assert not result.entropy.array.any()


def test_what_the_localizer_is_not_sure_of_is_not_there():
    head, _ = make_head()
    model = make_model(dataclasses.replace(CASCADE, certainty=0.9))
    assert not segment(model, [head]).warnings
    model.helpers["finder"].network.forward = lambda x: Finder().forward(x) / 40
    assert segment(model, [head]).warnings[0] == "this does not look like a head: nothing was segmented"

    def unsure_of_the_left(x):
        logits = Finder().forward(x)
        logits[:, 1] /= 40
        return logits

    model.helpers["finder"].network.forward = unsure_of_the_left
    assert segment(model, [head]).warnings[0] == "Left organ: not in view"


def test_another_modality_than_the_models_is_no_place_to_look():
    head, _ = make_head()
    for modality, found in (("MR", True), ("OT", True), ("", True), ("PT", False), ("CT", False)):
        result = segment(make_model(), [dataclasses.replace(head, modality=modality)])
        assert result.labelmap.array.any() == found
    assert result.warnings[0] == "the images are CT, and model 'looker' takes MR: nothing was segmented"


def test_one_side_may_be_seen_in_a_mirror():
    mirrored = (Target("Left organ", LEFT), Target("Right organ", RIGHT, mirror=True))
    head, _ = make_head(organs=(-24, 23))  # mirror images of each other about the middle of the grid
    half = segment(make_model(half=True), [head]).labelmap.array
    both = segment(make_model(dataclasses.replace(CASCADE, targets=mirrored), half=True), [head]).labelmap.array
    assert np.array_equal(half[: SHAPE[0] // 2], both[: SHAPE[0] // 2])
    left, right = (np.flatnonzero((both == value).any(axis=(1, 2))) for value in (1, 4))
    assert left.max() == SHAPE[0] // 2 - 24 + 3, "the half towards the middle"
    assert right.min() < SHAPE[0] // 2 + 23 - 2, "the half towards the middle, here the left one"
    assert right.max() <= SHAPE[0] // 2 + 23 + 1


def test_maps_lie_on_the_whole_grid_and_tell_the_models_own_classes():
    head, truth = make_head()
    result = segment(make_model(), [head], entropy=True, probabilities=True)
    assert result.probabilities.array.shape == (3, *SHAPE)
    front = (truth.array == 1) | (truth.array == 4)
    assert result.probabilities.array[1][front].mean() > 0.9
    assert result.probabilities.array[1][~front].mean() < 0.01
    assert result.entropy.array.shape == SHAPE


def test_sides_merged_are_the_models_own_labels():
    model = make_model()
    head, truth = make_head()
    result = segment(model, [head])
    merged = result.merged(model.card.labels)
    assert agreement(merged.array, np.where(truth.array > 3, truth.array - 3, truth.array)) > 0.95


def test_several_channels():
    model = make_model()
    steps = dataclasses.replace(model.card.preprocessing, channels=2, normalization=RAW * 2)
    two = Model(dataclasses.replace(model.card, preprocessing=steps), model.network)
    two.helpers.update(model.helpers)
    two.network.forward = lambda x: Looker().forward(x[:, 1:])  # the second channel shows the parts
    head, truth = make_head()
    assert agreement(segment(two, [head, head]).labelmap.array, truth.array) > 0.95


def test_progress_and_cancel():
    head, _ = make_head()
    seen = []
    segment(make_model(), [head], watch=Watch(progress=seen.append))
    assert seen == sorted(seen)
    assert seen[-1] == 1
    with pytest.raises(Cancelled):
        segment(make_model(), [head], watch=Watch(cancelled=lambda: True))


def test_the_localizer_comes_from_the_library(library_folder, tmp_path, tiny_network, tiny_card):
    network = tiny_network()
    path = tmp_path / "looker.safetensors"
    save_model(network, tiny_card(network, name="looker", cascade=CASCADE), path)
    model = load_model(path)
    with pytest.raises(LLMBoostError, match="model 'finder': no such file, and no installed model"):
        segment(model, [make_head()[0]])
    library_folder.mkdir()
    save_model(network, tiny_card(network, name="finder"), library_folder / "finder.safetensors")
    with pytest.raises(LLMBoostError, match="model 'finder' does not find Left organ, Right organ, which model"):
        segment(model, [make_head()[0]])
