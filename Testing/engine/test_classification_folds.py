"""Cross-validation of classifiers: each image is judged once, by the network that did not see it."""

import json

import numpy as np
import pytest
import torch

from llmboost.card import read_card
from llmboost.errors import LLMBoostError
from llmboost.inference.classify import classify, probabilities
from llmboost.io.imageset import read_image_set
from llmboost.learn.classification.crossvalidation import cross_validate_classifier
from llmboost.learn.classification.task import ClassificationConfig, read_images
from llmboost.learn.classification.train import ClassificationRecipe
from llmboost.learn.folds import RESULT, folds, folds_folder
from llmboost.metrics.classification import classification_scores
from llmboost.model import load_model

from .class_samples import TINY, pictures, three_splits, write_npz

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def discs(tmp_path_factory):
    """Small and large discs: 48 and 24 images to learn from, of which the first two are the same. Shared."""
    splits = three_splits()
    images, labels = splits["train"]
    images[2] = images[0]
    return write_npz(tmp_path_factory.mktemp("discs") / "discs.npz", splits | {"train": (images, labels)})


def validate(data, output, steps=30, report=lambda event: None, **options):
    config = ClassificationConfig(steps=steps, batch=16, rate=1e-2, validations=2)
    recipe = ClassificationRecipe(config, options=TINY, report=True)
    return cross_validate_classifier(data, output, recipe, 3, device=CPU, report=report, **options)


@pytest.fixture(scope="module")
def made(discs, tmp_path_factory):
    """The file of three networks together, and what was told meanwhile. Shared: do not change it."""
    output, events = tmp_path_factory.mktemp("made") / "sizes.safetensors", []
    validate(discs, output, report=events.append)
    return output, events


def test_each_part_has_as_many_of_each_kind():
    kinds = {f"{n:02d}": n % 3 == 0 for n in range(24)}
    parts = folds(list(kinds), 4, kinds=kinds)
    assert [sum(kinds[id] for id in part) for part in parts] == [2, 2, 2, 2]
    assert sorted(id for part in parts for id in part) == list(kinds)


def test_every_image_is_judged_by_the_network_that_did_not_see_it(made, discs):
    output, events = made
    found = json.loads((folds_folder(output) / RESULT).read_text())
    data = read_image_set(discs)
    samples = {sample.id: sample for split in ("train", "val") for sample in data.splits[split]}
    assert sorted(case["id"] for case in found["cases"]) == sorted(samples)
    held_out = [event["held_out"] for event in events if event["event"] == "plan" and "held_out" in event]
    assert all(case["id"] in held_out[case["fold"]] for case in found["cases"])
    where = {case["id"]: case["fold"] for case in found["cases"]}
    assert where["train_0"] == where["train_2"], "the same image is not in two parts"
    # by hand, of one fold: calibration changes no order of two classes
    mine = [case for case in found["cases"] if case["fold"] == 1]
    model = load_model(folds_folder(output) / "fold_1.safetensors")
    images = read_images([samples[case["id"]] for case in mine], model.card.preprocessing, "square")
    chances = probabilities(model.network, images.images, mirror=model.card.preprocessing.mirror).numpy()
    calibrated = np.array([case["probabilities"][1] for case in mine])
    assert np.all(np.diff(calibrated[chances[:, 1].argsort()]) >= -1e-6)
    scores = classification_scores(chances, images.targets.numpy().astype(int), resamples=0)
    assert found["folds"][1] == {"fold": 1, "n": len(mine), "auc": scores["auc"], "accuracy": scores["accuracy"]}


def test_one_model_of_all(made, discs):
    output, _ = made
    card, found = read_card(output), json.loads((folds_folder(output) / RESULT).read_text())
    assert card.figures["out_of_fold_auc"] == found["auc"] > 0.9
    assert (card.training["folds"], card.training["train_cases"], found["n"]) == (3, 72, 72)
    model = load_model(output)
    members = [load_model(folds_folder(output) / f"fold_{n}.safetensors").network for n in range(3)]
    images = read_images(read_image_set(discs).splits["test"], card.preprocessing, "square").images.float()
    with torch.inference_mode():
        mean = torch.stack([member.eval()(images).softmax(dim=1) for member in members]).mean(dim=0)
        torch.testing.assert_close(model.network.eval()(images).softmax(dim=1), mean)
    sample = read_image_set(discs).splits["test"][0]
    answer = classify(model, sample.read(card.preprocessing))
    assert not answer.refused
    assert answer.decision == ("class 0",)


def test_the_report_shows_folds_and_images(made):
    output, events = made
    text = (folds_folder(output) / "report.html").read_text(encoding="utf-8")
    assert events[-1]["text"] == f"report on all folds in {folds_folder(output) / 'report.html'}"
    for word in ("out-of-fold", "fold 2", "Worst images", "Confusion", "3 folds of 24 to 24 cases", "data:image/png"):
        assert word.replace("out-of-fold", "out of fold") in text
    assert "<script" not in text


def test_a_stopped_one_goes_on_at_its_fold(discs, tmp_path):
    path, events = tmp_path / "cv.safetensors", []

    def stop(event):
        events.append(event)
        if "held_out" in event and event.get("fold") == "2 of 3":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        validate(discs, path, 2, stop)
    with pytest.raises(LLMBoostError, match="holds an earlier cross-validation; continue it with --resume"):
        validate(discs, path, 2)
    with pytest.raises(LLMBoostError, match=r"another cross-validation \(steps: 2 then, 3 now\)"):
        validate(discs, path, 3, resume=True)
    first = (folds_folder(path) / "fold_0.safetensors").read_bytes()
    assert validate(discs, path, 2, resume=True).network["members"] == 3
    assert (folds_folder(path) / "fold_0.safetensors").read_bytes() == first


def test_classes_that_do_not_exclude_each_other(tmp_path):
    several = {split: (pictures(12, seed)[0], np.eye(3, dtype=np.uint8)[[0, 1, 2] * 4]) for seed, split in
               enumerate(("train", "val"))}  # fmt: skip
    with pytest.raises(LLMBoostError, match="folds are for classes that exclude each other"):
        validate(write_npz(tmp_path / "several.npz", several), tmp_path / "cv.safetensors")


def test_the_command(llmboost, discs, tmp_path):
    done = llmboost("train", discs, "--output", tmp_path / "cv.safetensors", "--steps", 1, "--folds", 2)
    assert done.status == 0, done.err
    assert "2 folds of 36 to 36 cases, 1 steps each" in done.out
    assert "2 networks together; out-of-fold AUC 0." in done.out
