"""Classifying cases: slices, regions, decisions, images of another kind; the command line, and many cases."""

import csv
import dataclasses
import itertools
import json

import numpy as np
import PIL.Image
import pytest
import torch

from llmboost import batch
from llmboost.card import CLASSIFICATION, Card, Classification, Label, Normalization, Preprocessing
from llmboost.errors import Cancelled, LLMBoostError
from llmboost.inference.classifier_input import classifier_input
from llmboost.inference.classify import classify, decide, probabilities
from llmboost.inference.roi import Roi
from llmboost.inference.views import one_slice, slice_axis_of
from llmboost.inference.watch import Watch
from llmboost.io.cases import find_cases
from llmboost.io.image import Image, write_image
from llmboost.model import Model, load_model, save_model
from llmboost.networks import build, describe

from .class_samples import SIZE, TINY, pictures, three_splits, volumes, write_npz
from .dicom_samples import write_series

RAS = np.diag([-1.0, -1.0, 1.0])  # in LPS
ORDERS = list(itertools.permutations(range(3)))


def untrained(flat=True, classes=("healthy", "ill"), color=False, seed=0, **meaning):
    """A classifier of random weights that tells images well apart."""
    torch.manual_seed(seed)
    channels = 3 if color else 1
    patch_size = (SIZE, SIZE, 1) if flat else (SIZE,) * 3
    options = {**TINY, "image_size": patch_size, "channels": channels, "classes": len(classes)}
    network = build("vit-tiny" if flat else "vit3d-tiny", options, None)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    entry, booster = describe(network)
    fields = {"positive": classes[1], "thresholds": (0.5,)} | meaning
    card = Card(
        name="test",
        title="Test",
        description="For tests",
        task=CLASSIFICATION,
        labels=tuple(Label(n, name, (n, n, n)) for n, name in enumerate(classes)),
        modality="MR",
        preprocessing=Preprocessing(channels, (1.0,) * 3, patch_size, (Normalization(),) * channels, color=color),
        network=entry,
        booster=booster,
        classification=Classification(input_region="square" if flat else "center", **fields),
    )
    return Model(card, network.eval().requires_grad_(False))


def meaning_of(model, **changes):
    meaning = dataclasses.replace(model.card.classification, **changes)
    return Model(dataclasses.replace(model.card, classification=meaning), model.network)


def stack(count=4, seed=0, spacing=(1.0, 1.0, 4.0), direction=RAS):
    """Discs of several sizes, a slice each."""
    slices = pictures(count, seed, classes=max(count, 2))[0]
    return Image(slices.transpose(2, 1, 0).astype(np.float32), spacing, (5.0, 6.0, 7.0), direction)


@pytest.fixture(scope="module")
def flat():
    return untrained()


@pytest.fixture(scope="module")
def solid():
    return untrained(flat=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model file that knows small from large discs."""
    from llmboost.learn.classification.task import ClassificationConfig
    from llmboost.learn.classification.train import ClassificationRecipe, train_classifier

    folder = tmp_path_factory.mktemp("trained")
    data = write_npz(folder / "discs.npz", three_splits())
    data.with_suffix(".json").write_text('{"classes": ["small", "large"], "modality": "MR"}')
    config = ClassificationConfig(steps=60, batch=16, rate=1e-2, validations=3)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    recipe = ClassificationRecipe(config, options=TINY, booster=None)
    train_classifier(data, folder / "discs.safetensors", recipe, device=torch.device("cpu"))
    torch.set_num_threads(threads)
    return folder / "discs.safetensors"


# -- slices ------------------------------------------------------------------------------------------------------------


def test_a_stack_is_seen_slice_by_slice(flat):
    image = stack()
    found = classify(flat, [image])
    assert found.slices == (0, 1, 2, 3)
    assert found.slice_probabilities.shape == (4, 2)
    np.testing.assert_allclose(found.probabilities, found.slice_probabilities.mean(axis=0), atol=1e-6)
    assert sum(found.probabilities) == pytest.approx(1)
    assert np.ptp(found.slice_probabilities[:, 0]) > 1e-3, "slices differ"
    for number in range(4):
        alone = classify(flat, [image], slice_number=number)
        assert alone.slices == (number,)
        np.testing.assert_allclose(alone.slice_probabilities[0], found.slice_probabilities[number], atol=1e-5)


@pytest.mark.parametrize("axes", ORDERS)
@pytest.mark.parametrize("flips", [(False, False, False), (True, False, True), (True, True, True)])
def test_slices_are_counted_along_the_images_own_axis(flat, reordered, axes, flips):
    """Whichever axis that is, and whether it runs up or down."""
    image = stack()
    expected = classify(flat, [image]).slice_probabilities
    other = reordered(image, axes, flips)
    across = axes.index(2)
    assert slice_axis_of(other, flat) == across
    found = classify(flat, [other])
    assert found.slices == (0, 1, 2, 3)
    np.testing.assert_allclose(found.slice_probabilities, expected[::-1] if flips[across] else expected, atol=1e-5)
    for number in (0, 3):
        alone = classify(flat, [other], slice_number=number)
        np.testing.assert_allclose(alone.slice_probabilities[0], found.slice_probabilities[number], atol=1e-5)
        place = one_slice(other, flat, number)
        index = [0, 0, 0, 1]
        index[across] = number
        np.testing.assert_allclose(place.origin, (other.affine @ index)[:3])
        assert place.shape[across] == 1


def test_sagittal_slices(flat):
    """Thick slices whose axis is i, from left to right."""
    array = np.moveaxis(stack().array, 2, 0)
    image = Image(array, (4.0, 1.0, 1.0), (0, 0, 0), np.eye(3))
    found = classify(flat, [image])
    assert found.slices == (0, 1, 2, 3)
    for number in range(4):
        alone = Image(array[number : number + 1], (4.0, 1.0, 1.0), (4.0 * number, 0, 0), np.eye(3))
        expected = classify(flat, [alone]).probabilities
        np.testing.assert_allclose(found.slice_probabilities[number], expected, atol=1e-5)


def test_the_same_spacing_everywhere_leaves_the_axis_to_the_model(flat):
    image = stack(spacing=(1.0, 1.0, 1.0))
    assert slice_axis_of(image, flat) == 2
    assert classify(flat, [image]).slices == (0, 1, 2, 3)


@pytest.mark.parametrize("number", [-1, 4, 100])
def test_slices_that_are_not_there(flat, number):
    with pytest.raises(LLMBoostError, match=rf"slice {number}: the image has slices 0 to 3"):
        classify(flat, [stack()], slice_number=number)


def test_volumes_have_no_slices(solid):
    image = Image(volumes(1)[0][0].astype(np.float32), (1, 1, 1), (0, 0, 0), RAS)
    found = classify(solid, [image])
    assert found.slices == ()
    assert found.slice_probabilities.shape == (0, 2)
    with pytest.raises(LLMBoostError, match="model 'test' takes volumes; a slice cannot be chosen"):
        classify(solid, [image], slice_number=0)
    with pytest.raises(LLMBoostError, match="a single slice, but the model needs a volume"):
        classify(solid, [stack(1)])


# -- regions -----------------------------------------------------------------------------------------------------------


def box(image, start, stop):
    """The region that holds voxels ``start`` to ``stop`` (exclusive)."""
    corners = [(image.affine @ [*(np.array(index) + shift), 1])[:3] for index, shift in ((start, -0.4), (stop, -0.6))]
    return Roi(np.mean(corners, axis=0).tolist(), np.abs(np.subtract(*corners)).tolist())


def test_a_region_limits_what_is_seen_and_slices_keep_their_numbers(flat):
    image = stack(5)
    part = image.array[3:13, 2:12, 2:4]
    moved = (image.affine @ [3, 2, 2, 1])[:3]
    expected = classify(flat, [Image(part, image.spacing, tuple(moved), RAS)])
    roi = box(image, (3, 2, 2), (13, 12, 4))
    found = classify(flat, [image], roi=roi)
    assert found.slices == (2, 3)
    np.testing.assert_allclose(found.slice_probabilities, expected.slice_probabilities, atol=1e-5)
    alone = classify(flat, [image], roi=roi, slice_number=3)
    assert alone.slices == (3,)
    np.testing.assert_allclose(alone.slice_probabilities[0], found.slice_probabilities[1], atol=1e-5)
    for outside in (0, 4):
        with pytest.raises(LLMBoostError, match="lies outside the image"):
            classify(flat, [image], roi=roi, slice_number=outside)


def test_a_region_of_a_color_picture():
    model = untrained(color=True)
    random = np.random.default_rng(0)
    image = [Image(random.uniform(0, 255, (20, 18, 1)), (1, 1, 1), (0, 0, 0), np.eye(3)) for _ in range(3)]
    part = [Image(channel.array[4:16, 3:15], (1, 1, 1), (4, 3, 0), np.eye(3)) for channel in image]
    found = classify(model, image, roi=box(image[0], (4, 3, 0), (16, 15, 1)))
    np.testing.assert_allclose(found.probabilities, classify(model, part).probabilities, atol=1e-4)


# -- probabilities and decisions ---------------------------------------------------------------------------------------


def test_probabilities_are_calibrated_means_over_mirror_images(flat):
    image = stack(1)
    framed = torch.from_numpy(classifier_input([image], flat.card.preprocessing, "square")[0])
    steps = dataclasses.replace(flat.card.preprocessing, mirror=(0,))
    both = Model(dataclasses.replace(meaning_of(flat, temperature=1.7).card, preprocessing=steps), flat.network)
    logits = (flat.network(framed) + flat.network(framed.flip(2))) / 2 / 1.7
    np.testing.assert_allclose(classify(both, [image]).probabilities, logits.softmax(dim=1)[0], atol=1e-5)
    several = meaning_of(flat, multi_label=True, positive="", thresholds=(0.5, 0.5))
    expected = flat.network(framed).sigmoid()[0]
    np.testing.assert_allclose(classify(several, [image]).probabilities, expected, atol=1e-5)


def test_a_network_is_left_as_it_was(flat):
    flat.network.train()
    probabilities(flat.network, torch.zeros(1, 1, SIZE, SIZE, 1))
    assert flat.network.training
    flat.network.eval()


@pytest.mark.parametrize(
    ("chances", "threshold", "expected"),
    [
        ((0.7, 0.3), 0.3, ("ill",)),
        ((0.7, 0.3), 0.31, ("healthy",)),
        ((0.2, 0.8), 0.9, ("healthy",)),
        ((1.0, 0.0), 0.0, ("ill",)),
    ],
)
def test_the_positive_class_is_decided_at_its_threshold(flat, chances, threshold, expected):
    assert decide(meaning_of(flat, thresholds=(threshold,)), np.array(chances)) == expected


def test_other_decisions():
    grades = untrained(classes=("a", "b", "c"), positive="", thresholds=(), ordinal=True)
    assert decide(grades, np.array([0.2, 0.5, 0.3])) == ("b",)
    looked_for = meaning_of(grades, positive="a", thresholds=(0.4,))
    assert decide(looked_for, np.array([0.39, 0.3, 0.31])) == ("c",), "the likeliest other one"
    several = meaning_of(grades, multi_label=True, thresholds=(0.5, 0.1, 0.9))
    assert decide(several, np.array([0.5, 0.05, 0.95])) == ("a", "c")
    assert decide(several, np.array([0.1, 0.05, 0.1])) == ()


# -- images that a model does not know ---------------------------------------------------------------------------------


def test_another_modality_and_a_uniform_image_are_told(flat):
    image = stack(1)
    known = classify(flat, [dataclasses.replace(image, modality="MR")])
    assert not known.range.outside
    assert known.warnings == ()
    ct = dataclasses.replace(image, modality="CT")
    other = classify(flat, [ct])
    assert other.range.outside
    assert other.refused
    assert (other.probabilities, other.decision, other.slices, len(other.slice_probabilities)) == ((), (), (), 0)
    assert other.warnings == ("the image is CT, and model 'test' takes MR",)
    answered = classify(flat, [ct], anyway=True)
    assert answered.probabilities == known.probabilities
    assert answered.warnings == other.warnings
    assert not classify(flat, [dataclasses.replace(image, modality="OT")]).range.outside, (
        "what a modality is not known to be"
    )
    blank = classify(flat, [image.with_array(np.full(image.shape, 7.0))])
    assert "the image is uniform: there is nothing to see" in blank.warnings


def test_images_of_another_kind_are_told(trained):
    model = load_model(trained)
    pixels, _ = pictures(10, seed=7)
    usual = [Image(one.T[..., None].astype(np.float32), (1, 1, 1), (0, 0, 0), np.eye(3)) for one in pixels]
    assert np.mean([classify(model, [image]).range.outside for image in usual]) <= 0.2
    checks = np.indices((SIZE, SIZE, 1)).sum(axis=0) % 4 // 2 * 100.0
    found = classify(model, [usual[0].with_array(checks)])
    assert found.range.outside
    assert found.range.score > found.range.limit
    assert "unlike those that model 'discs' was trained on" in found.warnings[0]


def test_a_segmenter_does_not_classify_and_a_classifier_does_not_segment(trained_model, flat, solid):
    from llmboost.inference.segment import segment

    with pytest.raises(LLMBoostError, match="model 'ellipsoids' segments; use a classification model"):
        classify(load_model(trained_model), [stack()])
    for model in (flat, solid):
        with pytest.raises(LLMBoostError, match="model 'test' classifies"):
            segment(model, [stack()])


def test_cancelling(flat):
    with pytest.raises(Cancelled):
        classify(flat, [stack()], watch=Watch(cancelled=lambda: True))


# -- the command line and many cases -----------------------------------------------------------------------------------


@pytest.fixture
def inputs(tmp_path):
    """Two small and two large discs as pictures, and a file that is damaged."""
    folder = tmp_path / "images"
    folder.mkdir()
    pixels, labels = pictures(4, seed=11)
    for n, (one, label) in enumerate(zip(pixels, labels[:, 0], strict=True)):
        PIL.Image.fromarray(one).save(folder / f"{n}_{('small', 'large')[label]}.png")
    (folder / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


@pytest.fixture
def run(llmboost, trained, tmp_path):
    return lambda *arguments: llmboost("classify", *arguments, "--model", trained, "--output", tmp_path / "out")


def rows(folder):
    return {row["id"]: row for row in json.loads((folder / "summary.json").read_text())["cases"]}


def test_a_bad_case_does_not_stop_the_others(run, inputs, tmp_path):
    done = run(inputs)
    assert done.status == 1
    assert "4 of 5 cases classified" in done.out
    found = rows(tmp_path / "out")
    assert found["damaged"]["status"] == "failed"
    assert str(inputs / "damaged.png") in found["damaged"]["error"]
    good = {id: row for id, row in found.items() if id != "damaged"}
    right = [row["decision"] == [id.partition("_")[2]] for id, row in good.items()]
    assert sum(right) >= 3
    for row in good.values():
        assert set(row["probabilities"]) == {"small", "large"}
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-3)
        assert row["status"] == "ok"
        assert row["slices"] == []
    with (tmp_path / "out" / "summary.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    columns = ["decision", "p(small)", "p(large)", "outside the model's range"]
    assert list(table[0]) == ["id", "status", *columns, "seconds", "warnings", "error"]
    for line in table:
        if line["status"] == "ok":
            assert [line["decision"]] == good[line["id"]]["decision"]
            assert float(line["p(large)"]) == good[line["id"]]["probabilities"]["large"]


def test_resuming_does_what_is_left(run, inputs, tmp_path):
    assert run(inputs).status == 1
    before = rows(tmp_path / "out")
    pixels, _ = pictures(2, seed=3)
    PIL.Image.fromarray(pixels[1]).save(inputs / "damaged.png")
    done = run(inputs, "--resume")
    assert done.status == 0, done.err
    assert "5 of 5 cases classified" in done.out
    after = rows(tmp_path / "out")
    assert after["damaged"]["status"] == "ok"
    assert {id: row for id, row in after.items() if id != "damaged"} == {
        id: row for id, row in before.items() if id != "damaged"
    }


def test_slices_and_regions_of_a_volume(run, tmp_path, trained):
    image = stack(4)
    write_image(image, tmp_path / "stack.nii.gz")
    assert run(tmp_path / "stack.nii.gz", "--anyway").status == 0
    row = rows(tmp_path / "out")["stack"]
    expected = classify(load_model(trained), [image], anyway=True)
    assert [entry["slice"] for entry in row["slices"]] == [0, 1, 2, 3]
    told = [entry["large"] for entry in row["slices"]]
    np.testing.assert_allclose(told, expected.slice_probabilities[:, 1], atol=1e-3)
    assert run(tmp_path / "stack.nii.gz", "--anyway", "--slice", "2").status == 0
    row = rows(tmp_path / "out")["stack"]
    assert row["slices"] == []
    assert row["probabilities"]["large"] == pytest.approx(float(expected.slice_probabilities[2, 1]), abs=1e-3)
    assert run(tmp_path / "stack.nii.gz", "--anyway", "--slice", "9").status == 1
    assert "slice 9: the image has slices 0 to 3" in rows(tmp_path / "out")["stack"]["error"]
    x, y, z = (image.affine @ [8, 8, 1.5, 1])[:3]
    done = run(tmp_path / "stack.nii.gz", "--anyway", "--roi", *(f"{mm}" for mm in (-x, -y, z, 9, 9, 5)))
    assert done.status == 0, done.err
    assert [entry["slice"] for entry in rows(tmp_path / "out")["stack"]["slices"]] == [1, 2]


@pytest.fixture
def checks(tmp_path):
    """A picture that no disc is in."""
    pixels = (np.indices((SIZE, SIZE)).sum(axis=0) % 4 // 2 * 100).astype(np.uint8)
    PIL.Image.fromarray(pixels).save(tmp_path / "checks.png")
    return tmp_path / "checks.png"


def test_images_of_another_kind_are_refused(run, inputs, checks, tmp_path):
    (inputs / "damaged.png").unlink()
    done = run(inputs, checks, "--explain")
    assert done.status == 1, "not all was answered"
    assert f"refused: {checks}: not an image that this model knows: the image is unlike those" in done.err
    assert "4 of 5 cases classified, 1 refused: not of the kind that the model knows" in done.out
    row = rows(tmp_path / "out")["checks"]
    assert (row["status"], row["outside"], row["decision"], row["probabilities"]) == ("refused", True, [], {})
    assert not list((tmp_path / "out").glob("checks*")), "nor is it explained"
    with (tmp_path / "out" / "summary.csv").open(newline="") as file:
        (line,) = (line for line in csv.DictReader(file) if line["id"] == "checks")
    assert line["status"] == "refused"
    assert "not an image that this model knows" in line["error"]
    assert not line["decision"] + line["p(small)"] + line["p(large)"]


def test_images_of_another_kind_are_answered_on_request(run, checks, tmp_path):
    done = run(checks, "--anyway", "--explain")
    assert done.status == 0, done.err
    assert "warning: the image is unlike those" in done.err
    row = rows(tmp_path / "out")["checks"]
    assert row["outside"]
    assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    assert (tmp_path / "out" / "checks_explanation.nii.gz").exists()


def test_commands_refuse_models_of_the_other_task(refusal, trained, trained_model, inputs, tmp_path):
    out = tmp_path / "out"
    classifying = refusal("classify", inputs, "--model", trained_model, "--output", out)
    assert classifying == "model 'ellipsoids' segments; use `llmboost segment`, or another --model"
    segmenting = refusal("segment", inputs, "--model", trained, "--output", out)
    assert segmenting == "model 'discs' classifies; use `llmboost classify`, or another --model"
    assert not out.exists()


def test_measuring_on_the_command_line(llmboost, refusal, trained, dataset_folder, tmp_path):
    data = trained.with_name("discs.npz")
    done = llmboost("evaluate", data, "--model", trained, "--json", tmp_path / "result.json")
    assert done.status == 0, done.err
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["auc"] > 0.9
    assert (result["n"], result["positive"], result["split"]) == (24, "large", "test")
    assert len(result["cases"]) == 24
    assert {"auc_ci95", "accuracy", "balanced_accuracy", "sensitivity", "specificity", "brier"} <= set(result)
    assert "sensitivity (large)" in done.out
    assert json.loads((tmp_path / "result.jsonl").read_text())["auc"] == result["auc"]
    other = write_npz(tmp_path / "other.npz", three_splits())
    message = refusal("evaluate", other, "--model", trained, "--json", tmp_path / "x.json")
    assert "has the classes class 0, class 1, but model 'discs' tells small, large" in message
    message = refusal("evaluate", dataset_folder, "--model", trained, "--json", tmp_path / "x.json")
    assert "discs" in message


def test_training_on_the_command_line(llmboost, tmp_path):
    data = write_npz(tmp_path / "discs.npz", three_splits(counts=(16, 8, 4)))
    done = llmboost("train", data, "--output", tmp_path / "m.safetensors", "--steps", 1, "--booster", "none")
    assert done.status == 0, done.err
    assert "val AUC" in done.out
    assert load_model(tmp_path / "m.safetensors").card.task == CLASSIFICATION


# -- DICOM and colors --------------------------------------------------------------------------------------------------


def one_dicom_slice(folder, **elements):
    plane = pictures(2, seed=5)[0][1:].astype(np.uint16)
    return write_series(folder, plane, **elements)[0]


def test_what_a_dicom_file_says_of_itself_is_told(run, tmp_path):
    one_dicom_slice(tmp_path / "plain", Modality="MR")
    write_series(
        tmp_path / "inverse",
        65535 - pictures(2, seed=5)[0][1:].astype(np.uint16),
        Modality="MR",
        PhotometricInterpretation="MONOCHROME1",
    )
    one_dicom_slice(tmp_path / "foreign", Modality="CT")
    done = run(*(tmp_path / name for name in ("plain", "inverse", "foreign")))
    assert done.status == 1
    found = rows(tmp_path / "out")
    assert found["plain"]["warnings"] == []
    assert found["inverse"]["probabilities"] == found["plain"]["probabilities"], "white is black there"
    assert found["inverse"]["warnings"] == []
    assert found["foreign"]["status"] == "refused"
    assert "this model knows: the image is CT, and model 'discs' takes MR" in found["foreign"]["error"]
    assert run(tmp_path / "foreign", "--anyway").status == 0
    answered = rows(tmp_path / "out")["foreign"]
    assert answered["probabilities"] == found["plain"]["probabilities"]
    assert any("the image is CT, and model 'discs' takes MR" in warning for warning in answered["warnings"])


def test_gray_and_color_do_not_mix(run, tmp_path, tmp_path_factory):
    color = np.repeat(pictures(1)[0][0][..., None], 3, axis=2)
    color[..., 0] = 255 - color[..., 0]  # equal components would be gray
    PIL.Image.fromarray(color).save(tmp_path / "color.png")
    assert run(tmp_path / "color.png").status == 1
    assert "color.png: a color image, but a gray one is needed" in rows(tmp_path / "out")["color"]["error"]
    model = untrained(color=True)
    save_model(model.network, model.card, tmp_path / "rgb.safetensors")
    PIL.Image.fromarray(np.zeros((SIZE, SIZE), np.uint8)).save(tmp_path / "gray.png")
    cases = find_cases([tmp_path / "gray.png", tmp_path / "color.png"], model.card.preprocessing)
    found = {row.id: row for row in batch.classify_cases(model, cases, tmp_path / "rgb", batch.ClassifyOptions())}
    assert {id: row.status for id, row in found.items()} == {"gray": batch.FAILED, "color": batch.OK}
    assert "gray.png: not a color image" in found["gray"].error
