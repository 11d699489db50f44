"""Which case to label next."""

import shutil

import numpy as np
import pytest

from llmboost.errors import Cancelled, LLMBoostError
from llmboost.io.dataset import read_dataset
from llmboost.io.image import write_image
from llmboost.learn.ranking import rank_cases, suggest
from llmboost.library import find
from llmboost.model import load_model


def unit(*vectors):
    array = np.array(vectors, dtype=float)
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def test_the_unsure_half_comes_first_and_twins_are_not_asked_for_twice():
    uncertainty = np.array([0.9, 0.8, 0.7, 0.1, 0.1, 0.1])
    features = unit([1, 0], [1, 0.01], [0, 1], [1, 0], [0, 1], [-1, 0])
    order, gains = suggest(uncertainty, features, np.zeros((0, 2)))
    assert set(order[:3]) == {0, 1, 2}
    assert 2 in order[:2]  # 0 and 1 are alike: after one of them, 2 adds more than the other
    assert sorted(order) == list(range(6))
    assert all(gain >= 0 for gain in gains)


def test_what_is_like_a_labelled_case_waits():
    uncertainty = np.full(3, 0.5)
    features = unit([1, 0], [0, 1], [1, 0])
    order, _ = suggest(uncertainty, features, unit([1, 0]))
    assert order.index(1) == 0


def test_cases_of_imagests_are_ranked(trained_model, dataset_folder, make_case, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(dataset_folder, folder)
    (folder / "imagesTs").mkdir()
    for seed, noise in ((20, 0.15), (21, 1.5), (22, 0.15)):
        write_image(make_case(seed, noise)[0], folder / "imagesTs" / f"new_{seed}.nii.gz")
    model = load_model(find(trained_model))
    order = rank_cases(model, read_dataset(folder))
    assert {entry.id for entry in order} == {"new_20", "new_21", "new_22"}
    scores = [entry.score for entry in order]
    assert scores == sorted(scores, reverse=True)
    assert max(order, key=lambda entry: entry.uncertainty).id == "new_21"  # the noisy one
    with pytest.raises(Cancelled):
        rank_cases(model, read_dataset(folder), cancelled=lambda: True)


def test_nothing_unlabelled_is_said(trained_model, dataset_folder):
    with pytest.raises(LLMBoostError, match="no unlabeled cases; put their images into imagesTs"):
        rank_cases(load_model(trained_model), read_dataset(dataset_folder))
