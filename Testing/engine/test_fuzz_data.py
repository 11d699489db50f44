"""Damaged data sets, logs, recipes, case stores, DICOM and messages: each is read, or refused with one line.

See fuzzing.py. JSON is damaged byte by byte, and told to say something else at any place.
"""

import io
import json

import numpy as np
import pytest
from hypothesis import strategies as st

from llmboost.image import Image
from llmboost.wire import Frame, write_frame

from .conftest import ellipsoids
from .dicom_samples import noise, write_enhanced, write_series
from .fuzzing import JSON, mutated, mutations, replaced

places = st.lists(st.integers(0, 99), min_size=1, max_size=4)
lies = st.lists(st.tuples(places, JSON), min_size=1, max_size=2)


def fuzz_json(fuzz, reader, path):
    """The JSON file at ``path``, whose lines may be an object each."""
    data = path.read_bytes()
    values = [json.loads(line) for line in data.splitlines()] if path.suffix == ".jsonl" else [json.loads(data)]

    def lie(changes):
        changed = values
        for place, new in changes:
            changed = (
                replaced(changed, [place[0], *place], new) if len(values) > 1 else [replaced(values[0], place, new)]
            )
        path.write_text("\n".join(map(json.dumps, changed)) + "\n", encoding="utf-8", errors="surrogatepass")

    fuzz(reader, path, lies, lie)
    path.write_bytes(data)
    fuzz(reader, path, mutations, lambda changes: path.write_bytes(mutated(data, changes)))


@pytest.mark.parametrize("name", ["dataset.json", "splits.json"])
def test_data_sets(fuzz, tmp_path, write_dataset, name):
    cases = {f"case_{seed}": ellipsoids(seed, shape=(8, 9, 8)) for seed in range(3)}
    ids = list(cases)
    folder = write_dataset(tmp_path / "set", cases, {"train": ids[:2], "val": ids[2:], "test": []})
    fuzz_json(fuzz, "dataset", folder / name)


@pytest.fixture
def image_set(tmp_path):
    random = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 6), ("val", 4), ("test", 4)):
        arrays[f"{split}_images"] = random.integers(0, 255, (count, 8, 8), np.uint8)
        arrays[f"{split}_labels"] = np.arange(count, dtype=np.uint8)[:, np.newaxis] % 2
    np.savez_compressed(tmp_path / "images.npz", **arrays)
    (tmp_path / "images.json").write_text(json.dumps({"name": "Images", "classes": ["a", "b"], "positive": "b"}))
    return tmp_path / "images.npz"


def test_image_sets(fuzz, image_set):
    data = image_set.read_bytes()
    fuzz("image set", image_set, mutations, lambda changes: image_set.write_bytes(mutated(data, changes)))


def test_descriptions_of_image_sets(fuzz, image_set):
    fuzz_json(fuzz, "image set", image_set.with_suffix(".json"))


def test_logs(fuzz, tmp_path):
    path = tmp_path / "log.jsonl"
    rows = [{"event": "validation", "step": n, "loss": 0.5, "dice": 0.4, "labels": {"1": 0.4}} for n in (1, 2)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    fuzz_json(fuzz, "log", path)


def test_recipes(fuzz, tmp_path):
    path = tmp_path / "mine.toml"
    data = b"""title = "A"
description = "B"
kind = "segmentation"
reference = "none"
seeds = [0, 1]
way = ["none", "frozen"]

[settings]
data = "phantom"
steps = 40
options = { stem = [4, 8, 8], width = 16 }

[arms.none]
booster = "none"

[arms.frozen.booster]
layers = [20]

[factors]
cases = [1, 2]

[tune]
rate = [1e-3, 1e-2]
"""
    path.write_bytes(data)
    fuzz("recipe", path, mutations, lambda changes: path.write_bytes(mutated(data, changes)))


def test_case_stores(fuzz, tmp_path):
    from LLMBoostLib.training.casestore import CaseStore, Kind

    image = Image(noise((6, 5, 4)), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3))
    store = CaseStore(tmp_path / "cases")
    store.add(image, [(Kind("liver"), image.array > 10)])
    fuzz_json(fuzz, "store", tmp_path / "cases" / "cases.json")


@pytest.mark.parametrize("write", [write_series, write_enhanced])
def test_dicom(fuzz, tmp_path, write):
    write(tmp_path / ("series" if write is write_series else "all.dcm"), noise((2, 6, 5)))
    path = next(path for path in sorted(tmp_path.rglob("*.dcm")))
    data = path.read_bytes()
    fuzz("dicom", path, mutations, lambda changes: path.write_bytes(mutated(data, changes)))


def test_messages(fuzz, tmp_path):
    path, stream = tmp_path / "frames", io.BytesIO()
    for n in range(2):
        write_frame(stream, Frame(n, "request", {"model": "a"}, {"volume": np.zeros((3, 4, 5), np.int16)}))
    path.write_bytes(data := stream.getvalue())
    fuzz("frame", path, mutations, lambda changes: path.write_bytes(mutated(data, changes)))
