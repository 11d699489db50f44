"""Damaged files of data sets and trainings: read, or refused with one line, whatever their bytes.

Nothing is read by foreign libraries' C++ here, as in test_fuzz.py, so that this process reads.
"""

import dataclasses
import io
import json
import random
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch

from llmboost.bench.recipe import read_recipe, shipped
from llmboost.bench.runner import ROWS, read_rows
from llmboost.card import METADATA_KEY, Adapter
from llmboost.errors import LLMBoostError
from llmboost.io.dataset import read_dataset
from llmboost.io.imageset import read_image_set
from llmboost.learn.adaptation.runs import known_run
from llmboost.learn.checkpoint import DIGEST, KEY, _digest, differences
from llmboost.learn.curve import draw_curve
from llmboost.learn.segmentation import SegmentationTask
from llmboost.learn.trainer import CHECKPOINT, LOG, Trainer, TrainingConfig
from llmboost.model import load_model, save_tensors

from .class_samples import three_splits, write_npz
from .training_samples import STEPS

NASTY = [
    "null",
    "true",
    "-1",
    "1.5",
    "1e999",
    "NaN",
    '""',
    '"\\ud800"',
    '"\\u0000"',
    "[]",
    "{}",
    "[[1]]",
    '{"a": 1}',
    "70000",
]
NASTY += [str(2**40), str(10**400), "[" * 3000, '{"a":' * 3000, "\ufeff", "\x00", "\u2028"]
EXAMPLES, SLOW_EXAMPLES = 10, 170


def of_bytes(data: bytes, chance: random.Random) -> bytes:
    """Some bytes changed, cut, repeated, or replaced by what readers stumble over."""
    for _ in range(chance.randint(1, 4)):
        at = int(len(data) * chance.random() ** 2)
        match chance.randrange(4):
            case 0:
                data = data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
            case 1:
                data = data[:at] + data[at + chance.randint(1, 40) :]
            case 2:
                data = data[:at] + chance.choice(NASTY).encode("utf-8", "surrogatepass") + data[at:]
            case 3:
                data = data[: at + chance.randint(1, 200)] + data[at:]
    return data


def of_values(value, chance: random.Random):
    """A JSON value with one of its parts replaced; gives its text."""
    mark = "@@@"

    def places(part, path=()):
        yield path
        entries = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
        for key, below in entries:
            yield from places(below, (*path, key))

    value = json.loads(json.dumps(value))
    *parents, last = chance.choice([path for path in places(value) if path])
    part = value
    for key in parents:
        part = part[key]
    part[last] = mark
    return json.dumps(value).replace(f'"{mark}"', chance.choice(NASTY))


@pytest.fixture
def examples(request):
    return SLOW_EXAMPLES if request.config.getoption("--slow") else EXAMPLES


def survives(read, write, data, value, examples, seed):
    """``read`` after each of so many mutations of bytes and of values, which ``write`` writes."""
    chance = random.Random(seed)
    refused = 0
    for _ in range(examples):
        mutant = of_bytes(data, chance) if value is None or chance.random() < 0.5 else of_values(value, chance).encode()
        write(mutant)
        try:
            read()
        except LLMBoostError as error:
            refused += 1
            for line in str(error).split("\n  "):
                assert "\n" not in line
                assert len(line) < 700
    return refused


def test_descriptions_of_data_sets(tmp_path, write_dataset, make_case, examples):
    cases = {f"c{n}": make_case(n, shape=(6, 6, 6)) for n in range(3)}
    folder = write_dataset(tmp_path / "x", cases, {"train": ["c0"], "val": ["c1"], "subjects": {"c0": "a", "c1": "b"}})
    for name in ("dataset.json", "splits.json"):
        path = folder / name
        data = path.read_bytes()
        assert survives(lambda: read_dataset(folder), path.write_bytes, data, json.loads(data), 2 * examples, name)
        path.write_bytes(data)


def test_labelled_images(tmp_path, examples):
    path = write_npz(tmp_path / "x.npz", three_splits(counts=(6, 4, 4)))
    beside, data = path.with_suffix(".json"), path.read_bytes()
    assert survives(lambda: read_image_set(path), path.write_bytes, data, None, 2 * examples, 1)
    path.write_bytes(data)
    about = {"classes": ["a", "b"], "positive": "b", "ordinal": False, "modality": "US", "name": "x"}
    text = json.dumps(about).encode()
    assert survives(lambda: read_image_set(path), beside.write_bytes, text, about, 2 * examples, 2)
    beside.unlink()
    stream = io.BytesIO()
    np.savez(stream, **dict(np.load(path)))
    assert survives(lambda: read_image_set(path), path.write_bytes, stream.getvalue(), None, 2 * examples, 3)


def test_logs(tmp_path, examples):
    row = {"event": "validation", "step": 1, "loss": 0.5, "dice": 0.5, "labels": {"1": 0.5, "2": None}, "auc": 0.5}
    rows = [row, {**row, "step": 2}, {"event": "resumed", "step": 2}, {**row, "step": 3}]
    chance = random.Random(4)
    for _ in range(examples):
        lines = [of_values(row, chance) if chance.random() < 0.5 else json.dumps(row) for row in rows]
        text = "\n".join(lines).encode("utf-8", "surrogatepass")
        (tmp_path / LOG).write_bytes(of_bytes(text, chance) if chance.random() < 0.5 else text)
        draw_curve(tmp_path)


def test_checkpoints(tmp_path, tiny_network, volumes, examples):
    def trainer():
        config = TrainingConfig(steps=1, validations=1)
        task = SegmentationTask(volumes[0][:1], volumes[1][:1], STEPS, config)
        return Trainer(tiny_network(), task, tmp_path, torch.device("cpu"))

    trainer().run()
    path = tmp_path / CHECKPOINT
    data = path.read_bytes()
    again = trainer()
    again.resume()
    refused = survives(again.resume, path.write_bytes, data, None, examples, 5)
    assert refused > 0.9 * examples, "a flipped byte is a refusal"

    with safetensors.safe_open(io_path(path, data), framework="pt") as file:
        progress = json.loads(file.metadata()[KEY])
    tensors = safetensors.torch.load_file(path)

    def write(text: bytes) -> None:
        """With the digest that belongs to it."""
        text = text.decode("utf-8", "replace").replace("\x00", "")
        safetensors.torch.save_file(tensors, path, {KEY: text, DIGEST: _digest(tensors, text)})

    survives(again.resume, write, json.dumps(progress).encode(), progress, examples, 6)


def io_path(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_cards_of_adapters(tmp_path, tiny_model, tiny_network, tiny_card, library_folder, examples):
    base = load_model(tiny_model)
    adapter = Adapter("tiny", "1.0", base.card.digest, 1, ("0" * 64,), {"rate": 1e-3, "task": "improve"})
    path = tmp_path / "mine.safetensors"
    card = save_tensors(base.network.state_dict(), dataclasses.replace(base.card, name="mine", adapter=adapter), path)
    assert load_model(path).card == card
    tensors = safetensors.torch.load_file(path)

    def write(text: bytes) -> None:
        text = text.decode("utf-8", "replace").replace("\x00", "")
        safetensors.torch.save_file(tensors, path, {METADATA_KEY: text})

    text = card.to_json()
    assert survives(lambda: load_model(path), write, text.encode(), json.loads(text), 2 * examples, 7)


def test_runs_rows_and_recipes(tmp_path, examples):
    run = {"base_digest": "0" * 64, "settings": {"rate": 0.1}, "training cases": {"a": "b"}, "labels": {"label 1": "x"}}
    path = tmp_path / "adapt.json"
    survives(lambda: differences(known_run(path), run), path.write_bytes, json.dumps(run).encode(), run, examples, 8)
    row = {"row": "a-0", "settings": {"a": 1}, "figures": {"val": 0.5}}
    survives(lambda: read_rows(tmp_path), (tmp_path / ROWS).write_bytes, json.dumps(row).encode(), row, examples, 9)
    import llmboost.bench.recipe as module

    source = (module.SHIPPED / f"{shipped()[0]}.toml").read_text(encoding="utf-8").encode()
    recipe = tmp_path / "r.toml"
    survives(lambda: read_recipe(str(recipe)), recipe.write_bytes, source, None, examples, 10)
    recipe.write_text("a = " + "[" * 100_000)
    with pytest.raises(LLMBoostError, match="no valid TOML"):
        read_recipe(str(recipe))
