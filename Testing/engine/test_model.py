"""Model files and their cards: whole, or refused with one line."""

import dataclasses
import hashlib
import json
import resource
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import llmboost
from llmboost.card import (
    CLASSIFICATION,
    LEFT,
    METADATA_KEY,
    RIGHT,
    SEGMENTATION,
    Card,
    Cascade,
    Classification,
    Code,
    Label,
    Normalization,
    Preprocessing,
    Target,
    read_card,
    tensor_digest,
)
from llmboost.errors import LLMBoostError
from llmboost.model import load_model, save_model

CARD = Card(
    name="liver",
    title="Leber, 肝",
    description='With "quotes", a \\ and\na line break',
    task=SEGMENTATION,
    labels=(
        Label(1, "Liver", (221, 130, 101), type=Code("SCT", "10200004", "Liver")),
        Label(4, "Left kidney", (185, 102, 83), modifier=Code("SCT", "7771000", "Left")),
    ),
    modality="CT",
    preprocessing=Preprocessing(
        2, (0.8, 0.8, 5.0), (64, 64, 16), (Normalization("window", -100, 200, 50, 75), Normalization()), (0, 2)
    ),
    network={"name": "hybrid-vit", "strides": [[2, 2, 1]], "dropout": 0.1},
    booster={"source": "smollm2", "layers": [20], "natural_rms": 9.3},
    largest_component=True,
    license="Apache-2.0",
    training={"steps": 5, "seed": 0},
    figures={"val_dice": 0.91},
    version="2.1",
    digest="0" * 64,
)


def parts(path):
    """The header as a dict and the tensor section of a safetensors file."""
    data = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def assemble(path, header, tensors):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + tensors)


def with_card(path, **changes):
    """Change the card inside the model file, and nothing else."""
    header, tensors = parts(path)
    card = json.loads(header["__metadata__"][METADATA_KEY])
    header["__metadata__"][METADATA_KEY] = json.dumps({**card, **changes})
    assemble(path, header, tensors)
    return card


def refusal(path):
    with pytest.raises(LLMBoostError) as error:
        load_model(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) - len(str(path)) < 250
    return message


def assert_loads_or_refuses(path):
    message = None
    try:
        load_model(path)
    except LLMBoostError as error:
        message = str(error)
    assert message is None or message.startswith(f"{path}: ")


# the card


def test_cards_survive_json():
    assert Card.from_json(CARD.to_json()) == CARD
    assert CARD.classes == 3


def test_a_cascade_survives_json():
    targets = (Target("Left liver", LEFT), Target("Right liver", RIGHT, mirror=True))
    card = dataclasses.replace(CARD, cascade=Cascade("body", targets, "body", (900.0, 9e5), (0.5, 2e4)))
    assert Card.from_json(card.to_json()) == card


def test_cards_from_before_cascades_are_read():
    raw = json.loads(CARD.to_json())
    del raw["cascade"]
    for label in raw["labels"]:
        del label["region"], label["region_modifier"]
    assert Card.from_json(json.dumps(raw)) == CARD


@pytest.mark.parametrize(
    ("entry", "former", "today"),
    [
        ("preprocessing", "window", "patch_size"),
        ("network", "window", "image_size"),
        ("network", "fold", "unshuffle"),
        ("classification", "framing", "input_region"),
    ],
)
def test_names_of_former_cards_are_read(entry, former, today):
    network = {"name": "plain-vit", "image_size": [64, 64, 16], "unshuffle": 2}
    meaning = Classification(input_region="center", multi_label=True, thresholds=(0.5, 0.5))
    card = dataclasses.replace(CARD, network=network)
    if entry == "classification":
        card = dataclasses.replace(card, task=CLASSIFICATION, classification=meaning)
    raw = json.loads(card.to_json())
    raw[entry][former] = raw[entry].pop(today)
    assert Card.from_json(json.dumps(raw)) == card


@pytest.mark.parametrize("entry", ["spacing", "patch_size", "normalization", "mirror"])
def test_a_card_without_what_all_cards_have_is_damaged(entry):
    raw = json.loads(CARD.to_json())
    del raw["preprocessing"][entry]
    with pytest.raises(LLMBoostError, match=f"preprocessing.{entry} is missing"):
        Card.from_json(json.dumps(raw))


CASCADE = {
    "localizer": "body",
    "targets": [{"structure": "Left liver", "side": None, "mirror": False}],
    "subject": "body",
    "subject_ml": [900.0, 9e5],
    "target_ml": [0.5, 2e4],
}


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": [{"value": 1}]},
        *(
            {"cascade": {**CASCADE, **change}}
            for change in (
                {"localizer": 3},
                {"localizer": "liver"},
                {"targets": []},
                {"targets": CASCADE["targets"] * 2},
                {"targets": [{**CASCADE["targets"][0], "mirror": 1}]},
                {"targets": [{**CASCADE["targets"][0], "structure": "a\nb"}]},
                {"subject_ml": 0},
                {"subject_ml": [900.0]},
                {"subject_ml": [0, 5]},
                {"target_ml": [5, 2]},
                {"target_ml": [0.5, float("nan")]},
                {"certainty": 2},
                {"surprise": 1},
            )
        ),
        {"labels": 3},
        {"labels": [{**dataclasses.asdict(CARD.labels[0]), "color": [1, 2]}]},
        {"labels": [{**dataclasses.asdict(CARD.labels[0]), "color": [1, 2, 300]}]},
        {"labels": [{**dataclasses.asdict(CARD.labels[0]), "value": "1"}]},
        {"labels": [{**dataclasses.asdict(CARD.labels[0]), "type": {"scheme": "SCT"}}]},
        {"title": None},
        {"task": "cooking"},
        {"network": []},
        {"booster": None},
        {"surprise": 1},
        {"preprocessing": {}},
        *(
            {"preprocessing": {**dataclasses.asdict(CARD.preprocessing), **change}}
            for change in (
                {"spacing": [1, 1]},
                {"spacing": [1, 1, 0]},
                {"spacing": [1, 1, float("nan")]},
                {"spacing": [1, 1, float("inf")]},
                {"patch_size": [64, 64, 16.5]},
                {"patch_size": [64, 64, -16]},
                {"mirror": [3]},
                {"channels": 1},
                {"normalization": [{"kind": "zscore"}, {"kind": "magic"}]},
                {"normalization": [{"kind": "zscore"}, {"kind": "window", "std": 0}]},
            )
        ),
    ],
    ids=str,
)
def test_damaged_cards_are_refused(changes):
    raw = json.loads(CARD.to_json())
    with pytest.raises(LLMBoostError, match=r"^here: not a LLMBoost model"):
        Card.from_json(json.dumps({**raw, **changes}), "here")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"format"', "{}", "[" * 100_000])
def test_what_is_no_card(text):
    with pytest.raises(LLMBoostError, match=r"^here: not a LLMBoost model"):
        Card.from_json(text, "here")


def test_a_newer_card_asks_for_an_update():
    text = json.dumps({"format": 3, "novelty": True})
    with pytest.raises(LLMBoostError, match=r"newer LLMBoost.*update"):
        Card.from_json(text)


def test_reading_a_card_takes_no_torch(tiny_model):
    code = (
        "import sys, llmboost, llmboost.card\n"
        f"print(llmboost.card.read_card({str(tiny_model)!r}).title)\n"
        "print([name for name in ('torch', 'monai', 'transformers', 'numpy', 'SimpleITK') if name in sys.modules])"
    )
    folder = str(Path(llmboost.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": folder}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:2] == ["Tiny", "[]"]


# the file


def test_what_is_saved_is_loaded(tmp_path, tiny_network, tiny_card):
    network = tiny_network()
    path = tmp_path / "new" / "folder" / "tiny.safetensors"
    card = save_model(network, tiny_card(network), path)
    model = load_model(path)
    assert model.card.to_json() == card.to_json() == read_card(path).to_json()
    assert card.digest == hashlib.sha256(parts(path)[1]).hexdigest() == tensor_digest(path)
    assert not model.network.training
    assert not any(parameter.requires_grad for parameter in model.network.parameters())
    assert {tensor.dtype for tensor in model.network.state_dict().values()} == {torch.float32}
    image = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(model.network(image), network.eval()(image), atol=0.02, rtol=0.01)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_loaded_model_saved_again_is_the_same_file(tmp_path, tiny_model):
    model = load_model(tiny_model)
    save_model(model.network, model.card, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == tiny_model.read_bytes()


def test_truncated_and_longer_files(tiny_model):
    data = tiny_model.read_bytes()
    head = 8 + struct.unpack("<Q", data[:8])[0]
    for length in (0, 1, 7, 8, 9, head - 1, head, head + 1, len(data) // 2, len(data) - 1):
        tiny_model.write_bytes(data[:length])
        assert any(text in refusal(tiny_model) for text in ("not a model file", "copy it again"))
        with pytest.raises(LLMBoostError):
            read_card(tiny_model)
    for more in (b"\0", b"\0" * 4096):
        tiny_model.write_bytes(data + more)
        assert "expected" in refusal(tiny_model)


@pytest.mark.parametrize("place", [0.0, 0.3, 0.999])
def test_one_flipped_bit(tiny_model, place):
    header, tensors = parts(tiny_model)
    flipped = bytearray(tensors)
    flipped[int(place * len(tensors))] ^= 16
    assemble(tiny_model, header, bytes(flipped))
    assert "digest" in refusal(tiny_model)


def test_what_is_no_model_file(tmp_path):
    path = tmp_path / "a.safetensors"
    assert "no such file" in refusal(path)
    path.write_text("hello")
    assert "not a model file" in refusal(path)
    path.write_text("a long text, whose first eight letters are a number, too\n" * 99)
    assert "not a model file" in refusal(path)
    path.write_bytes(struct.pack("<Q", 200_000) + b"[" * 200_000)
    assert "not a model file" in refusal(path)
    assemble(path, [1, 2], b"")
    assert "not a model file" in refusal(path)
    assemble(path, {"a": {"dtype": "F16", "shape": [1], "data_offsets": [0, 1e999]}}, b"12")
    assert "table of tensors" in refusal(path)
    assert "a folder, but a file is needed" in refusal(tmp_path)


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}, {METADATA_KEY: 5}, [1], "text"])
def test_a_foreign_safetensors_file(tmp_path, metadata):
    path = tmp_path / "foreign.safetensors"
    safetensors.torch.save_file({"weight": torch.ones(3)}, path)
    header, tensors = parts(path)
    if metadata is not None:
        header["__metadata__"] = metadata
    assemble(path, header, tensors)
    assert "not a LLMBoost model" in refusal(path)


def test_a_newer_format_is_said_so(tiny_model):
    with_card(tiny_model, format=99)
    assert "newer LLMBoost" in refusal(tiny_model)


@pytest.mark.parametrize(
    "lie",
    [
        {"width": 10**6},
        {"width": 2**40},
        {"depth": 10**9},
        {"depth": 1},
        {"classes": 4},
        {"stem": []},
        {"stem": [-4, 8, 8]},
        {"stem": "abc"},
        {"strides": [[2, 2, 2], [2, 2, 2], [2, "2", 2]]},
        {"strides": [[2, 2, 2], [2, 2, 2], 2]},
        {"mlp_ratio": 1e300},
        {"colour": 1},
        {"name": "no-such-network"},
        {"name": ["hybrid-vit"]},
    ],
    ids=str,
)
def test_a_card_that_lies_about_the_network_takes_no_memory(tiny_model, lie):
    header, _ = parts(tiny_model)
    network = json.loads(header["__metadata__"][METADATA_KEY])["network"]
    with_card(tiny_model, network={**network, **lie})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "the weights do not fit the card" in refusal(tiny_model)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024  # KiB


@pytest.mark.parametrize("booster", [{"source": "smollm2"}, {"shape": 5}, {"layers": None}])
def test_a_card_that_lies_about_the_booster(tiny_model, booster):
    with_card(tiny_model, booster=booster)
    assert "the weights do not fit the card" in refusal(tiny_model)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e5])
def test_weights_that_are_no_numbers_are_not_saved(tmp_path, tiny_network, tiny_card, value):
    """1e5 is more than float16 holds."""
    network = tiny_network()
    path = tmp_path / "tiny.safetensors"
    with torch.no_grad():
        next(network.parameters()).view(-1)[0] = value
    with pytest.raises(LLMBoostError, match="not finite"):
        save_model(network, tiny_card(network), path)
    assert not list(tmp_path.iterdir())


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, tiny_model, monkeypatch):
    old = tiny_model.read_bytes()
    model = load_model(tiny_model)

    def half(path, data):
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", half)
        with pytest.raises(LLMBoostError, match=r"No space left on device.*free space"):
            save_model(model.network, model.card, tiny_model)
    assert tiny_model.read_bytes() == old
    assert list(tmp_path.iterdir()) == [tiny_model]


def test_unwritable_places(tmp_path, tiny_model):
    model = load_model(tiny_model)
    (tmp_path / "taken.safetensors").mkdir()
    for path in (tmp_path / "taken.safetensors", tiny_model / "below_a_file.safetensors"):
        with pytest.raises(LLMBoostError, match="cannot be written"):
            save_model(model.network, model.card, path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["taken.safetensors", "tiny.safetensors"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_headers_never_crash(tiny_model, data):
    """A few bytes of the header overwritten, most of them in the card."""
    good = tiny_model.read_bytes()
    head = 8 + struct.unpack("<Q", good[:8])[0]
    card = good.index(METADATA_KEY.encode())
    bad = bytearray(good)
    places = st.integers(0, head - 1) | st.integers(0, 7) | st.integers(card, min(card + 1400, head - 1))
    junk = st.binary(min_size=1, max_size=3) | st.sampled_from([b"0", b"9", b"-", b'"', b"]", b"}", b"null", b"1e9"])
    for place, piece in data.draw(st.lists(st.tuples(places, junk), min_size=1, max_size=3)):
        bad[place : place + len(piece)] = piece[: head - place]
    path = tiny_model.with_name("bad.safetensors")
    path.write_bytes(bad)
    assert_loads_or_refuses(path)


# any JSON value in the place of any value of the card
values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.floats() | st.sampled_from(["", "hybrid-vit", "zscore"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "kind"]), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_cards_with_any_value_anywhere_never_crash(tiny_model, data):
    header, tensors = parts(tiny_model)
    card = json.loads(header["__metadata__"][METADATA_KEY])
    node = card
    while True:
        key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        if not (isinstance(node[key], (dict, list)) and node[key] and data.draw(st.integers(0, 3))):
            break
        node = node[key]
    node[key] = data.draw(values)
    header["__metadata__"][METADATA_KEY] = json.dumps(card)
    path = tiny_model.with_name("bad.safetensors")
    assemble(path, header, tensors)
    assert_loads_or_refuses(path)


# where memory is short


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"
        ),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        OSError(12, "Cannot allocate memory"),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("where", ["load_file", "_digest"])
def test_a_lack_of_memory_is_no_damage(tiny_model, monkeypatch, error, where):
    def fail(*arguments):
        raise error

    if where == "load_file":
        monkeypatch.setattr(safetensors.torch, "load_file", fail)
    else:
        monkeypatch.setattr("llmboost.card.header.tensor_digest", fail)
    assert "out of memory; close other programs" in refusal(tiny_model)


def test_a_file_that_cannot_be_read_is_no_lack_of_memory(tiny_model, monkeypatch):
    def fail(*arguments):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("llmboost.card.header.tensor_digest", fail)
    assert "cannot be read (Input/output error)" in refusal(tiny_model)


LIMITED = """
import gc, resource, sys
from pathlib import Path
from llmboost.errors import LLMBoostError
from llmboost.model import load_model
path = Path(sys.argv[1])
load_model(path)  # what is imported on first use
gc.collect()
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
for megabytes in (0, 1, 2, 4, 8):
    limit = used + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    try:
        load_model(path)
        print("loaded")
    except LLMBoostError as error:
        print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the memory in use is read from /proc")
def test_a_limit_just_above_idle(library_folder):
    path = Path(llmboost.__file__).parent / "models" / "brain.safetensors"
    environment = {"PYTHONPATH": str(Path(llmboost.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)], env=environment, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    assert all(line == "loaded" or "out of memory" in line for line in lines)
    assert "out of memory" in lines[0]
