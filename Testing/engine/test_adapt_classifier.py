"""Classifiers adapt: better at their classes, or at new ones."""

import numpy as np
import pytest
import torch

from llmboost.card import read_card
from llmboost.errors import LLMBoostError
from llmboost.evaluation import evaluate_classifier
from llmboost.inference.classify import classify
from llmboost.io.image import Image
from llmboost.io.imageset import read_image_set
from llmboost.learn.adaptation.common import AdaptSettings
from llmboost.learn.adaptation.flow import adapt
from llmboost.learn.classification.task import ClassificationConfig
from llmboost.learn.classification.train import ClassificationRecipe, train_classifier
from llmboost.library import import_model
from llmboost.model import load_model

from .class_samples import SIZE, TINY, pictures, three_splits, volumes, write_npz

CPU = torch.device("cpu")
SETTINGS = AdaptSettings(steps=40, validations=4, rank=2, rate=1e-2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A classifier that knows small from large discs. Shared: do not change it."""
    folder = tmp_path_factory.mktemp("trained")
    data = write_npz(folder / "discs.npz", three_splits())
    config = ClassificationConfig(steps=60, batch=16, rate=1e-2, validations=3)
    path = folder / "sizes.safetensors"
    train_classifier(data, path, ClassificationRecipe(config, options=TINY, booster=None), device=CPU)
    return path


@pytest.fixture
def base(trained, library_folder):
    return library_folder / (import_model(trained).name + ".safetensors")


def local(folder, **options):
    """Dark discs on bright ground, few of them."""
    splits = three_splits(counts=(12, 12, 24), **options)
    return write_npz(folder / "local.npz", {name: (255 - images, labels) for name, (images, labels) in splits.items()})


def test_it_learns_what_the_base_does_not_know(base, tmp_path):
    data, output = local(tmp_path), tmp_path / "mine.safetensors"
    result = adapt(base, data, output, SETTINGS, device=CPU)
    assert result.after.auc >= result.before.auc
    card = read_card(output)
    assert card.adapter.base_digest == read_card(base).digest
    assert len(card.adapter.cases) == 12
    assert card.classification.input_region == "square"
    assert card.figures["after"] == result.after.auc
    model = load_model(output)
    assert evaluate_classifier(model, read_image_set(data), "test")["auc"] > 0.8
    assert output.stat().st_size < base.stat().st_size


def refused(model, pixels):
    images = [Image(one.T[..., None].astype(np.float32), (1, 1, 1), (0, 0, 0), np.eye(3)) for one in pixels]
    return np.mean([classify(model, [image]).refused for image in images])


def test_local_images_are_answered_and_what_the_base_knows_too_but_nothing_else(base, tmp_path):
    kept, inverse = pictures(20, seed=9)[0], 255 - pictures(20, seed=8)[0]
    noise = np.random.default_rng(0).integers(0, 255, (20, SIZE, SIZE))
    before = load_model(base)
    assert [refused(before, pixels) > 0.9 for pixels in (kept, inverse, noise)] == [False, True, True]
    adapt(base, local(tmp_path), tmp_path / "mine.safetensors", SETTINGS, device=CPU)
    mine = load_model(tmp_path / "mine.safetensors")
    assert refused(mine, kept) <= 0.1
    assert refused(mine, inverse) <= 0.1
    looks, old = mine.card.classification.looks, before.card.classification.looks
    assert looks.numbers == old.numbers
    assert looks.limit > old.limit


def test_new_classes_are_of_the_local_images_kind(base, tmp_path):
    adapt(base, local(tmp_path, classes=3), tmp_path / "three.safetensors", SETTINGS, device=CPU)
    three = load_model(tmp_path / "three.safetensors")
    assert refused(three, 255 - pictures(20, seed=8, classes=3)[0]) <= 0.1
    assert refused(three, pictures(20, seed=9)[0]) >= 0.9
    assert refused(three, np.random.default_rng(0).integers(0, 255, (20, SIZE, SIZE))) >= 0.9


def test_new_classes_get_a_new_head(base, tmp_path):
    data, output = local(tmp_path, classes=3), tmp_path / "three.safetensors"
    result = adapt(base, data, output, SETTINGS, device=CPU)
    assert result.card.adapter.settings["task"] == "new-labels"
    assert len(load_model(output).card.labels) == 3
    assert result.before.auc is None
    assert result.after.auc > 0.7


def test_merged_and_unmerged_agree(base, tmp_path):
    """What was selected is what the file gives, batch norms' means and variances and all."""
    events = []
    result = adapt(base, local(tmp_path), tmp_path / "mine.safetensors", SETTINGS, device=CPU, report=events.append)
    best = max(event["best"] for event in events if event["event"] == "validation")
    assert result.after.auc == pytest.approx(best, abs=5e-3)


def test_images_of_another_kind_are_refused(base, tmp_path):
    data = write_npz(tmp_path / "balls.npz", three_splits(volumes))
    with pytest.raises(LLMBoostError, match=r"volumes, but 'sizes' takes slices; choose another base"):
        adapt(base, data, tmp_path / "mine.safetensors", SETTINGS, device=CPU)
    assert not list(tmp_path.glob("mine*"))


def test_finish_at_once_keeps_the_base(base, tmp_path):
    result = adapt(base, local(tmp_path), tmp_path / "mine.safetensors", SETTINGS, device=CPU, finishing=lambda: True)
    assert result.stopped == "finish"
    np.testing.assert_allclose(result.after.auc, result.before.auc, atol=1e-6)
