"""Models of other programs learn from a user's cases and strokes as our own do."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import safetensors
import torch

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

from .bundle_samples import UNET, write_bundle
from .nnunet_samples import nnunet_network, plans_of, write_results

LABELS = {"labels": {"background": 0, "front": 1, "back": 2}}  # as those of the made-up cases
LEARNING = AdaptSettings(steps=60, validations=2, rank=4, rate=1e-2)
QUICK = AdaptSettings(steps=3, validations=1, rank=2)


@pytest.fixture
def base(tmp_path, library_folder):
    """An imported model, by its file: one patch holds a case; its weights are random."""
    return imported(tmp_path)


def imported(folder, network=None, name="organ", **configuration):
    network = network or nnunet_network()
    spacing = {"patch_size": [20, 24, 20], "spacing": [1.0, 1.0, 1.0], **configuration}
    write_results(folder / name, {0: network}, plans_of(network, **spacing), **LABELS)
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


def test_a_booster_that_the_base_lacks(base, cases, tmp_path):
    output = tmp_path / "mine.safetensors"
    result = run(base, cases(4), output, dataclasses.replace(LEARNING, booster="random"))
    assert result.card.booster["init"] == "random"
    assert result.after.mean_dice > result.before.mean_dice
    network = load_model(output).network
    assert network.booster.adapter_out.weight.any()
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


def test_strokes_teach_it(base, cases, make_case, tmp_path):
    output = tmp_path / "mine.safetensors"
    run(base, cases(8), output)
    model = load_model(output)
    image, label = make_case(50)
    other = image.with_array((image.array.clip(0) ** 2 / 300).astype(np.float32))  # in another contrast
    strokes = SimulatedUser(label.array, 1, 0).first_strokes()
    volume = StrokedVolume(other, model.card)
    assert volume.update(strokes).teachable
    answer = volume.update(strokes, model=model)
    assert answer.method == StrokesMethod.TAUGHT
    before = segment(model, [other]).labelmap.array[answer.box]
    truth = label.array[answer.box]
    assert (answer.labels == truth).mean() > (before == truth).mean()
    card, _warnings = volume.keep(output, tmp_path / "kept.safetensors")
    assert card.origin == model.card.origin
    found = segment(load_model(tmp_path / "kept.safetensors"), [other]).labelmap.array
    free = strokes[answer.box] == 0
    assert np.array_equal(found[answer.box][free], answer.labels[free])


@pytest.mark.parametrize(
    ("folds", "dataset", "told"),
    [
        ((0, 1), LABELS, "is an ensemble, which cannot be adapted; import one fold of it"),
        ((0,), {"labels": {"background": 0, "all": [1, 2], "core": 2}, "regions_class_order": [1, 2]}, "over each oth"),
    ],
)
def test_what_cannot_be_adapted_says_so(tmp_path, library_folder, cases, folds, dataset, told):
    network = nnunet_network(classes=2 if "regions_class_order" in dataset else 3)
    write_results(tmp_path / "results", dict.fromkeys(folds, network), **dataset)
    card = import_foreign(tmp_path / "results", folds="all", terms="CC-BY 4.0")
    assert not card.adaptable
    with pytest.raises(LLMBoostError, match=told):
        run(find(card.name), cases(2), tmp_path / "mine.safetensors", QUICK)
    assert not StrokedVolume(Image(np.zeros((4, 4, 4)), (1, 1, 1), (0, 0, 0), np.eye(3)), card).teachable(
        strokes_of(np.ones((4, 4, 4), np.uint16), (1, 1, 1))
    )
    assert json.loads(card.to_json())["origin"]
