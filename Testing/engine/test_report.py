"""The report of a training or a measurement: one HTML file that shows what was measured, and obeys nothing."""

import base64
import re
import struct

import numpy as np
import pytest
import torch

from llmboost.card import Label
from llmboost.evaluation import evaluate_segmenter
from llmboost.io.dataset import read_dataset
from llmboost.io.image import Image
from llmboost.learn.crossvalidation import cross_validate
from llmboost.learn.folds import folds_folder
from llmboost.learn.train import Recipe, run_folder, train
from llmboost.learn.trainer import TrainingConfig
from llmboost.metrics.segmentation import segmentation_scores, summarize
from llmboost.model import load_model
from llmboost.report import Observed, write_report

from .class_samples import three_splits, write_npz

CPU = torch.device("cpu")
TINY = {"stem": (4, 8, 8), "width": 16, "depth": 2, "heads": 2}
NAMES = {1: "front", 4: "back"}
LPS = np.eye(3)


def pictures(text):
    """(width, height) of each picture in a page."""
    found = [base64.b64decode(data) for data in re.findall(r'src="data:image/png;base64,([^"]+)"', text)]
    return [struct.unpack(">II", data[16:24]) for data in found]


def pair(wrong=0, value=4):
    """Two boxes of labels 1 and 4, and what a model draws: so many voxels of the first one are called ``value``."""
    true = np.zeros((8, 9, 7), np.int16)
    true[2:5, 2:5, 2:4], true[2:5, 5:8, 2:4] = 1, 4
    drawn = true.copy()
    drawn[tuple(np.argwhere(true == 1)[:wrong].T)] = value
    return [Image(array, (1, 1, 2), (0, 0, 0), LPS) for array in (true.astype(np.float32), true, drawn)]


def scores_of(id, image, reference, drawn, **options):
    scores = segmentation_scores(drawn.array, reference.array, reference.spacing, NAMES, **options)
    return {"id": id, "seconds": 0.1, **scores}


def test_what_is_taken_for_what():
    observed = Observed(NAMES)
    for id, images in {"a": pair(3), "b": pair(2, 0)}.items():
        observed.see(scores_of(id, *images), *images)
    assert observed.confusion[1:].tolist() == [[2, 31, 3], [0, 0, 36]]
    assert observed.confusion.sum() == 2 * 8 * 9 * 7


def test_what_nobody_labeled_or_drew_is_not_confused():
    image, reference, drawn = pair(3)
    reference.array[0] = 9
    observed = Observed(NAMES, ignore=9)
    observed.see(scores_of("a", image, reference, drawn, ignore=9, undrawn=[4]), image, reference, drawn)
    assert observed.confusion[1].tolist() == [0, 15, 0]  # three of them are called what was not drawn
    assert observed.confusion.sum() == 7 * 9 * 7 - 3 - 18


def test_the_worst_cases_come_first_and_are_few():
    observed = Observed(NAMES)
    for wrong in (1, 9, 5, 0, 7, 3, 2, 8):
        observed.see(scores_of(f"case {wrong}", *pair(wrong)), *pair(wrong))
    assert [view.id for view in observed.worst] == [f"case {wrong}" for wrong in (9, 8, 7, 5, 3, 2)]


def test_the_slice_shown_is_the_one_in_which_most_is_wrong():
    image, reference, drawn = pair()
    drawn.array[2:4, 2:4, 3] = 0
    drawn.array[2, 2, 2] = 0
    observed = Observed(NAMES)
    observed.see(scores_of("a", image, reference, drawn), image, reference, drawn)
    (view,) = observed.worst
    assert view.named.startswith("axial 4 of 7")
    assert int((view.reference != view.prediction).sum()) == 4


def test_texts_of_files_are_shown_not_obeyed(tiny_network, tiny_card, tmp_path):
    evil = '<script>alert("1")</script>'
    card = tiny_card(
        tiny_network(), title=evil, labels=(Label(1, evil, (1, 2, 3)), Label(4, "back & forth", (4, 5, 6)))
    )
    observed, cases = Observed(NAMES), []
    for n in range(2):
        images = pair(3 + n)
        cases.append(scores_of(f"{evil} {n}", *images))
        observed.see(cases[-1], *images)
    result = {"split": "test", "dataset": evil, **summarize(cases), "cases": cases, "warnings": [evil]}
    write_report(tmp_path / "r.html", card, result, observed)
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "http" not in text
    assert "&lt;script&gt;" in text
    assert "back &amp; forth" in text
    assert len(pictures(text)) == 2


def test_a_training_leaves_a_report(dataset_folder, tmp_path):
    path, events = tmp_path / "m.safetensors", []
    config = TrainingConfig(steps=2, validations=2)
    train(dataset_folder, path, Recipe(config, options=TINY, report=True), device=CPU, report=events.append)
    text = (run_folder(path) / "report.html").read_text(encoding="utf-8")
    assert "report on 2 of 2 validation cases" in events[-1]["text"]
    assert (770, 440) in pictures(text)  # the curve
    assert len(pictures(text)) == 3
    for words in ("Learning curve", "Labels", "Worst cases", "case_5", "left-right mirroring", "front", "torch"):
        assert words in text
    assert len(text) < 2**20


def test_cross_validation_leaves_a_report_of_each_fold_and_of_all(dataset_folder, tmp_path):
    path = tmp_path / "cv.safetensors"
    recipe = Recipe(TrainingConfig(steps=1, validations=1), options=TINY, report=True)
    cross_validate(dataset_folder, path, recipe, 2, device=CPU)
    folder = folds_folder(path)
    together = (folder / "report.html").read_text(encoding="utf-8")
    assert "Folds" in together
    assert len(pictures(together)) == 6
    assert all(f"case_{n}" in together for n in range(7))
    first = (folder / "fold_0.run" / "report.html").read_text(encoding="utf-8")
    assert (770, 440) in pictures(first)


def test_measuring_ends_when_its_time_is_over(trained_model, dataset_folder):
    model, dataset = load_model(trained_model), read_dataset(dataset_folder)
    found = evaluate_segmenter(model, dataset, "train", limit=0)
    assert (found["n_cases"], found["of"]) == (1, 5)


def test_evaluate_writes_a_report_when_asked(llmboost, refusal, trained_model, dataset_folder, tmp_path):
    arguments = ("evaluate", dataset_folder, "--model", trained_model, "--json", tmp_path / "e.json", "--report")
    assert llmboost(*arguments, tmp_path / "e.html").status == 0
    text = (tmp_path / "e.html").read_text(encoding="utf-8")
    assert "measured on the test cases of Ellipsoids" in text
    assert len(pictures(text)) == 1
    assert "exists already" in refusal(*arguments, tmp_path / "e.html")


@pytest.mark.parametrize("shape", [(12, 10, 1), (1, 12, 10)])
def test_a_single_slice_is_shown_as_it_is(shape):
    true = np.zeros(shape, np.int16)
    true.reshape(-1)[40:60] = 1
    drawn = np.zeros(shape, np.int16)
    images = [Image(array, (1, 1, 1), (0, 0, 0), LPS) for array in (true.astype(np.float32), true, drawn)]
    observed = Observed({1: "front"})
    observed.see({"id": "a", "dice": {"1": 0.0}}, *images)
    assert int((observed.worst[0].reference > 0).sum()) == 20


def test_a_classifiers_report(llmboost, tmp_path):
    """Of a training, and of a measurement: what is taken for what, and the worst images as pictures."""
    data = write_npz(tmp_path / "discs.npz", three_splits(counts=(24, 12, 6)))
    model = tmp_path / "sizes.safetensors"
    done = llmboost("train", data, "--output", model, "--steps", 2)
    assert f"report on 12 validation images in {run_folder(model) / 'report.html'}" in done.out.replace("\n", "")
    trained = (run_folder(model) / "report.html").read_text(encoding="utf-8")
    assert all(word in trained for word in ("Learning curve", "validation images of discs", "Plan", "Confusion"))
    llmboost("evaluate", data, "--model", model, "--json", tmp_path / "e.json", "--report", tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert text.count("<figure>") == 6
    assert "6</b>images measured" in text
    assert "Learning curve" not in text
