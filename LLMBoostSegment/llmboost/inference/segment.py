"""Segmenting one case: from images as they are stored to a label map on the very same grid.

All classes' probabilities exist for a slab of the volume at a time, so that memory grows with the image's voxels, but
not with the number of labels.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from ..card import STORED, Card, Flag, Label, Volumetry
from ..errors import LLMBoostError, NotExplained
from ..explanation import Explanation, ExplanationSpec
from ..io.image import Image, resample
from ..model import Model
from .canvas import Canvas, empty_canvas
from .components import cleaned
from .content import seen_of
from .contest import winning_classes
from .cubic import across_slices
from .exclusive import classes_of
from .explain_segment import explain_segment
from .mirror import AS_IT_IS, mirror_images
from .predict import probability_slabs
from .preprocessing import longest_axis, orient, preprocess, wanted_spacing
from .quality import Tally, flag
from .regrid import as_probabilities, class_scores, covered, slabs_on_grid
from .roi import Roi
from .second import second_opinion
from .sides import without_sides
from .subject import another_kind, refusal
from .views import View, Views, views
from .volumetry import border_areas, volumetry
from .watch import UNWATCHED, Watch

# an image that extends this many times further than the model's patch is hardly the kind it was trained on
EXTENT_FACTOR = 2.5
NAMED = 10  # labels in a warning
DRAWN = 0.4  # the fraction of the work that is drawing, where the result is explained, too


@dataclass(frozen=True)
class Segmentation:
    """What was found in a case, all on the grid of its first channel.

    Attributes:
        labelmap: label values, unsigned integers [i, j, k]; 0 is background.
        labels: what its values mean: the model's labels, or those of each side that the model's cascade looked at; no
            sides, where the image does not tell them.
        volumes_ml: millilitres of each label, by name.
        card: of the model.
        seconds: that drawing took.
        warnings: what a user should know before believing the result.
        volumetry: which volumes are set against each other: both sides, and what is inside the skull.
        probabilities: [c, i, j, k] float32 of the model's own classes, background first; on request, and only where
            the model itself drew.
        entropy: [i, j, k] float32 in [0, 1], how undecided the network is at each voxel; likewise.
        localizer: the card of the model that told where to look, if a cascade was needed.
        drawn_by: the card of the model that drew in its place, because they differed too much.
        quality: how good the segments probably are; None where the card has no numbers for that.
        explanation: where the model looked; on request.
    """

    labelmap: Image
    labels: tuple[Label, ...]
    volumes_ml: dict[str, float]
    card: Card
    seconds: float
    warnings: tuple[str, ...] = ()
    volumetry: Volumetry = field(default_factory=Volumetry)
    probabilities: Image | None = None
    entropy: Image | None = None
    localizer: Card | None = None
    drawn_by: Card | None = None
    quality: Flag | None = None
    explanation: Explanation | None = None

    @property
    def drawer(self) -> Card:
        """The card of what drew the label map, with the labels that its values mean."""
        return replace(self.drawn_by or self.card, labels=self.labels)

    def merged(self, labels: Sequence[Label]) -> Image:
        """The label map with the values of the model's own ``labels``, both sides alike."""
        values = np.arange(max(label.value for label in self.labels) + 1, dtype=self.labelmap.array.dtype)
        for n, label in enumerate(self.labels[len(labels) :]):
            values[label.value] = labels[n % len(labels)].value
        return self.labelmap.with_array(values[self.labelmap.array])


def segment(
    model: Model,
    channels: Sequence[Image],
    *,
    roi: Roi | None = None,
    mirror: bool = False,
    probabilities: bool = False,
    entropy: bool = False,
    explain: ExplanationSpec | None = None,
    watch: Watch = UNWATCHED,
) -> Segmentation:
    """Segment a case: at once, or, if it is larger than the crops that the model knows, by the cascade of its card.

    Probabilities, not labels, are brought back to the input's grid, so that borders stay smooth at any spacing.

    Args:
        model: a segmentation model.
        channels: one image a channel, on any grid.
        roi: limits the computation to the voxels of the first channel whose centers it holds; the network sees nothing
            else, and all others are background. By default, the whole image.
        mirror: average with the answers for mirror images, where there are any (:mod:`.mirror`): twice the time.
        probabilities, entropy: also give these maps.
        explain: also tell where the model looked for a segment as it is drawn.

    Raises:
        LLMBoostError: another number of images than the model has channels, one slice for a model of volumes, a region
            of interest outside the image, a cascade whose localizer is not installed, or nothing like what is to be
            explained.
        NotExplained: the segments are there, but no map can be made.
        Cancelled: whoever waits cancelled.
    """
    started, card = time.monotonic(), model.card
    notes: dict[str, None] = {}
    told = replace(watch, notice=notes.setdefault)
    drawing = told.part(0, DRAWN) if explain else told
    seen = views(model, channels, roi, drawing)
    case = seen.case
    if explain:
        explain.find(card, seen.labels)  # a mistake is told before much is computed
    canvas = empty_canvas(case.shape, len(seen.labels), card.classes, probabilities=probabilities, entropy=entropy)
    _draw(model, seen, canvas, roi, mirror, drawing)
    drawn_by = second_opinion(model, seen, canvas, roi, drawing)
    notes |= dict.fromkeys(_notes(card, seen))
    labels, names = seen.labels, [label.name for label in seen.labels]
    areas = border_areas(seen, canvas.indices, len(card.labels), roi)
    if not case.sides_known:
        labels, places = without_sides(card.labels)
        places = [places[n % len(places)] for n in range(len(seen.labels))]
        canvas.merge(places)
        names = [labels[place].name for place in places]
        areas = np.bincount([0, *(place + 1 for place in places)], areas)
    labelmap = _labelmap(canvas, labels, case)
    volumes_ml = _volumes_ml(canvas, labels, case)
    compared, untold = volumetry(card, seen, labels, volumes_ml, canvas.indices, areas)
    if drawn_by is not None:
        compared, untold = Volumetry(), ()  # where parts meet was assumed: they are not compared
        canvas = _without_maps(canvas, card, told)
    result = Segmentation(
        labelmap=labelmap,
        labels=labels,
        volumes_ml=volumes_ml,
        card=card,
        seconds=time.monotonic() - started,
        warnings=tuple(filter(None, (card.doubts, *notes, _not_found(volumes_ml), *untold))),
        volumetry=compared,
        probabilities=canvas.probabilities if canvas.probabilities is None else case.with_array(canvas.probabilities),
        entropy=canvas.entropy if canvas.entropy is None else case.with_array(canvas.entropy),
        localizer=seen.localizer,
        drawn_by=drawn_by,
        quality=_flag(card, seen, canvas.tallies, names, larger=seen.by_cascade or roi is not None),
    )
    if explain is None:
        return result
    if drawn_by is not None:
        raise NotExplained(f"'{drawn_by.name}' drew the segments, and '{card.name}' something else", result)
    segment = labelmap.with_array(labelmap.array == explain.find(card, seen.labels)[0].value)
    try:
        return replace(result, explanation=explain_segment(model, seen, explain, segment, told.part(DRAWN, 1)))
    except LLMBoostError as error:
        raise NotExplained(str(error), result) from error


def _without_maps(canvas: Canvas, card: Card, watch: Watch) -> Canvas:
    """What another model drew, without the maps of what the card's own did, which the watch is told."""
    if canvas.probabilities is not None or canvas.entropy is not None:
        watch.notice(f"no maps of probabilities or uncertainty: they would be those of '{card.name}'")
    return replace(canvas, probabilities=None, entropy=None)


def _not_found(volumes_ml: Mapping[str, float]) -> str:
    """A warning; empty where there is none."""
    names = [name for name, ml in volumes_ml.items() if not ml]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"not found: {', '.join(names[:NAMED])}{more}" if names else ""


def _labelmap(canvas: Canvas, labels: Sequence[Label], case: Image) -> Image:
    values = np.array([0, *(label.value for label in labels)])
    return case.with_array(values.astype(np.uint8 if values.max() < 256 else np.uint16)[canvas.indices])


def _volumes_ml(canvas: Canvas, labels: Sequence[Label], case: Image) -> dict[str, float]:
    counts = np.zeros(len(labels) + 1, int)
    for plane in canvas.indices:  # bincount takes eight bytes a voxel
        counts += np.bincount(plane.ravel(), minlength=len(counts))
    voxel_ml = float(np.prod(case.spacing) * abs(np.linalg.det(case.direction))) / 1000
    return {label.name: float(counts[n + 1] * voxel_ml) for n, label in enumerate(labels)}


def _flag(card: Card, seen: Views, tallies: Sequence[Tally], names: Sequence[str], larger: bool) -> Flag | None:
    """How good the segments probably are: in a crop, or in what was looked at of a larger image. ``names`` are those of
    the labels of every view, whether it is there or not."""
    quality = card.cascade.quality if larger and card.cascade and card.cascade.quality else card.quality
    # an adapted model is sure in its own way
    count = len(card.labels)
    own = [names[view.number * count : (view.number + 1) * count] for view in seen.views]
    return flag(quality, tallies, own) if quality and not card.adapter else None


def _notes(card: Card, seen: Views) -> list[str]:
    """What a user should know of an image that was drawn in as a whole."""
    if seen.by_cascade or not seen.views:
        return []
    image, preprocessing = seen.views[0].crop, card.preprocessing
    kind = another_kind(card, image.array, seen.case.modality)
    notes = [f"{kind}: check the segments closely"] if kind and card.subject is None else []
    if preprocessing.orientation == STORED and not np.array_equal(np.abs(image.direction).argmax(axis=0), range(3)):
        notes.append("this model goes by how images are stored, and the axes of this one are in an unusual order")
    extent = np.sort(np.array(image.shape) * image.spacing)
    patch_size = np.sort(np.array(preprocessing.patch_size) * preprocessing.spacing)
    # a model with a subject tells itself whether it is there
    if card.origin is None and card.subject is None and (extent > EXTENT_FACTOR * patch_size).any():
        size = " x ".join(f"{mm:.0f}" for mm in patch_size)
        notes.append(f"the image is much larger than what this model knows (about {size} mm): crop it to the structure")
    return notes


def _draw(model: Model, seen: Views, canvas: Canvas, roi: Roi | None, mirror: bool, watch: Watch) -> None:
    """Draw what the model says of each view of a case; the watch is told what a user should know."""
    card, share = model.card, (1 - seen.done) / max(len(seen.views), 1)
    for note in seen.notes:
        watch.notice(note)
    for n, view in enumerate(seen.views):
        part = canvas.through(view.part)
        own = part.with_blank_indices() if seen.by_cascade else part  # views of a cascade may overlap
        start = seen.done + n * share
        _draw_view(model, view, own.through(view.turned), mirror, watch.part(start, start + share))
        if roi:
            own.indices[...] *= roi.contains(view.crop)
        if card.tiling.back != "classes":  # those were cleaned where they were decided
            own.indices[...] = cleaned(own.indices, card)
        if seen.by_cascade:
            part.add(own, view.number * len(card.labels))
    watch.progress(1.0)


def _draw_view(model: Model, view: View, canvas: Canvas, mirror: bool, watch: Watch) -> None:
    """Draw what the model says of all that is seen, if that shows the model's subject."""
    card, preprocessing = model.card, model.card.preprocessing
    channels, box = seen_of(view.channels, preprocessing)
    canvas, first = canvas.through(lambda array: array[(..., *box)]), channels[0]
    work = preprocess(channels, preprocessing)
    axis = longest_axis(work, preprocessing)
    slabs = probability_slabs(
        model.network,
        torch.from_numpy(work.array),
        preprocessing.patch_size,
        axis=axis,
        mirror=mirror_images(card) if mirror else AS_IT_IS,
        tiling=card.tiling,
        watch=watch,
    )
    found: list[np.ndarray] = []
    if card.subject is not None or card.tiling.back == "classes":
        slabs = _noted(slabs, found, card)
    if card.tiling.back != "averaged":
        slabs = (as_probabilities(slab, card, axis) for slab in slabs)
    target = orient(first, preprocessing)
    canvas = canvas.through(lambda array: orient(first.with_array(array), preprocessing).array)
    if preprocessing.foreground is not None and preprocessing.foreground.when == "last":
        seen = covered(target, work)
        target, canvas = target.cut(seen), canvas.through(lambda array: array[(..., *seen)])
    canvas.tallies.append(Tally(card.classes))
    if card.tiling.back == "classes" and canvas.probabilities is None and canvas.entropy is None:
        for _ in slabs:  # what is decided on the network's grid needs no more than that
            pass
    else:
        _draw_scores(slabs, work, target, axis, canvas, card)
    if card.tiling.back == "classes":
        decided = cleaned(np.concatenate(found, axis=axis), card)
        canvas.indices[...] = resample(work.with_array(decided), target, "nearest").array
    if card.subject is not None and (reasons := refusal(card, np.concatenate(found, axis=axis), work, first)):
        canvas.clear()
        for reason in reasons:
            watch.notice(reason)


def _draw_scores(
    slabs: Iterator[torch.Tensor], work: Image, target: Image, axis: int, canvas: Canvas, card: Card
) -> None:
    """Draw, on the grid ``target``, the class of the highest score at each voxel, and the maps that the canvas has."""
    preprocessing, tally = card.preprocessing, canvas.tallies[-1]
    across = None
    if preprocessing.resampling == "cubic":
        across = across_slices(wanted_spacing(target, preprocessing), target.spacing)
    maps = canvas.probabilities is not None or canvas.entropy is not None or card.quality is not None
    for planes, slab, part in slabs_on_grid(slabs, work, target, axis):
        here = tuple(planes if n == axis else slice(None) for n in range(3))
        if not maps:
            canvas.indices[here] = winning_classes(slab, part, card, across)
            continue
        best, entropy = np.full(part.shape, -np.inf, np.float32), np.zeros(part.shape, np.float32)
        winner = np.zeros(part.shape, canvas.indices.dtype)
        for n, scores, p in class_scores(slab, part, card, across, probabilities=maps):
            better = scores > best
            best[better], winner[better] = scores[better], n
            if p is None:
                continue
            tally.add_class(n, p)
            if canvas.entropy is not None:
                entropy += entropy_term(p)
            if canvas.probabilities is not None:
                canvas.probabilities[n][here] = p
        canvas.indices[here] = winner
        tally.add_winners(winner, best)
        if canvas.entropy is not None:
            canvas.entropy[here] = np.clip(entropy / np.log(card.classes), 0, 1)


def _noted(slabs: Iterator[torch.Tensor], found: list[np.ndarray], card: Card) -> Iterator[torch.Tensor]:
    """The slabs, of which the class of each voxel is kept."""
    for slab in slabs:
        found.append(classes_of(slab, card.activation).numpy())
        yield slab


def entropy_term(p: np.ndarray) -> np.ndarray:
    """-p log p, the part of a class in the Shannon entropy."""
    p = np.clip(p, 1e-7, 1.0)
    return -p * np.log(p)
