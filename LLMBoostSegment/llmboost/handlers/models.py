"""Requests about the library's models and their files."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..card import read_card
from ..errors import LLMBoostError
from ..files import write_whole
from ..library import EXTENSION, installed, user_folder
from ..service import Answer, Job
from .volumes import text_of

if TYPE_CHECKING:
    from . import Engine

DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


def models(_job: Job) -> Answer:
    """Gives ``models``, the installed ones' cards by name, and ``warnings`` about damaged files."""
    cards, warnings = {}, []
    for name, path in installed().items():
        try:
            cards[name] = json.loads(read_card(path).to_json())
        except LLMBoostError as error:
            warnings.append(str(error))
    return {"models": cards, "warnings": warnings}, {}


def show(engine: Engine, job: Job) -> Answer:
    """Field ``model``; gives its ``card`` and the size of its file in ``bytes``."""
    path = engine.path(text_of(job, "model"))
    return {"card": json.loads(read_card(path).to_json()), "bytes": path.stat().st_size}, {}


def put_model(job: Job) -> Answer:
    """Field ``digest`` ("sha256:..."), array ``file`` (uint8): keep a model file that Slicer's machine has."""
    digest = digest_of(text_of(job, "digest"))
    if "file" not in job.arrays or not digest:
        raise LLMBoostError("put_model: needs a digest and a file")
    data = job.arrays["file"].tobytes()
    tensors = memoryview(data)[8 + int.from_bytes(data[:8], "little") :]
    if hashlib.sha256(tensors).hexdigest() != digest:
        raise LLMBoostError("the model was damaged on its way to the worker; try again")
    path = received(digest)
    write_whole(path, data)
    try:
        read_card(path)
    except LLMBoostError:
        path.unlink()
        raise
    return {}, {}


def digest_of(model: str) -> str:
    """The hexadecimal digits of "sha256:...", empty for other names."""
    match = DIGEST.fullmatch(model)
    return match[1] if match else ""


def received(digest: str) -> Path:
    return user_folder() / "received" / (digest + EXTENSION)
