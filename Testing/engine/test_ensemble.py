"""Several networks in one model file: the mean of their probabilities, wherever one network would do."""

import dataclasses

import numpy as np
import pytest
import torch

from llmboost.card import Label, Preprocessing, read_card
from llmboost.ensemble import combine
from llmboost.errors import LLMBoostError
from llmboost.explanation.maps import relevance
from llmboost.inference.mirror import Mirrored
from llmboost.inference.predict import predict
from llmboost.inference.segment import segment
from llmboost.io.dataset import read_dataset
from llmboost.io.image import read_image
from llmboost.learn.ranking import look
from llmboost.model import load_model, save_model
from llmboost.networks import build, describe
from llmboost.networks.hybrid_vit import HybridViT, HybridViTConfig

from .booster_samples import WIDTH, randomize, small_booster

TINY = {"stem": (4, 8, 8), "width": 16, "depth": 2, "heads": 2}


@pytest.fixture
def member(tmp_path, tiny_network, tiny_card):
    """``member(seed, **fields)`` gives the path of a model file; ``fields`` are its card's."""

    def make(seed, name="", width=16, **fields):
        network = tiny_network(seed, width=width)
        path = tmp_path / f"{name or f'member_{seed}'}.safetensors"
        save_model(network, tiny_card(network, **{"name": path.stem, **fields}), path)
        return path

    return make


@pytest.fixture
def pair(member, tmp_path):
    """Two models, and the ensemble of them."""
    models = [load_model(member(seed)) for seed in (0, 1)]
    combine(models, tmp_path / "both.safetensors")
    return models, load_model(tmp_path / "both.safetensors")


def test_probabilities_are_the_mean_of_the_members(pair):
    models, both = pair
    both_ways = (Mirrored(), Mirrored((0,)))
    volume, size = torch.randn(1, 30, 32, 24, generator=torch.Generator().manual_seed(0)), (24, 32, 24)
    each = [predict(model.network, volume, size, mirror=both_ways) for model in models]
    assert not torch.allclose(*each, atol=1e-3)
    assert torch.allclose(predict(both.network, volume, size, mirror=both_ways), sum(each) / 2, atol=1e-5)


def test_the_card_and_a_second_round(pair, tmp_path):
    models, both = pair
    card = read_card(tmp_path / "both.safetensors")
    assert card == both.card
    assert card.name == "both"
    assert card.labels == models[0].card.labels
    assert card.preprocessing == models[0].card.preprocessing
    assert card.network == {
        "name": "ensemble",
        "members": 2,
        "average": "probabilities",
        "network": models[0].card.network,
    }
    assert [origin["digest"] for origin in card.training["members"]] == [model.card.digest for model in models]
    assert card.figures == {}
    save_model(both.network, card, tmp_path / "again.safetensors")
    assert load_model(tmp_path / "again.safetensors").card.digest == card.digest


def test_an_ensemble_counts_as_its_members(pair, member, tmp_path):
    models, both = pair
    third = load_model(member(2))
    combine([both, third], tmp_path / "three.safetensors")
    three = load_model(tmp_path / "three.safetensors")
    volume, size = torch.zeros(1, 24, 32, 24), (24, 32, 24)
    each = [predict(model.network, volume, size) for model in (*models, third)]
    assert three.card.network["members"] == 3
    assert torch.allclose(predict(three.network, volume, size), sum(each) / 3, atol=1e-5)


def test_members_keep_their_boosters(tmp_path, tiny_card):
    models = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        config = HybridViTConfig(**{**TINY, "width": WIDTH})
        network = HybridViT(config, randomize(small_booster(q4=True), seed))
        save_model(network, tiny_card(network, name=f"m{seed}"), tmp_path / f"m{seed}.safetensors")
        models.append(load_model(tmp_path / f"m{seed}.safetensors"))
    combine(models, tmp_path / "both.safetensors")
    both = load_model(tmp_path / "both.safetensors")
    assert both.card.booster == models[0].card.booster != {}
    image = torch.randn(1, 1, 24, 32, 24, generator=torch.Generator().manual_seed(0))
    mean = sum(model.network(image).softmax(dim=1) for model in models) / 2
    assert torch.allclose(both.network(image).softmax(dim=1), mean, atol=1e-5)


@pytest.mark.parametrize("method", ["grad-cam", "attention-rollout"])
def test_maps_are_the_mean_of_the_members(pair, method):
    models, both = pair
    images = torch.randn(1, 1, 24, 32, 24, generator=torch.Generator().manual_seed(0))

    def explained(model):
        return relevance(model.network, images, method, "after", lambda logits: logits[:, 1].sum())

    assert torch.allclose(explained(both), (explained(models[0]) + explained(models[1])) / 2)


def test_the_commands_take_an_ensemble(llmboost, member, dataset_folder, tmp_path):
    path = tmp_path / "both.safetensors"
    done = llmboost("models", "combine", member(0), member(1), "--output", path)
    assert "2 networks together" in done.out
    image = dataset_folder / "imagesTr" / "case_7.nii.gz"
    assert llmboost("segment", image, "--model", path, "--output", tmp_path / "out", "--explain").status == 0
    assert '"ensemble"' in llmboost("models", "show", path, "--json").out
    assert llmboost("evaluate", dataset_folder, "--model", path, "--json", tmp_path / "e.json").status == 0
    assert llmboost("models", "import", path).status == 0
    assert "both" in llmboost("models", "list").out


def test_segments_and_explains(pair, dataset_folder):
    image = read_image(dataset_folder / "imagesTr" / "case_7.nii.gz")
    found = segment(pair[1], [image], probabilities=True, entropy=True)
    assert found.labelmap.same_grid(image)
    assert np.allclose(found.probabilities.array.sum(axis=0), 1, atol=1e-3)


def test_cases_are_ranked_by_an_ensemble(pair, dataset_folder):
    uncertainty, feature = look(pair[1], next(iter(read_dataset(dataset_folder).cases.values())))
    assert uncertainty > 0
    assert np.linalg.norm(feature) == pytest.approx(1)


def test_an_ensemble_is_no_base_to_adapt(refusal, pair, dataset_folder, tmp_path):
    base = tmp_path / "both.safetensors"
    line = refusal("adapt", base, dataset_folder, "--output", tmp_path / "a.safetensors", "--steps", 1)
    assert "'both' is an ensemble, which cannot be adapted; adapt one of the models in it" in line


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"labels": (Label(1, "front", (1, 2, 3)), Label(2, "rear", (4, 5, 6)))}, "labels"),
        ({"preprocessing": Preprocessing(patch_size=(24, 24, 24))}, "preprocessing"),
        ({"width": 32}, "network or booster"),
        ({"largest_component": True}, "what is kept of what they draw"),
    ],
)
def test_models_that_differ_are_refused(refusal, member, tmp_path, fields, what):
    line = refusal("models", "combine", member(0), member(1, "other", **fields), "--output", tmp_path / "e.safetensors")
    assert f"models 'member_0' and 'other' differ in {what}; combine models that were trained alike" in line
    assert not (tmp_path / "e.safetensors").exists()


def test_the_same_model_twice_one_alone_and_a_file_in_the_way(refusal, member, tmp_path):
    first, other, path = member(0), member(1), tmp_path / "e.safetensors"
    assert "are the same one" in refusal("models", "combine", first, first, "--output", path)
    assert "needs two models or more" in refusal("models", "combine", first, "--output", path)
    path.write_bytes(b"mine")
    assert "exists already" in refusal("models", "combine", first, other, "--output", path)
    assert path.read_bytes() == b"mine"


@pytest.mark.parametrize(
    "entry",
    [
        {"members": 2, "network": {"name": "ensemble", "members": 2}},
        {"members": 10**9, "network": {"name": "hybrid-vit"}},
        {"members": "2", "network": {"name": "hybrid-vit"}},
        {"members": 2, "network": "hybrid-vit"},
        {"members": 2},
    ],
)
def test_a_card_that_lies_about_its_ensemble(pair, tmp_path, entry):
    _, both = pair
    path = tmp_path / "lie.safetensors"
    save_model(both.network, dataclasses.replace(both.card, network={"name": "ensemble", **entry}), path)
    with pytest.raises(LLMBoostError, match="do not fit the card"):
        load_model(path)


def test_a_training_of_an_ensemble_is_refused(refusal, dataset_folder, tmp_path):
    line = refusal(
        "train", dataset_folder, "--output", tmp_path / "m.safetensors", "--steps", 1, "--network", "ensemble"
    )
    assert "llmboost models combine" in line


def test_describe_is_what_builds_it(pair):
    entry, booster = describe(pair[1].network)
    options = {key: value for key, value in entry.items() if key != "name"}
    assert describe(build(entry["name"], options, booster))[0] == entry
