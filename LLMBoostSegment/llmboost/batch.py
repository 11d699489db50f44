"""Segmenting many cases: one result a case, a summary of all, and no case that stops the others."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import __version__
from .card import Label
from .errors import LLMBoostError
from .files import TEMPORARY, write_whole
from .image import READABLE, Image, read_volumes, write_image
from .learn.dataset import group_channels
from .model import Model
from .segment import segment
from .segnrrd import EXTENSION, write_segmentation

FORMATS = ("seg.nrrd", "nii.gz")
OK, FAILED = "ok", "failed"
NOTICE = "Not for clinical use"


@dataclass(frozen=True)
class BatchOptions:
    """What to write for each case: the segmentation in ``format``, and maps of uncertainty or probability (.nii.gz)."""

    format: str = "seg.nrrd"
    uncertainty: bool = False
    probabilities: bool = False
    mirror: bool = False


@dataclass
class Row:
    """A case in the summary."""

    id: str
    input: list[str]
    status: str
    output: str = ""
    error: str = ""
    seconds: float = 0.0
    volumes_ml: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def find_cases(inputs: Iterable[Path], channels: int) -> dict[str, list[Path]]:
    """Cases by id: files as given, folders as the images in them; several channels by nnU-Net's CASE_0000 names.

    Segmentations (.seg.nrrd) in a folder are no images: they may be the results of an earlier run.

    Raises:
        LLMBoostError: a folder without images, or two inputs of the same name.
    """
    files: list[Path] = []
    for path in inputs:
        if not path.is_dir():
            files.append(path)
            continue
        inside = sorted(p for p in path.iterdir() if _is_image(p.name.lower()))
        if not inside:
            raise LLMBoostError(f"{path}: no images in this folder ({', '.join(READABLE)})")
        files += inside
    cases = group_channels(files, channels)
    for id, paths in cases.items():
        if len(paths) > channels:
            raise LLMBoostError(
                f"{paths[1]}: another input has the same name ('{id}'); results would overwrite each other"
            )
    return cases


def _is_image(name: str) -> bool:
    return name.endswith(tuple(READABLE)) and not name.endswith(EXTENSION) and not name.startswith(".")


def segment_cases(
    model: Model,
    cases: dict[str, list[Path]],
    output: Path,
    options: BatchOptions,
    *,
    resume: bool = False,
    report: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """Segment each case into ``output`` and keep summary.json and summary.csv there up to date.

    A case that fails is a row with its error. With ``resume``, cases that the summary lists as done from the same
    input, and whose files are all there, are left alone.

    Raises:
        LLMBoostError: the folder cannot be written, or a result would overwrite an input.
    """
    _spare_inputs(model, cases, output, options)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LLMBoostError(f"{output}: cannot be made ({error.strerror}); choose another folder") from error
    rows = {}
    if resume:
        rows = _earlier(output, model)
        for path in output.iterdir():
            if TEMPORARY.match(path.name):
                path.unlink(missing_ok=True)
    for id, paths in cases.items():
        if id in rows and _is_done(rows[id], model, paths, output, options):
            continue
        rows[id] = _one(model, id, paths, output, options)
        report(rows[id])
        _write_summary(model, list(rows.values()), output)
    _write_summary(model, list(rows.values()), output)
    return list(rows.values())


def _files(model: Model, id: str, options: BatchOptions) -> list[str]:
    """The names of a case's results: the segmentation, then the maps."""
    names = [f"{id}.{options.format}"]
    if options.uncertainty:
        names.append(f"{id}_entropy.nii.gz")
    if options.probabilities:
        names += [f"{id}_probability_{label.value}.nii.gz" for label in model.card.labels]
    return names


def _is_done(row: Row, model: Model, paths: Sequence[Path], output: Path, options: BatchOptions) -> bool:
    same = row.status == OK and row.input == [str(path) for path in paths]
    return same and all((output / name).exists() for name in _files(model, row.id, options))


def _spare_inputs(model: Model, cases: dict[str, list[Path]], output: Path, options: BatchOptions) -> None:
    given = {path.resolve() for paths in cases.values() for path in paths}
    for id in cases:
        for name in _files(model, id, options):
            if (output / name).resolve() in given:
                raise LLMBoostError(
                    f"{output / name}: is an input, the result would overwrite it; use another --output"
                )


def _one(model: Model, id: str, paths: Sequence[Path], output: Path, options: BatchOptions) -> Row:
    row = Row(id, [str(path) for path in paths], FAILED)
    segmentation, *maps = (output / name for name in _files(model, id, options))
    try:
        result = segment(
            model,
            [image for path in paths for image in read_volumes(path)],
            mirror=options.mirror,
            entropy=options.uncertainty,
            probabilities=options.probabilities,
        )
        # maps first: a segmentation in place says that the case is complete
        if result.entropy is not None:
            write_image(result.entropy, maps.pop(0))
        if result.probabilities is not None:
            for path, chance in zip(maps, result.probabilities.array[1:], strict=True):
                write_image(result.probabilities.with_array(chance), path)
        _write_labelmap(model, result.labelmap, segmentation)
    except LLMBoostError as error:
        row.error = str(error)
        return row
    except Exception as error:
        # such as a lack of memory, which torch reports as RuntimeError; whatever it is, the other cases go on
        reason = [*str(error).strip().splitlines(), ""][0]
        row.error = f"{paths[0]}: could not be segmented ({type(error).__name__}: {reason})"
        return row
    row.status, row.output = OK, segmentation.name
    row.seconds = round(result.seconds, 3)
    row.volumes_ml = {key: round(value, 4) for key, value in result.volumes_ml.items()}
    row.warnings = list(result.warnings)
    return row


def _write_labelmap(model: Model, labelmap: Image, path: Path) -> None:
    if path.name.endswith(".seg.nrrd"):
        write_segmentation(labelmap, model.card.labels, path, provenance(model))
    else:
        write_image(labelmap, path)


def provenance(model: Model) -> dict[str, str]:
    """Who made a segmentation, for the file's header."""
    return {
        "LLMBoost.Model": model.card.name,
        "LLMBoost.ModelVersion": model.card.version,
        "LLMBoost.ModelDigest": model.card.digest,
        "LLMBoost.Version": __version__,
        "LLMBoost.Notice": NOTICE,
    }


def _earlier(output: Path, model: Model) -> dict[str, Row]:
    try:
        summary = json.loads((output / "summary.json").read_text(encoding="utf-8"))
        if summary["digest"] != model.card.digest:
            raise LLMBoostError(f"{output}: holds results of another model; choose another folder, or drop --resume")
        return {row["id"]: Row(**row) for row in summary["cases"]}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LLMBoostError(f"{output / 'summary.json'}: cannot be read ({error}); drop --resume") from error


def _write_summary(model: Model, rows: Sequence[Row], output: Path) -> None:
    summary: dict[str, Any] = {
        "model": model.card.name,
        "digest": model.card.digest,
        "version": __version__,
        "notice": NOTICE,
        "cases": [vars(row) for row in rows],
    }
    write_whole(output / "summary.json", (json.dumps(summary, indent=1) + "\n").encode())
    write_whole(output / "summary.csv", _csv(model.card.labels, rows).encode())


def _csv(labels: Sequence[Label], rows: Sequence[Row]) -> str:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["id", "status", *(f"{label.name} (mL)" for label in labels), "seconds", "warnings", "error"])
    for row in rows:
        volumes = [row.volumes_ml.get(label.name, "") for label in labels]
        writer.writerow([row.id, row.status, *volumes, row.seconds, "; ".join(row.warnings), row.error])
    return table.getvalue()
