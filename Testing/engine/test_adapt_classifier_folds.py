"""How good an adapted classifier is, told by every image: by adapters like it that have not seen the image."""

import json
import re
from itertools import chain

import numpy as np
import pytest
import torch

from llmboost.card import read_card
from llmboost.card.figures import measured
from llmboost.errors import Cancelled, LLMBoostError
from llmboost.inference.classify import probabilities
from llmboost.io.imageset import read_image_set
from llmboost.learn.adaptation.common import AdaptSettings
from llmboost.learn.adaptation.crosscheck import cross_check
from llmboost.learn.adaptation.flow import adapt
from llmboost.learn.classification.task import ClassificationConfig, read_images
from llmboost.learn.classification.train import ClassificationRecipe, train_classifier
from llmboost.learn.folds import RESULT
from llmboost.learn.train import run_folder
from llmboost.learn.trainingreport import REPORT
from llmboost.library import import_model
from llmboost.metrics.classification import classification_scores
from llmboost.model import load_model

from .class_samples import TINY, three_splits, write_npz

CPU = torch.device("cpu")
QUICK = AdaptSettings(steps=20, validations=2, rank=2, rate=1e-2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A classifier that knows small from large discs. Shared: do not change it."""
    folder = tmp_path_factory.mktemp("trained")
    config = ClassificationConfig(steps=40, batch=16, rate=1e-2, validations=2)
    path = folder / "sizes.safetensors"
    train_classifier(
        write_npz(folder / "discs.npz", three_splits()), path, ClassificationRecipe(config, options=TINY), device=CPU
    )
    return path


@pytest.fixture
def base(trained, library_folder):
    return library_folder / (import_model(trained).name + ".safetensors")


def local(folder, **options):
    """Dark discs on bright ground: 15 and 9 to learn from, of which two are the same."""
    splits = three_splits(counts=(15, 9, 24), **options)
    splits["train"][0][3] = splits["train"][0][splits["train"][1][:, 0] == splits["train"][1][3, 0]][0]
    return write_npz(folder / "local.npz", {name: (255 - images, labels) for name, (images, labels) in splits.items()})


@pytest.fixture
def adapted(base, tmp_path):
    """``adapted(...)``: the data, the adapter that was learned from them, and ``check(...)`` of it."""

    def run(**options):
        data, output = local(tmp_path, **options), tmp_path / "mine.safetensors"
        adapt(base, data, output, QUICK, device=CPU)

        def check(count=None, settings=QUICK, **watching):
            return cross_check(base, data, output, settings, count, device=CPU, **watching)

        return data, output, check

    return run


def test_every_image_is_judged_by_an_adapter_that_has_not_seen_it(adapted, base):
    data, output, check = adapted()
    before, stored, events = load_model(output), output.read_bytes(), []
    checked = check(3, report=events.append)
    plan, *folds = [event for event in events if event["event"] == "plan"]
    assert plan["reasons"][0].startswith("3 folds of 8 case(s): as many networks learn without them, in 20 steps")
    samples = {sample.id: sample for split in ("train", "val") for sample in read_image_set(data).splits[split]}
    assert sorted(chain(*(fold["held_out"] for fold in folds))) == sorted(samples)
    assert (checked.count, checked.folds) == (24, 3)

    after = load_model(output)
    assert output.read_bytes() != stored, "its card tells what was found"
    assert after.card.digest == before.card.digest, "the adapter stays"
    assert after.card.adapter == before.card.adapter
    for name, tensor in before.network.state_dict().items():
        torch.testing.assert_close(after.network.state_dict()[name], tensor, rtol=0, atol=0)
    figures = after.card.figures
    assert figures["after"] == before.card.figures["after"]
    assert figures["out_of_fold_auc"] == checked.found.auc > 0.6
    assert measured(after.card) == f"AUC {checked.found.auc:.2f} on cross-validated cases"
    assert after.card.training["cross_check"] == {"folds": 3, "steps": 20}
    # the base has seen none of the images
    model = load_model(base)
    images = read_images(list(samples.values()), model.card.preprocessing, "square")
    plain = probabilities(model.network, images.images, mirror=model.card.preprocessing.mirror).numpy()
    usual = classification_scores(plain, images.targets.numpy().astype(int), resamples=0)["auc"]
    assert figures["out_of_fold_before"] == checked.before.auc == pytest.approx(usual)

    run = run_folder(output)
    found = json.loads((run / RESULT).read_text())
    assert found["digest"] == after.card.digest
    for case in found["cases"]:
        assert case["id"] in folds[case["fold"]]["held_out"]
    homes = {case["id"]: case["fold"] for case in found["cases"]}
    twins = [
        sample.id
        for sample in samples.values()
        if np.array_equal(sample.read(None)[0].array, samples["train_3"].read(None)[0].array)
    ]
    assert len(twins) == 2
    assert len({homes[id] for id in twins}) == 1, "images that are the same are in one fold"
    assert "Each image is judged by the network that did not see it" in (run / REPORT).read_text()
    assert not (run / "folds").exists()


def test_new_classes_have_no_base_to_compare_with(adapted):
    _data, output, check = adapted(classes=3)
    checked = check()
    assert checked.folds == 5
    assert checked.before.auc is None
    assert read_card(output).figures["out_of_fold_auc"] == checked.found.auc
    assert "out_of_fold_before" not in read_card(output).figures


def test_a_class_of_one_fold_alone_says_nothing(base, tmp_path):
    (images, labels), val, test = three_splits(counts=(15, 9, 6), classes=3).values()
    rare = (labels[:, 0] < 2) | (np.arange(15) == 2)
    splits = {"train": (images[rare], labels[rare]), "val": tuple(one[val[1][:, 0] < 2] for one in val), "test": test}
    data, output = write_npz(tmp_path / "local.npz", splits), tmp_path / "mine.safetensors"
    adapt(base, data, output, QUICK, device=CPU)
    (warning,) = cross_check(base, data, output, QUICK, 3, device=CPU).warnings
    assert warning.startswith("class 2: only the images of one fold show it, and no other could teach it")


def test_cancelled_all_is_as_it_was_and_a_killed_check_goes_on(adapted):
    _data, output, check = adapted()
    before = {path: path.read_bytes() for path in (output, *run_folder(output).iterdir())}
    seen = []
    with pytest.raises(Cancelled):
        check(3, report=seen.append, cancelled=lambda: any(event.get("fold") == "2 of 3" for event in seen))
    assert {path: path.read_bytes() for path in (output, *run_folder(output).iterdir())} == before

    def stop(event):
        if event.get("fold") == "3 of 3" and event["event"] == "step":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(3, report=stop)
    assert output.read_bytes() == before[output]
    events = []
    check(3, report=events.append)
    assert {event["fold"] for event in events if event["event"] == "step"} == {"3 of 3"}


def test_what_cannot_be_checked_is_one_line(adapted, base, tmp_path):
    data, _output, check = adapted()
    with pytest.raises(LLMBoostError, match="2 folds: of 23 subjects, take 3 to 23"):
        check(2)
    with pytest.raises(LLMBoostError, match=r"another one \(steps: 20 then, 9 now\)"):
        check(settings=AdaptSettings(steps=9, validations=2, rank=2, rate=1e-2))
    arrays = dict(np.load(data))
    np.savez(data, **{**arrays, "train_images": arrays["train_images"] // 2})
    with pytest.raises(LLMBoostError, match="training case train_0 was changed"):
        check()


def test_the_command(llmboost, refusal, base, tmp_path):
    data, output = local(tmp_path), tmp_path / "mine.safetensors"
    arguments = ("adapt", base, data, "--output", output, "--steps", 2)
    assert "30 folds: of 24 subjects, take 3 to 24" in refusal(*arguments, "--folds", 30)
    several = np.eye(3, dtype=np.uint8)[np.arange(15) % 3]
    arrays = dict(np.load(data))
    shown = {
        split: (arrays[f"{split}_images"], several[: len(arrays[f"{split}_images"])]) for split in ("train", "val")
    }
    many = write_npz(tmp_path / "many.npz", shown)
    assert "folds are for classes that exclude each other" in refusal("adapt", base, many, *arguments[3:], "--folds", 3)
    assert not output.exists(), "refused before it is trained"
    done = llmboost(*arguments)
    assert re.search(r"to check on every case, in about \d+\.\d minutes: the same command with --folds 5", done.out)
    checked = llmboost(*arguments, "--folds", 3)
    assert checked.status == 0, checked.err
    assert "trained 2 of 2 steps" in checked.out
    assert "steps; took" not in checked.out, "a run that ended is checked alone"
    assert re.search(
        r"AUC out of fold: [01]\.\d{4} \(95 % interval .*\); 24 images, each by a network that", checked.out
    )
    assert re.search(r"the base on the same images: [01]\.\d{4}", checked.out)
    assert re.search(r"accuracy [01]\.\d{4}, balanced [01]\.\d{4}", checked.out)
    assert "checked by 3 networks" in checked.out
