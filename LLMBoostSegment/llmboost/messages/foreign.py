"""What is asked and answered about models that other programs trained: what lies in a folder, and importing it."""

from __future__ import annotations

from dataclasses import dataclass

from ..card import Card
from .codec import Answer, Name, Request
from .words import Device, RequestKind


@dataclass(frozen=True)
class ModelOffer:
    """A model of another program.

    Attributes:
        path: the folder or the zip archive that holds it.
        title: by which it is known there.
        program: that trained it.
        folds: its networks, where each was trained on a part of the cases; together, they are better and slower.
        license: empty where none is told: then who imports it has to say.
    """

    path: str
    title: str
    program: str
    folds: tuple[str, ...] = ()
    license: str = ""


@dataclass(frozen=True)
class Offers(Answer):
    """What there is to import."""

    offers: tuple[ModelOffer, ...]


@dataclass(frozen=True, kw_only=True)
class LookRequest(Request[Offers], sent_as=RequestKind.LOOK):
    """Tell which models lie in a folder or an archive on the worker's machine; without ``path``, where nnU-Net and
    TotalSegmentator keep theirs."""

    path: str = ""


@dataclass(frozen=True)
class Imported(Answer):
    """A model was added to the library; its network takes so many ``seconds`` for a patch on the worker's machine."""

    card: Card
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ImportRequest(Request[Imported], sent_as=RequestKind.IMPORT_MODEL):
    """Translate a model into the user's library, see :func:`..foreign.import_foreign`.

    Attributes:
        path: from :class:`ModelOffer`.
        name: by which it is to be known here; empty: its own.
        folds: such as "0", "0,1" or "all"; None: one.
        terms: the license, where the model tells none.
        device: on which it is timed.
    """

    path: Name
    name: str = ""
    folds: str | None = None
    terms: str = ""
    device: Device = Device.AUTO
