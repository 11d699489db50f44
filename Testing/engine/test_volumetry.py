"""What volumes say together: of both sides, and of all that is inside the skull; and where they say nothing."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import nn

from llmboost.card import (
    LEFT,
    RIGHT,
    SEGMENTATION,
    Card,
    Cascade,
    Code,
    Label,
    Normalization,
    Preprocessing,
    Target,
    read_card,
    with_codes,
)
from llmboost.errors import LLMBoostError
from llmboost.inference.roi import Roi
from llmboost.inference.segment import segment
from llmboost.inference.sides import pairs_of
from llmboost.io.image import Image, write_image
from llmboost.library import find
from llmboost.model import Model, load_model, save_model

RAS = np.diag([-1.0, -1.0, 1.0])  # in LPS
HIPPOCAMPUS, FLUID = Code("SCT", "5366008", "Hippocampus"), Code("SCT", "65216001", "Cerebrospinal fluid")
LABELS = (
    Label(1, "Left hippocampus", (1, 1, 1), type=HIPPOCAMPUS, modifier=LEFT),
    Label(2, "Right hippocampus", (2, 2, 2), type=HIPPOCAMPUS, modifier=RIGHT),
    Label(3, "Cerebrospinal fluid", (3, 3, 3), type=FLUID),
    Label(4, "Scalp", (4, 4, 4)),
)
RAW = (Normalization("window", 0, 10, 0, 1),)  # intensities as they are
SHAPE, MM = (48, 40, 32), 2.0
ML = MM**3 / 1000
INSIDE = (slice(6, 42), slice(6, 34), slice(6, 26))
LEFT_PART, RIGHT_PART = (slice(10, 16), slice(12, 20), slice(10, 20)), (slice(32, 37), slice(12, 20), slice(10, 20))
SIZES = {"left": 6 * 8 * 10, "right": 5 * 8 * 10, "inside": 36 * 28 * 20}  # voxels


class Painter(nn.Module):
    """Gives each voxel the class that its value says: what it sees are label maps."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return 50 * torch.cat([(x - n).abs() < 0.5 for n in range(5)], dim=1).float()


def painter(**fields):
    steps = Preprocessing(spacing=(MM,) * 3, patch_size=SHAPE, normalization=RAW)
    fields = {"intracranial": (1, 2, 3), **fields}
    return Model(Card("head", "", "", SEGMENTATION, LABELS, "SEG", steps, {"name": "none"}, {}, **fields), Painter())


def head(scalp=4):
    """A head whose left hippocampus is larger than its right one; what is inside the skull is a block."""
    array = np.zeros(SHAPE, np.float32)
    array[2:-2, 2:-2, 2:-2] = scalp
    array[INSIDE], array[LEFT_PART], array[RIGHT_PART] = 3, 1, 2
    return Image(array, (MM,) * 3, (100.0, 80.0, -60.0), RAS)


def measured(image, model=None, **options):
    """The asymmetry indices, the total and its shares, and the warnings."""
    found = segment(model or painter(), [image], **options)
    volumes, compared = found.volumes_ml, found.volumetry
    return (
        compared.asymmetry_percent(volumes),
        compared.intracranial_ml(volumes),
        compared.intracranial_percent(volumes),
        found.warnings,
    )


ORDERS = list(itertools.product(((0, 1, 2), (2, 0, 1), (1, 0, 2)), ((False, False, False), (True, False, True))))


@pytest.mark.parametrize(("axes", "flips"), ORDERS)
def test_what_is_known_is_measured_however_it_is_stored(reordered, axes, flips):
    asymmetry, total, shares, warnings = measured(reordered(head(), axes, flips))
    left, right, inside = SIZES.values()
    assert asymmetry == {"Hippocampus": pytest.approx(100 * (6 - 5) / 5.5)}
    assert total == pytest.approx(inside * ML)
    fluid = inside - left - right
    expected = {"Left hippocampus": left, "Right hippocampus": right, "Cerebrospinal fluid": fluid}
    assert shares == {name: pytest.approx(100 * voxels / inside) for name, voxels in expected.items()}
    assert sum(shares.values()) == pytest.approx(100)
    assert not warnings


def test_a_larger_right_side_is_below_zero():
    image = head()
    image.array[LEFT_PART], image.array[RIGHT_PART] = 2, 1  # sides, too, are painted
    assert measured(image)[0] == {"Hippocampus": pytest.approx(-100 / 5.5)}


def test_without_sides_there_is_a_total_and_no_asymmetry():
    asymmetry, total, shares, warnings = measured(dataclasses.replace(head(), sides_known=False))
    assert asymmetry == {}
    assert warnings == ("no asymmetry index: the image does not tell which side is which",)
    assert total == pytest.approx(SIZES["inside"] * ML)
    assert shares["Hippocampus"] == pytest.approx(100 * (SIZES["left"] + SIZES["right"]) / SIZES["inside"])


CUT = "the head may be cut off, at the border of what was looked at"


@pytest.mark.parametrize(
    ("box", "asymmetric", "whole"),
    [
        (np.s_[:, :, 14:], False, False),  # through both hippocampi
        (np.s_[12:, :, :], False, False),  # through the left one
        (np.s_[:34, :, :], False, False),  # through the right one
        (np.s_[:, :30, :], True, False),  # behind them
        (np.s_[:, :, :25], True, False),
        (np.s_[4:, 4:, 4:], True, True),  # through the scalp
    ],
)
def test_what_is_cut_off_has_no_measure(box, asymmetric, whole):
    asymmetry, total, shares, warnings = measured(head().cut(tuple(slice(*one.indices(99)[:2]) for one in box)))
    assert bool(asymmetry) == asymmetric
    assert (total is not None) == bool(shares) == whole
    assert (f"no total intracranial volume: {CUT}" in warnings) == (not whole)
    told = "no asymmetry index of Hippocampus: at the border of what was looked at, may be cut off"
    assert (told in warnings) == (not asymmetric)


def test_what_just_touches_the_border_is_whole():
    image = head()
    image.array[10:12, 15:17, :10] = 1  # 4 x 4 mm, down to the border
    asymmetry, _, _, warnings = measured(image)
    left, right = SIZES["left"] + 2 * 2 * 10, SIZES["right"]
    assert asymmetry == {"Hippocampus": pytest.approx(200 * (left - right) / (left + right))}
    assert not warnings


def test_the_spinal_canal_may_go_on():
    image = head()
    image.array[20:26, 14:20, :6] = 3  # 12 x 12 mm, down to the border
    _, total, _, warnings = measured(image)
    assert total == pytest.approx((SIZES["inside"] + 6 * 6 * 6) * ML)
    assert not warnings


def test_without_a_skull_there_is_no_total():
    asymmetry, total, shares, warnings = measured(head(scalp=0))
    assert asymmetry
    assert (total, shares) == (None, {})
    assert warnings[-1].startswith("no total intracranial volume: the image shows no skull")


def test_an_empty_image_and_one_side_alone():
    asymmetry, total, shares, warnings = measured(head().with_array(np.zeros(SHAPE, np.float32)))
    assert (asymmetry, total, shares) == ({}, None, {})
    assert [warning.partition(":")[0] for warning in warnings] == ["not found"]
    image = head()
    image.array[RIGHT_PART] = 3
    asymmetry, total, _, warnings = measured(image)
    assert (asymmetry, total) == ({}, pytest.approx(SIZES["inside"] * ML))
    assert warnings == ("not found: Right hippocampus",)


@pytest.mark.parametrize("degrees", [0, 20])
def test_a_region_of_interest_cuts_off_too(degrees):
    image, turn = head(), Rotation.from_euler("z", degrees, degrees=True).as_matrix()
    middle = (image.affine @ [23.5, 15.5, 15.5, 1])[:3]
    around, through = (Roi(middle, (mm, 72.0, 56.0), turn) for mm in (84.0, 56.0))
    asymmetry, total, _, warnings = measured(image, roi=around)
    assert asymmetry == {"Hippocampus": pytest.approx(100 / 5.5)}
    assert (total is None) == any(CUT in warning for warning in warnings)
    asymmetry, total, _, warnings = measured(image, roi=through)
    assert (asymmetry, total) == ({}, None)
    assert any(CUT in warning for warning in warnings)


def test_views_of_a_cascade_cut_off_their_own_targets_alone():
    class Sides(nn.Module):
        def forward(self, x):
            return 50 * torch.cat([(x > 2.5) | (x < 0.5), x.round() == 1, x.round() == 2], dim=1).float()

    names = ("Left hippocampus", "Right hippocampus")
    steps = Preprocessing(spacing=(MM,) * 3, patch_size=SHAPE, normalization=RAW)
    finder = Model(Card("finder", "", "", SEGMENTATION, LABELS[:2], "MR", steps, {"name": "none"}, {}), Sides())
    finder.network.weight = nn.Parameter(torch.zeros(1))
    targets = tuple(Target(name, side) for name, side in zip(names, (LEFT, RIGHT), strict=True))
    whole, patch = Label(1, "Hippocampus", (0, 0, 0), type=HIPPOCAMPUS), (20, 20, 20)

    class Part(nn.Module):
        def forward(self, x):
            found = (x > 0.5) & (x < 2.5)
            return 50 * torch.cat([~found, found], dim=1).float()

    cascade = Cascade("finder", targets, "head", (1.0, 900.0), (0.1, 20.0))
    steps = dataclasses.replace(steps, patch_size=patch)
    model = Model(
        Card("part", "", "", SEGMENTATION, (whole,), "MR", steps, {"name": "none"}, {}, cascade=cascade), Part()
    )
    model.network.weight = nn.Parameter(torch.zeros(1))
    model.helpers["finder"] = finder
    assert measured(head(), model)[0] == {"Hippocampus": pytest.approx(100 / 5.5)}
    small = dataclasses.replace(steps, patch_size=(6, 20, 20))  # too narrow for the left one
    tight = Model(dataclasses.replace(model.card, preprocessing=small), model.network, helpers={"finder": finder})
    asymmetry, _, _, warnings = measured(head(), tight)
    assert asymmetry == {}
    assert any("asymmetry index of Hippocampus" in warning for warning in warnings)


def test_a_coarse_model_compares_no_sides():
    model = painter(intracranial=())
    coarse = dataclasses.replace(model.card.preprocessing, spacing=(4.0, 4.0, 4.0))
    card = dataclasses.replace(model.card, preprocessing=coarse)
    for image in (head(), dataclasses.replace(head(), sides_known=False)):
        found = segment(dataclasses.replace(model, card=card), [image])
        assert found.volumetry.pairs == found.volumetry.intracranial == ()
        assert not found.warnings


# which labels are a pair


def labels(*names, **fields):
    return [Label(n, name, (0, 0, 0), **fields) for n, name in enumerate(names, start=1)]


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (("kidney_left", "liver", "kidney_right"), [("kidney", "kidney_left", "kidney_right")]),
        (
            ("Right-Thalamus-Proper", "Left-Thalamus-Proper"),
            [("Thalamus-Proper", "Left-Thalamus-Proper", "Right-Thalamus-Proper")],
        ),
        (("Anterior hippocampus", "Posterior hippocampus"), []),
        (("Left ventricle", "Right ventricle", "left atrium", "right atrium"), []),  # of the heart
        (("Left main bronchus", "Right main bronchus"), []),
        (("Left kidney tumor", "Right kidney tumor"), []),
        (("Left kidney", "Left lung"), []),
        (("Left foo", "Right foo"), []),  # nothing is known of it
        (("lh hippocampus", "rh hippocampus"), [("hippocampus", "lh hippocampus", "rh hippocampus")]),
    ],
)
def test_names_of_pairs(names, pairs):
    found = pairs_of(labels(*names))
    assert found == pairs_of(with_codes(labels(*names)))
    assert [(pair.structure, pair.left, pair.right) for pair in found] == pairs


def test_codes_of_pairs():
    organ, upper = Code("SCT", "1", "Organ"), Code("SCT", "2", "Upper")

    def sided(name, side, **fields):
        return Label(1, name, (0, 0, 0), **{"type": organ, "modifier": side, **fields})

    def names(*given):
        return [(pair.left, pair.right) for pair in pairs_of(given)]

    assert names(sided("rechte Niere", RIGHT), sided("linke Niere", LEFT)) == [("linke Niere", "rechte Niere")]
    same = dataclasses.replace(LEFT, meaning="links")  # a code is known by its value
    assert names(sided("a", same), sided("b", RIGHT)) == [("a", "b")]
    parts = [sided(f"{side.meaning} {part}", side) for part in ("rib", "tooth") for side in (LEFT, RIGHT)]
    assert names(*parts) == [("Left rib", "Right rib"), ("Left tooth", "Right tooth")]
    assert names(*parts[:3]) == [("Left rib", "Right rib")]
    assert names(sided("a", LEFT), sided("b", LEFT), sided("c", RIGHT)) == []
    regions = [sided(str(n), side, region=organ, region_modifier=upper) for n, side in enumerate((LEFT, RIGHT))]
    assert names(*regions, sided("whole", LEFT)) == [("0", "1")]
    other = sided("2", RIGHT, region=organ)
    assert names(regions[0], other) == []
    altered = Code("SCT", "49755003", "Morphologically Altered Structure")
    assert names(*(sided(side.meaning, side, category=altered) for side in (LEFT, RIGHT))) == []


def test_what_shipped_models_compare():
    brain, hippocampus = (read_card(find(name)) for name in ("brain", "hippocampus"))
    assert len(pairs_of(brain.labels)) == 11
    assert pairs_of(hippocampus.labels) == ()
    assert [pair.structure for pair in pairs_of(hippocampus.sided_labels)] == [
        "Anterior hippocampus",
        "Posterior hippocampus",
    ]
    assert brain.intracranial == hippocampus.intracranial == (), "neither measures what is inside the skull"


# cards and summaries


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"intracranial": (1, 9)}, "inside the skull"),
        ({"activation": "sigmoid", "intracranial": (1,)}, "exclude each other"),
        ({"cascade": Cascade("finder", (Target("a", LEFT),), "head", (1, 2), (1, 2))}, "of a whole image"),
    ],
)
def test_a_card_that_makes_no_sense(fields, reason):
    card = dataclasses.replace(painter().card, **fields)
    with pytest.raises(LLMBoostError, match=reason):
        Card.from_json(card.to_json())
    plain = json.loads(painter().card.to_json())
    assert Card.from_json(json.dumps(plain)).intracranial == (1, 2, 3)
    del plain["intracranial"]  # a card of before
    assert Card.from_json(json.dumps(plain)).intracranial == ()


def test_the_summary_has_units_and_formulas(tmp_path, llmboost, trained_model, make_case):
    model = load_model(trained_model)
    pair = tuple(
        dataclasses.replace(label, name=f"{side.meaning} hippocampus", type=HIPPOCAMPUS, modifier=side)
        for label, side in zip(model.card.labels, (LEFT, RIGHT), strict=True)
    )
    save_model(
        model.network, dataclasses.replace(model.card, labels=pair, intracranial=(1, 2)), tmp_path / "m.safetensors"
    )
    image, _ = make_case(40)
    for name, found in (("a", image), ("cut", image.cut((slice(12, 24), slice(0, 28), slice(0, 24))))):
        write_image(found, tmp_path / f"{name}.nrrd")
    out = tmp_path / "out"
    done = llmboost(
        "segment", tmp_path / "a.nrrd", tmp_path / "cut.nrrd", "--model", tmp_path / "m.safetensors", "--output", out
    )
    assert done.status == 0, done.err
    told = json.loads((out / "summary.json").read_text())
    row, cut = told["cases"]
    left, right = (row["volumes_ml"][label.name] for label in pair)
    assert row["intracranial_ml"] == pytest.approx(left + right, abs=1e-3)
    assert row["asymmetry_percent"] == {
        "Hippocampus": pytest.approx(100 * (left - right) / ((left + right) / 2), abs=0.1)
    }
    assert row["intracranial_percent"]["Left hippocampus"] == pytest.approx(100 * left / (left + right), abs=0.1)
    assert told["formulas"] == {
        "asymmetry_percent": "100 * (left - right) / ((left + right) / 2)",
        "intracranial_ml": "sum of the volumes of Left hippocampus, Right hippocampus",
        "intracranial_percent": "100 * volume / total intracranial volume",
    }
    assert cut["asymmetry_percent"] == {}
    with (out / "summary.csv").open(newline="") as file:
        line, other = csv.DictReader(file)
    assert list(line)[4:8] == [
        "total intracranial volume (mL)",
        "Left hippocampus (% of total intracranial volume)",
        "Right hippocampus (% of total intracranial volume)",
        "Hippocampus asymmetry index (%)",
    ]
    assert float(line["total intracranial volume (mL)"]) == row["intracranial_ml"]
    assert other["Hippocampus asymmetry index (%)"] == ""
    assert "no asymmetry index of Hippocampus" in other["warnings"]
    assert f"total intracranial volume {row['intracranial_ml']:.1f} mL" in done.err
    assert "asymmetry index, above 0 where the left is larger: Hippocampus" in done.err
