"""A worker on another machine: stood in for by one that says so and has a library of its own."""

from __future__ import annotations

import json
import struct
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from llmboost.card import read_card
from llmboost.errors import LLMBoostError
from llmboost.handlers import Engine
from llmboost.library import find
from llmboost.messages.worker import HelloRequest, PutModelRequest, ShowRequest
from llmboost.service import Job
from LLMBoostLib.worker.client import WorkerError

from .fake_messages import Fake

REMOTE = """
import os, platform, sys
sys.path.insert(0, {here!r})
platform.node = lambda: "gpu-box"
os.environ["LLMBOOST_MODELS"] = {folder!r}
from fake_messages import faked
from llmboost import worker
from llmboost.handlers import Engine
from llmboost.messages.worker import PutModelRequest
engine = Engine()
received = []
def put_model(job):
    received.append(job.request.digest)
    return engine.handlers[PutModelRequest](job)
tell = faked(received=lambda job: ({{"received": received}}, {{}}))
worker.main({{**engine.handlers, PutModelRequest: put_model, **tell}})
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    """The library of the other machine."""
    return tmp_path / "there"


@pytest.fixture
def remote(connect, script, folder):
    """A client of the other machine's worker."""
    return connect(script(REMOTE.format(folder=str(folder), here=str(Path(__file__).parent))))


@pytest.fixture
def model(tmp_path) -> Path:
    """A model file that only this machine has: a card of its own, and other weights."""
    header, tensors = _parts(find("hippocampus").read_bytes())
    tensors = tensors[:-1] + bytes([tensors[-1] ^ 1])
    card = json.loads(header["__metadata__"]["llmboost_card"])
    card |= {"name": "mine", "digest": sha256(tensors).hexdigest()}
    header["__metadata__"]["llmboost_card"] = json.dumps(card)
    line = json.dumps(header).encode()
    path = tmp_path / "mine.safetensors"
    path.write_bytes(struct.pack("<Q", len(line)) + line + tensors)
    return path


def _parts(data: bytes) -> tuple[dict, bytes]:
    size = 8 + struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8:size]), data[size:]


def put(digest: str, data: bytes) -> None:
    request = PutModelRequest(f"sha256:{digest}", np.frombuffer(data, np.uint8))
    Engine().handlers[PutModelRequest](Job(request))


def test_the_machine_is_known_after_hello(remote, client):
    assert remote.remoteHost == ""
    remote.call(HelloRequest())
    assert remote.remoteHost == "gpu-box"
    client.call(HelloRequest())
    assert client.remoteHost == ""


def test_a_model_is_sent_once(remote, model, folder):
    for _ in range(2):
        assert remote.call(ShowRequest(model=str(model))).card.name == "mine"
    digest = read_card(model).digest
    assert remote.call(Fake("received")).fields["received"] == [f"sha256:{digest}"]
    (kept,) = folder.rglob("*.safetensors")
    assert kept.read_bytes() == model.read_bytes()
    remote.shutDown()
    assert remote.call(ShowRequest(model=str(model))).card.name == "mine"
    assert remote.call(Fake("received")).fields["received"] == [], "a later worker knows it still"


def test_a_model_that_both_have_is_not_sent(remote):
    assert remote.call(ShowRequest(model="hippocampus")).card.name == "hippocampus"
    assert remote.call(Fake("received")).fields["received"] == []


def test_a_model_that_only_the_other_machine_has(remote, model, folder):
    folder.mkdir()
    (folder / "theirs.safetensors").write_bytes(model.read_bytes())
    assert remote.call(ShowRequest(model="theirs")).card.name == "mine"


def test_a_model_that_nobody_has(remote):
    with pytest.raises(WorkerError, match="nobody's") as error:
        remote.call(ShowRequest(model="nobody's"))
    assert error.value.kind == "bad_input"


def test_a_digest_that_nobody_has(remote):
    with pytest.raises(WorkerError) as error:
        remote.call(ShowRequest(model="sha256:" + "0" * 64))
    assert error.value.kind == "unknown_model"


@pytest.mark.parametrize("damage", ["weights", "card", "no file", "name"])
def test_a_damaged_model_is_not_kept(model, folder, monkeypatch, damage):
    monkeypatch.setenv("LLMBOOST_MODELS", str(folder))
    data, digest = bytearray(model.read_bytes()), read_card(model).digest
    if damage == "weights":
        data[-1] ^= 1
    elif damage == "card":
        data[40] ^= 1
    elif damage == "no file":
        data, digest = b"", sha256(b"").hexdigest()
    else:
        digest = "../../evil"
    with pytest.raises(LLMBoostError):
        put(digest, bytes(data))
    assert not list(folder.rglob("*"))[1:], "but for the empty folder"
    assert not list(folder.rglob("*.safetensors"))
