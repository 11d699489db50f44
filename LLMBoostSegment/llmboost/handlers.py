"""What the worker does for each request; torch and the engine are imported by the first one that computes."""

from __future__ import annotations

import gc
import hashlib
import json
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .card import Card, read_card
from .errors import LLMBoostError
from .files import write_whole
from .library import EXTENSION, find, installed, user_folder
from .service import Answer, Handler, Job, RequestError
from .wire import unpack_volumes

if TYPE_CHECKING:
    from .image import Image
    from .model import Model

DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


class Engine:
    """Requests about models and images. The model that was used last stays loaded."""

    def __init__(self) -> None:
        self._loaded: tuple[Card, str, Model] | None = None

    @property
    def handlers(self) -> dict[str, Handler]:
        return {
            "warm_up": self.warm_up,
            "models": self.models,
            "show": self.show,
            "put_model": self.put_model,
            "segment": self.segment,
            "classify": self.not_available,
            "explain": self.not_available,
            "release": self.release,
        }

    def warm_up(self, job: Job) -> Answer:
        """Fields ``model`` and ``device``: load the model and compute once, so that the next result comes sooner."""
        model = self._model(job)
        import torch

        models = [model]
        if model.card.cascade is not None:
            with suppress(LLMBoostError):  # crops need no localizer
                models.append(model.localizer)
        for one in models:
            steps, weight = one.card.preprocessing, next(one.network.parameters())
            with torch.inference_mode():
                one.network(torch.zeros(1, steps.channels, *steps.window, device=weight.device))
        return {}, {}

    def models(self, job: Job) -> Answer:
        """Gives ``models``, the installed ones' cards by name, and ``warnings`` about damaged files."""
        cards, warnings = {}, []
        for name, path in installed().items():
            try:
                cards[name] = json.loads(read_card(path).to_json())
            except LLMBoostError as error:
                warnings.append(str(error))
        return {"models": cards, "warnings": warnings}, {}

    def show(self, job: Job) -> Answer:
        """Field ``model``; gives its ``card`` and the size of its file in ``bytes``."""
        path = self._path(_text(job, "model"))
        return {"card": json.loads(read_card(path).to_json()), "bytes": path.stat().st_size}, {}

    def put_model(self, job: Job) -> Answer:
        """Field ``digest`` ("sha256:..."), array ``file`` (uint8): keep a model file that Slicer's machine has."""
        digest = _digest(_text(job, "digest"))
        if "file" not in job.arrays or not digest:
            raise LLMBoostError("put_model: needs a digest and a file")
        data = job.arrays["file"].tobytes()
        tensors = memoryview(data)[8 + int.from_bytes(data[:8], "little") :]
        if hashlib.sha256(tensors).hexdigest() != digest:
            raise LLMBoostError("the model was damaged on its way to the worker; try again")
        path = _received(digest)
        write_whole(path, data)
        try:
            read_card(path)
        except LLMBoostError:
            path.unlink()
            raise
        return {}, {}

    def segment(self, job: Job) -> Answer:
        """Draw a model's segments.

        Fields: ``model`` (name, path or "sha256:..."), ``device``, ``roi`` (None, or center, size and axes, row by row,
        in LPS mm), ``mirror``, ``uncertainty``, ``probabilities``, ``modality`` (DICOM's term, or empty), and
        ``geometry`` and arrays of the channels (:func:`llmboost.wire.pack_volumes`).

        Gives ``labels`` (value, name, color, terminology) of the label map, ``classes`` (value, name) of the model,
        ``volumes_ml``, ``seconds``, ``warnings``, ``provenance``; arrays [k, j, i] on the first channel's grid:
        ``labelmap``, and on request ``entropy`` and ``probability_<value of a class>`` as uint8 (255 is 1).
        """
        channels = _images(job)
        model = self._model(job)
        from .batch import provenance
        from .memory import expected_peak, shortage
        from .roi import Roi
        from .segment import segment
        from .segnrrd import terminology_entry

        box = job.fields.get("roi")
        roi = Roi(box["center"], box["size"], np.reshape(box["axes"], (3, 3))) if box else None
        memory = int(expected_peak(model.card, channels[0], roi))
        job.progress(0.0, "segmenting", memory)
        try:
            result = segment(
                model,
                channels,
                roi=roi,
                mirror=bool(job.fields.get("mirror")),
                probabilities=bool(job.fields.get("probabilities")),
                entropy=bool(job.fields.get("uncertainty")),
                modality=str(job.fields.get("modality") or ""),
                progress=lambda fraction: job.progress(fraction, "segmenting", memory),
                cancelled=job.cancelled,
            )
        finally:
            self._drop_if_moved()
        arrays = {"labelmap": np.ascontiguousarray(result.labelmap.array.transpose())}
        if result.entropy is not None:
            arrays["entropy"] = _as_bytes(result.entropy.array)
        if result.probabilities is not None:
            for label, chance in zip(model.card.labels, result.probabilities.array[1:], strict=True):
                arrays[f"probability_{label.value}"] = _as_bytes(chance)
        fields = {
            "labels": [
                {
                    "value": label.value,
                    "name": label.name,
                    "color": label.color,
                    "terminology": terminology_entry(label),
                }
                for label in result.labels
            ],
            "classes": [{"value": label.value, "name": label.name} for label in model.card.labels],
            "volumes_ml": result.volumes_ml,
            "seconds": result.seconds,
            "warnings": [*shortage(model.card, channels[0], roi), *result.warnings],
            "provenance": provenance(model, result.localizer),
        }
        return fields, arrays

    def not_available(self, job: Job) -> Answer:
        raise RequestError("not_available", "this LLMBoost cannot do that yet", "Update the extension")

    def release(self, job: Job) -> Answer:
        """Drop the loaded model and give its memory back."""
        self._loaded = None
        gc.collect()
        if "torch" in sys.modules:
            sys.modules["torch"].cuda.empty_cache()
        return {}, {}

    def _model(self, job: Job) -> Model:
        """The model that a request asks for, loaded already or now."""
        path, device = self._path(_text(job, "model")), str(job.fields.get("device", "auto"))
        card = read_card(path)
        if self._loaded and self._loaded[:2] == (card, device):
            return self._loaded[2]
        self._loaded = None  # first, for two might not fit into memory
        job.progress(None, f"loading model '{card.name}'")
        from .device import choose_device

        place = choose_device(device)
        _import_monai()
        from .model import load_model

        model = load_model(path, place)
        self._loaded = card, device, model
        return model

    def _drop_if_moved(self) -> None:
        """Forget a model that left a GPU for lack of memory: the next image may be smaller."""
        if self._loaded:
            from .device import choose_device

            _, device, model = self._loaded
            if next(model.network.parameters()).device.type != choose_device(device).type:
                self._loaded = None

    def _path(self, model: str) -> Path:
        digest = _digest(model)
        if not digest:
            return find(model)
        for path in (_received(digest), *installed().values()):
            with suppress(LLMBoostError):
                if read_card(path).digest == digest:
                    return path
        raise RequestError("unknown_model", f"the worker's machine has no model {model}")


def _import_monai() -> None:
    """MONAI imports transformers where that is installed: half of a worker's start, for nothing that is used here."""
    if "transformers" in sys.modules or "monai" in sys.modules:
        return
    sys.modules["transformers"] = None  # type: ignore[assignment]  # makes importing it fail
    try:
        import monai  # noqa: F401
    finally:
        del sys.modules["transformers"]


def _digest(model: str) -> str:
    """The hexadecimal digits of "sha256:...", empty for other names."""
    match = DIGEST.fullmatch(model)
    return match[1] if match else ""


def _received(digest: str) -> Path:
    return user_folder() / "received" / (digest + EXTENSION)


def _text(job: Job, name: str) -> str:
    value = job.fields.get(name)
    if not isinstance(value, str) or not value:
        raise LLMBoostError(f"the request lacks '{name}'")
    return value


def _images(job: Job) -> list[Image]:
    """The request's volumes as the engine's images: the same voxels, seen along i, j, k."""
    try:
        volumes = unpack_volumes(job.fields["geometry"], job.arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise LLMBoostError(f"the request's volumes cannot be used ({error})") from error
    if not volumes or not all(volume.array.size for volume in volumes):
        raise LLMBoostError("the volume holds no voxels")
    for volume in volumes:
        if volume.array.dtype.kind == "f" and not np.isfinite(volume.array).all():
            raise LLMBoostError("the volume holds NaN or infinite voxels; replace them by numbers")
        place = np.array([*volume.spacing, *volume.origin, *volume.direction.ravel()])
        if not np.isfinite(place).all() or min(volume.spacing) <= 0 or abs(np.linalg.det(volume.direction)) < 1e-3:
            raise LLMBoostError("the volume's spacing or axes are of no use; correct them (in Slicer: module Volumes)")
    from .image import Image

    return [Image(v.array.transpose(), v.spacing, v.origin, v.direction) for v in volumes]


def _as_bytes(array: np.ndarray) -> np.ndarray:
    """[k, j, i] uint8 of [i, j, k] in 0..1; plane by plane, for the array may lie in a file."""
    result = np.empty(array.shape, np.uint8)
    for plane, out in zip(array, result, strict=True):
        out[...] = np.rint(plane * 255)
    return np.ascontiguousarray(result.transpose())
