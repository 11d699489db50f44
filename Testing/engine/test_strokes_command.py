"""`llmboost strokes`: from painted files to segmentations, a file a case."""

from __future__ import annotations

import csv
from dataclasses import replace
from itertools import pairwise

import nrrd
import numpy as np
import pytest

from llmboost.card import Code, Label, read_card
from llmboost.errors import LLMBoostError
from llmboost.inference.roi import Roi
from llmboost.inference.segment import segment
from llmboost.io.image import Image, read_image, write_image
from llmboost.io.segnrrd import read_segments, write_segmentation
from llmboost.library import find, import_model
from llmboost.messages.strokes import BACKGROUND
from llmboost.model import load_model, save_model
from llmboost.strokes.files import read_strokes
from llmboost.strokes.simulate import SimulatedUser
from llmboost.strokes.volume import StrokedVolume

from .dicom_samples import write_series
from .summaries import names, rows, summary

LIVER = Label(3, "liver", (221, 130, 101), type=Code("SCT", "10200004", "Liver"))
SPLEEN = Label(7, "spleen", (157, 108, 162), type=Code("SCT", "78961009", "Spleen"))
NONE = Label(1, "Background", (100, 100, 100))


@pytest.fixture
def case(make_case):
    """An image, and strokes of the labels 1 and 2."""
    image, label = make_case(3)
    return image, SimulatedUser(label.array, 1, 0).first_strokes()


@pytest.fixture
def folder(tmp_path, case):
    """With anna.nii.gz and strokes.nii.gz, and a folder for what comes out."""
    image, strokes = case
    write_image(image, tmp_path / "anna.nii.gz")
    write_image(image.with_array(in_file(strokes)), tmp_path / "strokes.nii.gz")
    return tmp_path


@pytest.fixture
def run(llmboost, folder):
    """``run(input, strokes, option, ...)`` writes into ``folder / "out"``."""
    return lambda *arguments: llmboost(
        "strokes", *arguments[:-1], "--strokes", arguments[-1], "--output", folder / "out", "--device", "cpu"
    )


@pytest.fixture
def refused(run):
    def refuse(*arguments):
        done = run(*arguments)
        assert done.status == 1
        (line,) = [line for line in (done.out + done.err).splitlines() if line.startswith(("error: ", "failed: "))]
        return line

    return refuse


def in_file(strokes):
    """As a label map has them."""
    return np.where(strokes == BACKGROUND, 255, strokes).astype(np.uint8)


def whole(answer, strokes):
    labels = np.zeros_like(strokes)
    labels[answer.box] = answer.labels
    return labels


# what is written


def test_a_label_map_of_strokes_becomes_a_segmentation(run, folder, case):
    image, strokes = case
    done = run(folder / "anna.nii.gz", folder / "strokes.nii.gz")
    assert done.status == 0, done.err
    assert "random walker from 10 strokes" in done.err
    assert names(folder / "out") == ["anna.seg.nrrd", "summary.csv", "summary.json"]
    labelmap, labels = read_segments(folder / "out" / "anna.seg.nrrd")
    assert [(label.value, label.name) for label in labels] == [(1, "label 1"), (2, "label 2")]
    assert labelmap.same_grid(image)
    own = StrokedVolume(read_image(folder / "anna.nii.gz")).update(strokes)
    np.testing.assert_array_equal(labelmap.array, whole(own, strokes))
    header = nrrd.read_header(str(folder / "out" / "anna.seg.nrrd"))
    assert (header["LLMBoost.Model"], header["LLMBoost.Method"], header["LLMBoost.Strokes"]) == (
        "random walker", "walker", "10"
    )  # fmt: skip
    (row,) = summary(folder / "out")["cases"]
    assert (row["method"], row["strokes"], row["status"]) == ("walker", 10, "ok")
    assert row["volumes_ml"]["label 1"] == pytest.approx((labelmap.array == 1).sum() / 1000)
    inverse = np.linalg.inv(image.affine)
    for right, front, top in row["unsure"]:
        index = (inverse @ [-right, -front, top, 1])[:3]
        assert ((index > -1) & (index < image.shape)).all()
    with (folder / "out" / "summary.csv").open() as file:
        (line,) = csv.DictReader(file)
    assert (line["id"], line["method"], line["strokes"]) == ("anna", "walker", "10")


def test_a_segmentation_of_slicers_keeps_names_colors_and_meaning(run, folder, case):
    image, strokes = case
    values = np.array([0, 3, 7, *[0] * 252, 1], np.uint8)[in_file(strokes)]
    i, j, k = (slice(int(where.min()), int(where.max()) + 1) for where in np.nonzero(values))
    start = (image.affine @ [i.start, j.start, k.start, 1])[:3]
    cropped = Image(values[i, j, k], image.spacing, tuple(start), image.direction)  # as Slicer saves it
    write_segmentation(cropped, (NONE, LIVER, SPLEEN, replace(LIVER, value=9)), folder / "strokes.seg.nrrd")
    assert run(folder / "anna.nii.gz", folder / "strokes.seg.nrrd").status == 0
    labelmap, labels = read_segments(folder / "out" / "anna.seg.nrrd")
    assert labels == [LIVER, SPLEEN]
    own = whole(StrokedVolume(read_image(folder / "anna.nii.gz")).update(strokes), strokes)
    np.testing.assert_array_equal(labelmap.array, np.array([0, 3, 7])[own])


def test_what_was_painted_stays_also_outside_the_region_of_interest(run, folder, case):
    image, strokes = case
    center = (image.affine @ [12, 14, 12, 1])[:3] * (-1, -1, 1)
    done = run(
        folder / "anna.nii.gz", "--format", "nii.gz", "--roi", *center, 16, 16, 16, folder / "strokes.nii.gz"
    )  # fmt: skip
    assert done.status == 0, done.err
    found = read_image(folder / "out" / "anna.nii.gz").array
    expected = whole(StrokedVolume(image).update(strokes, Roi.of_ras((*center, 16, 16, 16))), strokes)
    painted = strokes > 0
    assert painted.sum() > painted[4:21, 6:23, 4:21].sum()
    expected[painted] = np.where(strokes == BACKGROUND, 0, strokes)[painted]
    np.testing.assert_array_equal(found, expected)


def test_dicom_in_and_out(run, refused, folder, case):
    import highdicom

    image, strokes = case
    image = replace(image, array=image.array.round().astype(np.int16), origin=tuple(np.round(image.origin, 3)))
    place = {"spacing": image.spacing, "origin": image.origin, "direction": image.direction}
    write_series(folder / "berta", image.array.transpose(), **place)
    write_image(image.with_array(in_file(strokes)), folder / "strokes.nii.gz")
    done = run(folder / "berta", "--format", "dcm", folder / "strokes.nii.gz")
    assert done.status == 0, done.err
    written = highdicom.seg.segread(folder / "out" / "berta.dcm")
    described = [written.get_segment_description(n) for n in (1, 2)]
    assert [(one.segment_label, one.SegmentAlgorithmType) for one in described] == [
        ("label 1", "SEMIAUTOMATIC"),
        ("label 2", "SEMIAUTOMATIC"),
    ]
    own = whole(StrokedVolume(image).update(strokes), strokes)
    pixels = written.get_volume(combine_segments=True).array
    assert np.bincount(pixels.ravel()).tolist()[1:] == np.bincount(own.ravel()).tolist()[1:]
    assert "frame" in refused(folder / "berta", "--format", "dcm", "--frame", "0", folder / "strokes.nii.gz")
    assert "no DICOM series" in refused(folder / "anna.nii.gz", "--format", "dcm", folder / "strokes.nii.gz")


def test_a_folder_goes_on_after_a_bad_case_and_resumes(run, folder, case):
    image, strokes = case
    (images := folder / "images").mkdir()
    (painted := folder / "painted").mkdir()
    for id in ("anna", "berta", "carl", "dora"):
        write_image(image, images / f"{id}.nrrd")
        write_image(image.with_array(in_file(strokes if id != "berta" else strokes * 0)), painted / f"{id}.nii.gz")
    (painted / "carl.nii.gz").rename(painted / "karl.nii.gz")
    write_image(image.with_array(in_file(strokes)), painted / "dora.nrrd")
    done = run(images, painted)
    assert done.status == 1
    assert "1 of 4 cases segmented" in done.out
    errors = {id: row["error"] for id, row in rows(folder / "out").items()}
    assert errors["anna"] == ""
    assert "no label is painted" in errors["berta"]
    assert "there is no carl.seg.nrrd" in errors["carl"]
    assert "dora.nii.gz and dora.nrrd" in errors["dora"] or "dora.nrrd and dora.nii.gz" in errors["dora"]
    (painted / "dora.nrrd").unlink()
    assert "1 case done before" in run(images, "--resume", painted).out
    write_image(image.with_array(in_file(np.where(strokes == 1, 0, strokes))), painted / "anna.nii.gz")
    assert "1 case done before" in run(images, "--resume", painted).out  # dora: anna was painted anew
    assert list(rows(folder / "out")["anna"]["volumes_ml"]) == ["label 2"]


@pytest.mark.parametrize("values", [(300, 1000), (255, 40000)])
def test_segments_of_any_values(run, folder, case, values):
    image, strokes = case
    table = np.zeros(BACKGROUND + 1, np.uint16)
    table[[1, 2, BACKGROUND]] = *values, 500
    segments = (*_numbered(*values), replace(NONE, value=500))
    write_segmentation(image.with_array(table[strokes]), segments, folder / "strokes.seg.nrrd")
    assert run(folder / "anna.nii.gz", folder / "strokes.seg.nrrd").status == 0
    labelmap, labels = read_segments(folder / "out" / "anna.seg.nrrd")
    assert labels == list(_numbered(*values))
    own = whole(StrokedVolume(read_image(folder / "anna.nii.gz")).update(strokes), strokes)
    np.testing.assert_array_equal(labelmap.array, np.array([0, *values])[own])


def test_many_segments(run, folder, case):
    image, _strokes = case
    painted, values = np.zeros(image.shape, np.uint16), range(1, 301)
    painted[::2, ::2, ::2].flat[:300] = values
    write_segmentation(image.with_array(painted), _numbered(*values), folder / "strokes.seg.nrrd")
    assert run(folder / "anna.nii.gz", "--format", "nii.gz", folder / "strokes.seg.nrrd").status == 0
    found = read_image(folder / "out" / "anna.nii.gz").array
    np.testing.assert_array_equal(found[painted > 0], painted[painted > 0])
    assert set(np.unique(found)) == {0, *values}


def test_a_model_whose_labels_have_large_values(run, refused, folder, case, trained_model):
    """A label map cannot name them; a segmentation can."""
    image, strokes = case
    model = load_model(trained_model)
    labels = tuple(replace(label, value=value) for label, value in zip(model.card.labels, (255, 40000), strict=True))
    card = replace(model.card, name="large", labels=labels)
    save_model(model.network, card, folder / "large.safetensors")
    asked = folder / "anna.nii.gz", "--model", folder / "large.safetensors"
    write_image(image.with_array(in_file(np.where(strokes == 2, 0, strokes))), folder / "small.nii.gz")
    line = refused(*asked, folder / "small.nii.gz")
    assert f"255 is background in a label map, and '{labels[0].name}' of model 'large'" in line
    assert "paint in a .seg.nrrd" in line
    table = np.arange(BACKGROUND + 1, dtype=np.uint16)
    table[[1, 2]] = 255, 40000
    write_image(image.with_array(table[strokes]), folder / "large.nii.gz")
    line = refused(*asked, folder / "large.nii.gz")
    assert "value(s) 40000, 65535 are none of strokes' in a label map" in line
    assert "paint in a .seg.nrrd, with a segment named background" in line
    segments = (replace(NONE, value=7), *(replace(label, value=n) for n, label in enumerate(labels, start=1)))
    painted = image.with_array(np.where(strokes == BACKGROUND, 7, strokes))
    write_segmentation(painted, segments, folder / "strokes.seg.nrrd")
    assert run(*asked, folder / "strokes.seg.nrrd").status == 0
    labelmap, drawn = read_segments(folder / "out" / "anna.seg.nrrd")
    assert drawn == list(labels)
    seen = (strokes > 0) & (strokes != BACKGROUND)
    np.testing.assert_array_equal(labelmap.array[seen], table[strokes][seen])


# what is refused


def test_strokes_that_cannot_be_used_are_refused_in_a_line(refused, folder, case):
    image, strokes = case
    strokes = in_file(strokes)
    files = {
        "values.nii.gz": (image.with_array(strokes.astype(np.int16) * 2), "510 are none of strokes'"),
        "halves.nii.gz": (image.with_array(strokes / np.float32(2)), "whole numbers"),
        "negative.nii.gz": (image.with_array(strokes.astype(np.int16) * -1), "are none of strokes'"),
        "shifted.nii.gz": (replace(image, origin=(1, 2, 3), array=strokes), "another grid"),
        "smaller.nii.gz": (replace(image, array=strokes[:, :, :20]), "another grid"),
        "empty.nii.gz": (image.with_array(strokes * 0), "no label is painted"),
        "around.nii.gz": (image.with_array(np.where(strokes == 255, strokes, 0)), "no label is painted"),
    }
    for name, (image, reason) in files.items():
        write_image(image, folder / name)
        line = refused(folder / "anna.nii.gz", folder / name)
        assert name in line
        assert reason in line


def test_segments_that_cannot_be_told_apart_are_refused(refused, folder, case):
    image, strokes = case
    strokes = in_file(strokes) % 255
    write_segmentation(image.with_array(strokes), (LIVER, *_numbered(1, 2)), folder / "a.seg.nrrd")
    text = (folder / "a.seg.nrrd").read_bytes()
    (folder / "a.seg.nrrd").write_bytes(text.replace(b"Segment0_LabelValue:=3", b"Segment0_LabelValue:=1"))
    assert "is that of 2 segments" in refused(folder / "anna.nii.gz", folder / "a.seg.nrrd")


def test_what_cannot_be_asked_is_refused(refused, folder):
    (folder / "more").mkdir()
    (folder / "more" / "berta.nii.gz").write_bytes((folder / "anna.nii.gz").read_bytes())
    both = folder / "anna.nii.gz", folder / "more"
    assert "one file of strokes for 2 images" in refused(*both, folder / "strokes.nii.gz")
    assert "--frame all" in refused(folder / "anna.nii.gz", "--frame", "all", folder / "strokes.nii.gz")
    assert "seg.nrrd, nii.gz, dcm" in refused(folder / "anna.nii.gz", "--format", "stl", folder / "strokes.nii.gz")
    assert "no such file" in refused(folder / "anna.nii.gz", folder / "none.nii.gz")


def test_neither_strokes_nor_what_was_corrected_are_overwritten(run, refused, folder, case):
    image, strokes = case
    (folder / "out").mkdir()
    write_segmentation(image.with_array(strokes % BACKGROUND), _numbered(1, 2), folder / "out" / "anna.seg.nrrd")
    before = (folder / "out" / "anna.seg.nrrd").read_bytes()
    for painted in (folder / "out", folder / "out" / "anna.seg.nrrd"):
        assert "is an input" in refused(folder / "anna.nii.gz", "--overwrite", painted)
    assert "exists and is not this batch's" in refused(folder / "anna.nii.gz", folder / "strokes.nii.gz")
    assert (folder / "out" / "anna.seg.nrrd").read_bytes() == before
    assert run(folder / "anna.nii.gz", "--overwrite", folder / "strokes.nii.gz").status == 0


# with a model that is to know what is painted


def test_strokes_get_the_values_of_a_models_labels(tmp_path, case):
    image, strokes = case
    card = read_card(find("hippocampus"))
    anterior, posterior = card.labels
    swapped = (
        replace(posterior, value=1, name="Segment_1", color=(1, 2, 3)),  # known by its code
        replace(anterior, value=2, name="hippocampus, anterior"),
        replace(NONE, value=200),
    )
    painted = image.with_array(np.where(strokes == BACKGROUND, 200, strokes).astype(np.uint8))
    write_segmentation(painted, swapped, tmp_path / "a.seg.nrrd")
    found, labels = read_strokes(tmp_path / "a.seg.nrrd", image, card)
    np.testing.assert_array_equal(in_file(found), np.array([0, 2, 1, *[0] * 252, 255])[in_file(strokes)])
    assert labels == (replace(swapped[0], value=posterior.value), replace(swapped[1], value=anterior.value))

    write_image(image.with_array(in_file(np.where(strokes == 2, 0, strokes))), tmp_path / "b.nii.gz")
    found, labels = read_strokes(tmp_path / "b.nii.gz", image, card)
    assert labels == (anterior,)
    write_image(image.with_array(in_file(np.where(strokes == 2, 9, strokes))), tmp_path / "c.nii.gz")
    with pytest.raises(LLMBoostError, match="'hippocampus' does not know 'label 9'"):
        read_strokes(tmp_path / "c.nii.gz", image, card)


def test_a_model_learns_and_answers(run, folder, make_case, trained_model):
    image, truth = make_case(30)
    strokes = SimulatedUser(truth.array, 1, 0).first_strokes()
    ramp = np.linspace(0, 1, image.shape[0])[:, None, None]  # as another scanner might have it
    write_image(image.with_array((image.array + 180 * ramp).astype(np.float32)), folder / "anna.nii.gz")
    write_image(image.with_array(in_file(strokes)), folder / "strokes.nii.gz")
    done = run(folder / "anna.nii.gz", "--model", trained_model, folder / "strokes.nii.gz")
    assert done.status == 0, done.err
    assert "'ellipsoids', taught by" in done.err
    labelmap, labels = read_segments(folder / "out" / "anna.seg.nrrd")
    assert labels == list(read_card(trained_model).labels)
    seen = strokes > 0
    np.testing.assert_array_equal(labelmap.array[seen], np.where(strokes == BACKGROUND, 0, strokes)[seen])
    header = nrrd.read_header(str(folder / "out" / "anna.seg.nrrd"))
    assert (header["LLMBoost.Model"], header["LLMBoost.Method"]) == ("ellipsoids", "taught")
    (row,) = summary(folder / "out")["cases"]
    assert row["method"] == "taught"
    assert 0 < row["share"] == float(header["LLMBoost.Share"]) <= 1


def test_what_a_model_learned_starts_the_next_image(run, refused, folder, make_case, trained_model, library_folder):
    """And what was kept learns more, from an image that differs more."""
    base = library_folder / (import_model(trained_model).name + ".safetensors")
    models = [base, folder / "first.safetensors", folder / "second.safetensors"]

    def paint(number, start, end, noise=0):
        """A case that is brighter at one end; noise stops the walker, which would answer in the model's place."""
        image, truth = make_case(number)
        ramp = np.linspace(start, end, image.shape[0])[:, None, None]
        ramp = ramp + noise * np.random.default_rng(0).standard_normal(image.shape)
        image = image.with_array((image.array + ramp).astype(np.float32))
        write_image(image, folder / "anna.nii.gz")
        write_image(
            image.with_array(in_file(SimulatedUser(truth.array, 1, 0).first_strokes())), folder / "strokes.nii.gz"
        )
        return image, truth

    for number, (model, kept) in enumerate(pairwise(models)):
        paint(30 + number, *((0, 180), (0, 500, 100))[number])
        done = run(folder / "anna.nii.gz", "--model", model, "--keep", kept, "--overwrite", folder / "strokes.nii.gz")
        assert done.status == 0, done.err
        assert f"{kept.name}: what '{model.stem}' has learned; use it as --model" in done.out
        assert summary(folder / "out")["cases"][0]["kept"] == str(kept)
        assert read_card(kept).adapter.base == model.stem
    image, truth = paint(33, 0, 180)
    before, after = (_dice(segment(load_model(model), [image]), truth) for model in models[:2])
    assert after > before + 0.02
    asked = folder / "anna.nii.gz", "--model", base, "--keep"
    assert "first.safetensors: exists already" in refused(*asked, models[1], folder / "strokes.nii.gz")
    assert "leave out --resume" in refused(*asked, folder / "a.safetensors", "--resume", folder / "strokes.nii.gz")
    assert "name one by --model" in refused(
        folder / "anna.nii.gz", *asked[3:], "a.safetensors", folder / "strokes.nii.gz"
    )


def test_where_nothing_was_learned_nothing_is_kept(refused, folder, make_case, trained_model):
    """The segmentation is written all the same."""
    image, _truth = make_case(30)
    known = segment(load_model(trained_model), [image]).labelmap.array
    write_image(image, folder / "anna.nii.gz")
    write_image(image.with_array(in_file(SimulatedUser(known, 1, 0).first_strokes())), folder / "strokes.nii.gz")
    kept = folder / "kept.safetensors"
    line = refused(folder / "anna.nii.gz", "--model", trained_model, "--keep", kept, folder / "strokes.nii.gz")
    assert "not written, for nothing that was learned answered, but 'ellipsoids' as it is" in line
    assert not kept.exists()
    assert (folder / "out" / "anna.seg.nrrd").exists()


def test_a_model_draws_what_is_asked_for_alone(run, folder, case, trained_model):
    image, strokes = case
    write_image(image.with_array(in_file(np.where(strokes == 2, 0, strokes))), folder / "strokes.nii.gz")
    assert run(folder / "anna.nii.gz", "--model", trained_model, folder / "strokes.nii.gz").status == 0
    labelmap, labels = read_segments(folder / "out" / "anna.seg.nrrd")
    assert labels == [read_card(trained_model).labels[0]]
    assert set(np.unique(labelmap.array)) == {0, 1}


def test_what_a_model_does_not_know_is_refused(refused, folder, case, trained_model):
    image, strokes = case
    write_image(image.with_array(in_file(np.where(strokes == 2, 9, strokes))), folder / "strokes.nii.gz")
    line = refused(folder / "anna.nii.gz", "--model", trained_model, folder / "strokes.nii.gz")
    assert "model 'ellipsoids' does not know 'label 9'" in line


def _dice(found, truth):
    """Mean Dice of both labels."""
    pairs = [(found.labelmap.array == value, truth.array == value) for value in (1, 2)]
    return np.mean([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs])


def _numbered(*values):
    return tuple(Label(value, f"segment {value}", (10, 20, 30)) for value in values)
