"""What the worker does for each request; torch and the engine are imported by the first one that computes."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..card import Card, read_card
from ..errors import LLMBoostError
from ..library import find, installed
from ..messages.cases import AdaptRequest, CrossCheckRequest, RankRequest
from ..messages.codec import Answer, Request
from ..messages.dicom import DicomRequest
from ..messages.foreign import ImportRequest, LookRequest
from ..messages.images import ClassifyRequest, ExplainRequest, SegmentRequest
from ..messages.report import ReportRequest
from ..messages.strokes import StrokesCloseRequest, StrokesKeepRequest, StrokesOpenRequest, StrokesUpdateRequest
from ..messages.words import Device, ErrorKind
from ..messages.worker import (
    ComputeRequest,
    Done,
    ModelsRequest,
    PutModelRequest,
    ReleaseRequest,
    ShowRequest,
    WarmUpRequest,
)
from ..service import Handlers, Job, RequestError
from .adapt import adapt, cross_check, rank_cases
from .classify import classify
from .dicom import dicom
from .explain import explain
from .models import digest_of, import_model, look, models, put_model, received, show
from .report import report
from .segment import segment
from .strokes import StrokesSession, close, keep, open_volume, update

if TYPE_CHECKING:
    from ..model import Model

A = TypeVar("A", bound=Answer)
R = TypeVar("R", bound=Request[Any])


def _import_walker() -> None:
    """What strokes need that no model learns from."""
    from ..strokes import volume  # noqa: F401


def _import_engine() -> None:
    """What computations need."""
    _import_monai()
    from .. import explanation, model  # noqa: F401
    from ..inference import classify, segment  # noqa: F401


def _import_monai() -> None:
    """MONAI imports transformers where that is installed: half of a worker's start, for nothing that is used here."""
    if "transformers" in sys.modules or "monai" in sys.modules:
        return
    sys.modules["transformers"] = None  # type: ignore[assignment]  # makes importing it fail
    try:
        import monai  # noqa: F401
    finally:
        del sys.modules["transformers"]


class Engine:
    """Requests about models and images. The model that was used last stays loaded.

    Attributes:
        stroked: the volume that a user paints in.
    """

    def __init__(self) -> None:
        self.stroked: StrokesSession | None = None
        self._loaded: tuple[Card, str, Model] | None = None
        self._imported: set[Callable[[], None]] = set()

    @property
    def handlers(self) -> Handlers:
        return {
            WarmUpRequest: partial(self._computed, Engine.warm_up),
            ReleaseRequest: self.release,
            ModelsRequest: models,
            PutModelRequest: put_model,
            ShowRequest: partial(show, self),
            LookRequest: partial(self._computed, look),
            ImportRequest: partial(self._computed, import_model),
            SegmentRequest: partial(self._computed, segment),
            AdaptRequest: partial(self._computed, adapt),
            CrossCheckRequest: partial(self._computed, cross_check),
            RankRequest: partial(self._computed, rank_cases),
            ClassifyRequest: partial(self._computed, classify),
            ExplainRequest: partial(self._computed, explain),
            ReportRequest: partial(report, self),
            DicomRequest: partial(dicom, self),
            StrokesOpenRequest: partial(self._computed, open_volume, load=_import_walker),
            StrokesUpdateRequest: partial(self._computed, update, load=_import_walker),
            StrokesKeepRequest: partial(self._computed, keep),
            StrokesCloseRequest: partial(close, self),
        }

    def warm_up(self, job: Job[WarmUpRequest]) -> Done:
        """Load the model and compute once."""
        model = self.model(job)
        import torch

        from ..inference.cascade import localizer

        models = [model]
        if model.card.cascade is not None:
            with suppress(LLMBoostError):  # crops need no localizer
                models.append(localizer(model))
        for one in models:
            preprocessing, weight = one.card.preprocessing, next(one.network.parameters())
            with torch.inference_mode():
                one.network(torch.zeros(1, preprocessing.channels, *preprocessing.patch_size, device=weight.device))
        return Done()

    def release(self, _job: Job[Request[Any]]) -> Done:
        """Drop the loaded model, and the volume that was painted in, and give their memory back."""
        self._loaded = self.stroked = None
        gc.collect()
        if "torch" in sys.modules:
            sys.modules["torch"].cuda.empty_cache()
        return Done()

    def model(self, job: Job[ComputeRequest[Any]]) -> Model:
        """The model that a request asks for, loaded already or now."""
        return self.load(self.path(job.request.model), job.request.device, job)

    def load(self, path: Path, device: Device, job: Job[Any]) -> Model:
        """A model file, loaded already or now."""
        card = read_card(path)
        if self._loaded and self._loaded[:2] == (card, device):
            return self._loaded[2]
        self._loaded = None  # first, for two might not fit into memory
        with job.loading(f"loading model '{card.name}'"):
            _import_engine()
            from ..inference.device import choose_device
            from ..model import load_model

            self._loaded = card, device, load_model(path, choose_device(device))
        return self._loaded[2]

    def _drop_if_moved(self) -> None:
        """Forget a model that left a GPU for lack of memory, itself or a helper: the next image may be smaller."""
        if self._loaded:
            from ..inference.device import choose_device

            _, device, model = self._loaded
            places = {next(one.network.parameters()).device.type for one in (model, *model.helpers.values())}
            if places != {choose_device(device).type}:
                self._loaded = None

    def _computed(
        self, handler: Callable[[Engine, Job[R]], A], job: Job[R], load: Callable[[], None] = _import_engine
    ) -> A:
        """A handler's answer. The first one waits for what takes seconds, in which cancel finds nobody.

        Args:
            load: imports what the handler needs.
        """
        if load not in self._imported:
            with job.loading("starting"):
                load()
            self._imported.add(load)
        try:
            return handler(self, job)
        finally:
            self._drop_if_moved()

    def path(self, model: str) -> Path:
        digest = digest_of(model)
        if not digest:
            return find(model)
        for path in (received(digest), *installed().values()):
            with suppress(LLMBoostError):
                if read_card(path).digest == digest:
                    return path
        raise RequestError(ErrorKind.UNKNOWN_MODEL, f"the worker's machine has no model {model}")
