"""What a model's own figures say of it, and who is told when it has learned nothing."""

import dataclasses
import json

import numpy as np
import pytest
import safetensors.torch
import torch

from llmboost.card import CLASSIFICATION, Card, Classification, Label, read_card
from llmboost.card.figures import measured
from llmboost.errors import LLMBoostError
from llmboost.inference.segment import segment
from llmboost.jsonfile import parse_json, read_json
from llmboost.library import find, import_model
from llmboost.model import load_model, save_model, save_tensors

GOOD = {"val_dice": 0.8, "val_dice_per_label": {"1": 0.8, "2": 0.8}}
NOTHING = {"val_dice": 0.031, "val_dice_per_label": {"1": 0.06, "2": 0.0}}


@pytest.fixture
def card(tiny_network, tiny_card):
    return tiny_card(tiny_network())


@pytest.fixture
def make_model(tiny_network, tiny_card, tmp_path):
    def make(figures, name="tiny"):
        network = tiny_network()
        path = tmp_path / f"{name}.safetensors"
        save_model(network, tiny_card(network, name=name, figures=figures), path)
        return path

    return make


def classifier(card: Card, **figures) -> Card:
    labels = tuple(Label(n, name, (0, 0, n)) for n, name in enumerate(("a", "b", "c")))
    return dataclasses.replace(
        card, task=CLASSIFICATION, labels=labels, classification=Classification(), figures=figures
    )


@pytest.mark.parametrize(
    ("figures", "text", "doubt"),
    [
        ({}, "not measured", ""),
        (GOOD, "Dice 0.80 on validation cases", ""),
        (NOTHING, "Dice 0.03 on validation cases", "has learned nothing (Dice 0.03 on validation cases)"),
        ({**GOOD, "val_dice_per_label": {"1": 0.8, "2": 0.02}}, "Dice 0.80", "has not learned back (Dice 0.02 on"),
        ({**GOOD, "val_dice_per_label": {"1": 0.8}}, "Dice 0.80", ""),
        ({**NOTHING, "test_mean_dice": 0.7}, "Dice 0.70 on test cases", ""),
        ({"before": 0.02, "after": 0.04}, "Dice 0.04 on held-out cases", "has learned nothing (Dice 0.04 on held-out"),
        ({"before": None, "after": None}, "not measured", ""),
        ({**GOOD, "not_taught": ["back"]}, "Dice 0.80", "had no training case with back"),
    ],
    ids=str,
)
def test_of_a_segmenter(card, figures, text, doubt):
    card = dataclasses.replace(card, figures=figures)
    assert measured(card).startswith(text)
    assert doubt in card.doubts
    assert bool(card.doubts) == bool(doubt)
    assert not doubt or card.doubts.startswith("model 'tiny' ")


@pytest.mark.parametrize(
    ("figures", "doubt"),
    [
        ({"val_auc": 0.9}, ""),
        ({"val_auc": 0.5}, "no better than guessing"),
        ({"val_auc": 0.6, "val_auc_ci95": [0.42, 0.75]}, "AUC 0.60 on validation cases, 95 % interval 0.42 to 0.75"),
        ({"val_auc": 0.6, "val_auc_ci95": [0.52, 0.68]}, ""),
        ({"val_auc": 0.7, "val_balanced_accuracy": 1 / 3}, "gives all validation cases the same class"),
        ({"val_auc": 0.7, "val_sensitivity": 1.0, "val_specificity": 0.0}, "the same class"),
        ({"val_auc": 0.7, "val_sensitivity": 0.6, "val_specificity": 0.7, "val_balanced_accuracy": 1 / 3}, ""),
        ({"after": 0.4}, "AUC 0.40 on held-out cases"),
    ],
    ids=str,
)
def test_of_a_classifier(card, figures, doubt):
    found = classifier(card, **figures).doubts
    assert doubt in found
    assert bool(found) == bool(doubt)


def test_of_the_shipped_models(library_folder):
    from llmboost.library import installed

    for path in installed().values():
        assert read_card(path).doubts == ""
        assert measured(read_card(path)) != "not measured"


def test_importing_what_has_learnt_nothing_needs_a_word(llmboost, refusal, make_model, library_folder):
    path = make_model(NOTHING, "empty")
    line = refusal("models", "import", path)
    assert line.startswith(f"{path}: model 'empty' has learned nothing (Dice 0.03 on validation cases)")
    assert "--anyway" in line
    assert not library_folder.exists()
    done = llmboost("models", "import", path, "--anyway")
    assert done.status == 0
    assert "has learned nothing" in done.err
    listed = llmboost("models", "list")
    assert "has learned nothing" in listed.err
    assert "has learned nothing" in llmboost("models", "show", "empty").out


def test_segmenting_with_it_warns(make_model, make_case):
    image, _ = make_case(0)
    assert "has learned nothing" in segment(load_model(make_model(NOTHING)), [image]).warnings[0]
    assert not any("learned" in line for line in segment(load_model(make_model(GOOD, "good")), [image]).warnings)


def test_an_adapters_base_is_listed(llmboost, make_model, library_folder, tmp_path):
    base = import_model(make_model(GOOD, "base"))
    from llmboost.card import Adapter

    network = load_model(find("base")).network
    adapter = dataclasses.replace(base, name="mine", title="Mine", adapter=Adapter("base", "1.0", base.digest, 1))
    save_tensors(network.state_dict(), adapter, library_folder / "mine.safetensors")
    words = llmboost("models", "list").out.split()
    assert {"(adapted", "1.0)"} <= set(words)


# -- numbers that are none


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.bfloat16])
def test_weights_that_are_no_numbers_are_refused_everywhere(make_model, library_folder, value, dtype):
    path = make_model(GOOD)
    header = safetensors.safe_open(path, framework="pt").metadata()
    tensors = {
        name: t.to(dtype) if t.is_floating_point() else t for name, t in load_model(path).network.state_dict().items()
    }
    name = sorted(tensors)[-1]
    tensors[name].view(-1)[-1] = value
    import hashlib

    data = safetensors.torch.save(tensors)
    digest = hashlib.sha256(data[8 + int.from_bytes(data[:8], "little") :]).hexdigest()
    card = json.loads(header["llmboost_card"]) | {"digest": digest}
    safetensors.torch.save_file(tensors, path, {"llmboost_card": json.dumps(card)})
    for use in (load_model, import_model):
        with pytest.raises(LLMBoostError, match=f"no numbers .NaN or infinite, in {name}"):
            use(path)
    assert not library_folder.exists()


def test_the_largest_numbers_are_numbers(make_model):
    path = make_model(GOOD)
    model = load_model(path)
    tensors = dict(model.network.state_dict())
    name = sorted(tensors)[0]
    tensors[name] = torch.full_like(tensors[name], torch.finfo(torch.float16).max)
    save_tensors(tensors, model.card, path)
    load_model(path)


def test_a_figure_that_is_no_number_is_not_written(tiny_network, tiny_card, tmp_path):
    network = tiny_network()
    with pytest.raises(LLMBoostError, match="a figure of its card is no finite number"):
        save_model(network, tiny_card(network, figures={"val_dice": float("nan")}), tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


# -- cards


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"figures": {"val_dice": float("nan")}}, "NaN is no number"),
        ({"figures": {"a": [{"b": float("inf")}]}}, "Infinity is no number"),
        ({"training": {"minutes": 10**40}}, "training"),
        ({"preprocessing.channels": True}, "preprocessing.channels: True"),
        ({"largest_component": 1}, "largest_component: 1"),
        ({"labels.value": True}, "labels"),
        ({"labels.value": 2}, "two labels have the value 2"),
        ({"labels.value": 0}, "label value 0"),
        ({"labels.value": -1}, "label value -1"),
        ({"labels.value": 65536}, "label value 65536"),
        ({"labels.value": 2**40}, "label value"),
        ({"labels.name": "BACK "}, "values 1 and 2 are both called back"),
        ({"labels.name": "a\0b"}, "the name"),
        ({"name": "a\0b"}, "the name"),
        ({"name": "a\nb"}, "the name"),
        ({"name": "\ud800"}, "not a LLMBoost model"),
        ({"format": 10**3000}, "written by a newer LLMBoost"),
    ],
    ids=lambda change: str(change)[:40],
)
def test_damaged_cards(card, change, text):
    raw = json.loads(card.to_json())
    for key, value in change.items():
        *parents, last = key.split(".")
        place = raw
        for parent in parents:
            place = place[parent][0] if isinstance(place[parent], list) else place[parent]
        place[last] = value
    with pytest.raises(LLMBoostError) as refused:
        Card.from_json(json.dumps(raw), "here")
    message = str(refused.value)
    assert text in message
    assert message.startswith("here: ")
    assert "\n" not in message
    assert len(message) < 300


def test_infinity_written_as_a_large_number(card):
    text = card.to_json().replace('"figures": {}', '"figures": {"val_dice": 1e999}')
    with pytest.raises(LLMBoostError, match="not a LLMBoost model"):
        Card.from_json(text, "here")


# -- JSON of others


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_encodings(tmp_path, encoding):
    path = tmp_path / "a.json"
    path.write_bytes('{"name": "Größe 肝"}'.encode(encoding))
    assert read_json(path) == {"name": "Größe 肝"}


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        '{"a":' * 200_000,
        '{"a": NaN}',
        '{"a": 1e999}',
        '{"a": 1' + "0" * 5000 + "}",
        '{"a": 1, "a": 2}',
        '{"a": "\\ud800"}',
        "{",
        "\xff",
    ],
    ids=lambda text: text[:20],
)
def test_no_json(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(LLMBoostError, match="no valid JSON") as refused:
        read_json(path)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < len(str(path)) + 150


def test_ordinary_numbers_are_read(card):
    assert parse_json('{"a": [1.5e300, -3, true, null, 0.1]}') == {"a": [1.5e300, -3, True, None, 0.1]}
    assert np.isclose(parse_json("0.1"), 0.1)


def test_pipes_and_folders_are_no_json(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LLMBoostError, match="a pipe"):
        read_json(tmp_path / "pipe")
    with pytest.raises(LLMBoostError, match="a folder"):
        read_json(tmp_path)
    huge = tmp_path / "huge.json"
    with huge.open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(LLMBoostError, match="larger than 64 MB"):
        read_json(huge)
