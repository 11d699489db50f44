"""Requests about the library's models and their files."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..card import read_card
from ..errors import LLMBoostError
from ..files import write_whole
from ..library import EXTENSION, find, installed, user_folder
from ..messages.foreign import Imported, ImportRequest, LookRequest, Offers
from ..messages.worker import Done, Models, ModelsRequest, PutModelRequest, Shown, ShowRequest
from ..service import Job

if TYPE_CHECKING:
    from . import Engine

DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


def models(_job: Job[ModelsRequest]) -> Models:
    """List the installed models."""
    cards, warnings = {}, []
    for name, path in installed().items():
        try:
            cards[name] = read_card(path)
        except LLMBoostError as error:
            warnings.append(str(error))
    return Models(cards, tuple(warnings))


def show(engine: Engine, job: Job[ShowRequest]) -> Shown:
    """Tell of one model."""
    path = engine.path(job.request.model)
    return Shown(read_card(path), path.stat().st_size)


def put_model(job: Job[PutModelRequest]) -> Done:
    """Keep a model file that Slicer's machine has."""
    digest = digest_of(job.request.digest)
    if not digest:
        raise LLMBoostError("put_model: needs a digest and a file")
    data = job.request.file.tobytes()
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
    return Done()


def look(_engine: Engine, job: Job[LookRequest]) -> Offers:
    """Tell what there is to import."""
    from ..foreign.offers import offers, offers_at_hand

    path = job.request.path
    return Offers(tuple(offers(Path(path)) if path else offers_at_hand()))


def import_model(engine: Engine, job: Job[ImportRequest]) -> Imported:
    """Translate a model of another program into the library, and time it."""
    from ..foreign import import_foreign
    from ..inference.pace import AROUND, seconds_a_patch

    request = job.request
    job.progress(None, "reading and checking the weights")
    card = import_foreign(Path(request.path), name=request.name, folds=request.folds, terms=request.terms)
    model = engine.load(find(card.name), request.device, job)
    job.progress(None, "timing it on this machine")
    return Imported(card, AROUND * seconds_a_patch(model))


def digest_of(model: str) -> str:
    """The hexadecimal digits of "sha256:...", empty for other names."""
    match = DIGEST.fullmatch(model)
    return match[1] if match else ""


def received(digest: str) -> Path:
    return user_folder() / "received" / (digest + EXTENSION)
