"""Messages: what one side builds the other gets, and what fits no class is refused in one line."""

from __future__ import annotations

import dataclasses
import io
import re
import types
import typing
from enum import StrEnum
from pathlib import Path

import numpy as np
import pytest

from llmboost.card import Card, read_card
from llmboost.errors import LLMBoostError
from llmboost.library import find
from llmboost.messages import cases, dicom, foreign, images, report, strokes, worker
from llmboost.messages.codec import Answer, Request, from_message, from_parts, sensible, to_message, to_parts
from llmboost.messages.images import ExplainOptions, SegmentRequest, Volume
from llmboost.messages.words import Device, ErrorKind, RequestKind
from llmboost.wire import Message, read_message, write_message

MESSAGES = [
    one
    for module in (worker, images, cases, dicom, foreign, report, strokes)
    for one in vars(module).values()
    if isinstance(one, type) and dataclasses.is_dataclass(one) and one.__module__ == module.__name__
]
REQUESTS = [one for one in MESSAGES if issubclass(one, Request) and one.sent_as]
VOLUME = Volume(np.arange(24, dtype=np.int16).reshape(2, 3, 4), (1.0, 2.0, 3.0), (0.0, -1.5, 7.0), np.eye(3))
FIELDS = to_parts(SegmentRequest(model="a", volumes=(VOLUME,)))


def made(hint):
    """A value that fits a type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Card:
        return read_card(find("hippocampus"))
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        return hint(**{field.name: made(hints[field.name]) for field in dataclasses.fields(hint)})
    if origin is types.UnionType:
        return made(arguments[0])
    if origin is tuple:
        return tuple(made(one) for one in (arguments[:1] * 2 if arguments[1:] == (...,) else arguments))
    if origin is dict:
        return {"a": made(arguments[1])}
    if hint is np.ndarray:
        return np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    if issubclass(hint, StrEnum):
        return list(hint)[-1]
    return {str: "text", int: 3, float: 0.1, bool: True}[hint]


def same(a, b) -> bool:
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if dataclasses.is_dataclass(a):
        return type(a) is type(b) and all(same(*(getattr(x, f.name) for x in (a, b))) for f in dataclasses.fields(a))
    return type(a) is type(b) and (all(same(a[key], b[key]) for key in a | b) if isinstance(a, dict) else a == b)


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_what_is_sent_arrives(kind):
    record, stream = made(kind), io.BytesIO()
    write_message(stream, Message(7, "any", *to_parts(record)))
    stream.seek(0)
    assert same(from_message(kind, read_message(stream)), record)


def test_a_request_tells_its_kind_and_its_answer():
    assert {one.sent_as for one in REQUESTS} == set(RequestKind) - {"cancel", "finish", "shut_down"}
    assert all(issubclass(one.answer(), Answer) for one in REQUESTS)
    assert SegmentRequest.answer() is images.SegmentAnswer
    assert to_message(3, SegmentRequest(model="a", volumes=())).kind == "segment"


def test_what_is_left_out_takes_its_default():
    request = from_parts(SegmentRequest, {"model": "a", "volumes": []})
    assert (request.device, request.roi, request.mirror, request.explain) == (Device.AUTO, None, False, None)
    assert from_parts(SegmentRequest, {"model": "a", "volumes": [], "explain": {}}).explain == ExplainOptions()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": ""}, "the request lacks 'model'"),
        ({"model": None}, "the request lacks 'model'"),
        ({"model": 3}, "'model' must be text"),
        ({"device": "abacus"}, "device is 'abacus', but the request's 'device' must be one of auto, cpu, cuda"),
        ({"mirror": 1}, "'mirror' must be true or false"),
        ({"dance": 1}, "'dance', which nobody knows"),
        ({"volumes": {}}, "'volumes' must be a list"),
        ({"volumes": [3]}, "'volumes.0' must be a table"),
        ({"volumes": [{**FIELDS[0]["volumes"][0], "spacing": [1, 2]}]}, "'volumes.0.spacing' must be a list of 3"),
        ({"volumes": [{**FIELDS[0]["volumes"][0], "spacing": [1, True, 2]}]}, "'volumes.0.spacing.1' must be a number"),
        ({"volumes": [{**FIELDS[0]["volumes"][0], "origin": [1, 10**400, 2]}]}, "'volumes.0.origin.1' must be"),
        ({"volumes": [{**FIELDS[0]["volumes"][0], "array": "b"}]}, "its array is missing"),
        ({"explain": {"target": 1.5}}, "'explain.target' must be a number without a fraction"),
        ({"explain": {"method": ["guess\n"]}}, "one of grad-cam, attention-rollout"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_in_a_line(change, reason):
    with pytest.raises(LLMBoostError, match=reason) as failure:
        from_parts(SegmentRequest, {**FIELDS[0], **change}, FIELDS[1])
    assert len(str(failure.value).splitlines()) == 1
    assert len(str(failure.value)) < 300


def test_an_event_is_told_by_its_fields():
    told = {"fraction": None, "text": "", "event": {"step": 10, "measure": "dice", "value": 0.8, "best": 0.9}}
    assert from_parts(worker.Progress, told).event == worker.ValidationEvent(10, "dice", 0.8, 0.9)
    assert from_parts(worker.Progress, {"event": {"step": 1, "loss": 2}}).event == worker.StepEvent(1, 2.0)


def test_of_a_strangers_words_the_sensible_ones_are_taken():
    told = {"fraction": "half", "text": ["x"], "memory": True, "event": {"event": 3}, "loading": True, "more": 1}
    assert sensible(worker.Progress, Message(1, "progress", told, {})) == worker.Progress(None, "?", loading=True)
    told = {"kind": "tired", "message": "no", "hint": {}}
    assert sensible(worker.Failure, Message(1, "error", told, {})) == worker.Failure(ErrorKind.INTERNAL, "no", "?")
    assert sensible(worker.Hello, Message(0, "hello", {"protocol": "2"}, {})) == worker.Hello()


RAW = re.compile(r"\.(?:fields|arrays)(?:\[|\.get\()|\bpack_volumes\b|\.(?:call|start)\(\s*\"")
PLUMBING = {"wire.py", "codec.py", "service.py"}


def test_nobody_reads_a_message_by_hand():
    root = Path(__file__).parents[2]
    folders = ("LLMBoostSegment", "LLMBoostTrain", "scripts")
    files = [path for folder in folders for path in (root / folder).rglob("*.py") if path.name not in PLUMBING]
    assert len(files) > 100
    found = [f"{path}: {word[0]}" for path in files for word in RAW.finditer(path.read_text(encoding="utf-8"))]
    assert found == []
