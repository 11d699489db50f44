"""How many patches an image takes, with a smaller overlap fewer; what that takes is told before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from Testing.engine.nnunet_samples import nnunet_network, write_results

from llmboost.card import Tiling
from llmboost.card.tiles import can_be_faster, faster, patch_count
from llmboost.errors import LLMBoostError
from llmboost.foreign import import_foreign
from llmboost.inference.pace import about, expected_seconds
from llmboost.inference.predict import tile
from llmboost.inference.segment import segment
from llmboost.io.image import Image
from llmboost.library import FOLDER_VARIABLE, find
from llmboost.model import load_model


@pytest.fixture
def imported(tmp_path, monkeypatch):
    """A model that nnU-Net made, of patches of 20 x 16 x 12 voxels of 1, 1.25 and 1.5 mm."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "models"))
    write_results(tmp_path / "results", {0: nnunet_network()})
    return load_model(find(import_foreign(tmp_path / "results", terms="CC0").name))


def image(shape):
    array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return Image(array, (1.0, 1.25, 1.5), (0.0, 0.0, 0.0), np.eye(3))


@pytest.mark.parametrize("shape", [(20, 16, 12), (21, 16, 12), (60, 40, 40), (5, 5, 5)])
@pytest.mark.parametrize("overlap", [0.5, 0.2])
@pytest.mark.parametrize("places", ["even", "fixed"])
def test_patches_are_counted_as_they_are_computed(imported, shape, overlap, places):
    card = replace(imported.card, tiling=replace(imported.card.tiling, overlap=overlap, places=places))
    computed = tile(torch.zeros(1, *shape), card.preprocessing.patch_size, card.tiling)[1]
    assert patch_count(card, np.multiply(shape, card.preprocessing.spacing)) == len(computed)


def test_a_2d_model_looks_at_each_slice(imported):
    steps = replace(imported.card.preprocessing, patch_size=(20, 16, 1), spacing=(1.0, 1.0, 4.0))
    card = replace(imported.card, preprocessing=steps)
    assert patch_count(card, (20.0, 16.0, 40.0)) == 10


def test_seconds_are_told_where_there_are_many_patches(imported):
    few, many = image((20, 16, 12)), image((80, 60, 50))
    assert expected_seconds(imported, few) is None
    assert 0 < expected_seconds(imported, many) < 600
    assert about(None) == ""
    assert (about(0.2), about(42.4), about(200)) == ("about 1 s", "about 42 s", "about 3 min")


def test_the_fast_mode_computes_fewer_patches_and_nearly_the_same(imported):
    case = image((60, 40, 30))
    quick = imported.faster()
    extent = np.multiply(case.shape, case.spacing)
    assert patch_count(quick.card, extent) < patch_count(imported.card, extent)
    usual, fast = (segment(model, [case]).labelmap.array for model in (imported, quick))
    assert 0.5 < (usual == fast).mean() < 1


def test_where_a_fast_mode_saves_nothing_it_is_refused(imported):
    card = replace(imported.card, tiling=Tiling(overlap=0.1))
    assert not can_be_faster(card)
    with pytest.raises(LLMBoostError, match="has no fast mode"):
        replace(imported, card=card).faster()
    with pytest.raises(LLMBoostError, match="has no fast mode"):  # it looks at a patch a structure
        load_model(find("hippocampus")).faster()
    assert faster(card).tiling.overlap == 0.1
