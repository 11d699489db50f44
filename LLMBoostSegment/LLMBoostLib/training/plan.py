"""What a training is to learn from which cases, and all that stands in its way, before anything starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from slicer.i18n import tr as _

from llmboost.card import SEGMENTATION, STORED, Card
from llmboost.card.modality import differ
from llmboost.io.image import read_image, write_image
from llmboost.io.labels import IGNORE
from llmboost.messages.words import HELD_OUT, AdaptTask

from ..panels.plural import counted
from ..scene.fit import LARGE, THIN, patchAlongRasMm
from .candidate import nameAfter
from .cases import EXTENSION, LABELS, TRAIN, UNLABELED, VAL, Kind, Snapshot, link, writeDataset
from .casestore import CaseStore
from .mapping import BACKGROUND, UNDECIDED, Match, counts, match, matchOwn, ownLabels


@dataclass(frozen=True)
class Findings:
    """Problems, which must be mended first, and notes: sentences that end with what to do."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.problems or self.notes)


@dataclass(frozen=True)
class Plan:
    """A base model, what it is to learn, and what each kind of segment is for that.

    Attributes:
        card: of the base model.
        task: to improve its own labels, or to learn new ones.
        labels: value and name of what is learned.
        matches: by the kinds' values in the store.
    """

    card: Card
    task: str
    labels: dict[int, str]
    matches: dict[int, Match]

    @property
    def origin(self) -> str:
        """What the model is called after: its base, or, where it has nothing of one, its labels."""
        return (nameAfter(self.labels.values()) if self.task == AdaptTask.NEW_LABELS else "") or self.card.name

    def undrawn(self, case: Snapshot) -> list[str]:
        """The labels that nobody drew in the case: they may be anywhere in its background."""
        return self.missing(case) if case.partly is None else []

    def missing(self, case: Snapshot) -> list[str]:
        """The labels that the case does not show."""
        found = counts(self.matches, case.voxels)
        return [name for name in self.labels.values() if not found.get(name)]


def purposeOf(card: Card, task: str) -> str:
    """Under which the user's choice of labels is kept."""
    return f"{task} {card.name}" if task == AdaptTask.IMPROVE else task


def makePlan(store: CaseStore, card: Card, task: str) -> Plan:
    """A plan with all that can be told by names and codes; what the user chose before comes first."""
    chosen = store.mapping.get(purposeOf(card, task), {})
    if task == AdaptTask.IMPROVE:
        labels = {label.value: label.name for label in card.labels}
        matches = {value: match(kind, card.labels, chosen.get(value)) for value, kind in store.kinds.items()}
        return Plan(card, task, labels, matches)
    names = ownLabels(store.kinds.values())
    matches = {value: matchOwn(kind, names, chosen.get(value)) for value, kind in store.kinds.items()}
    used = [name for name in names if any(one.label == name for one in matches.values())]
    return Plan(card, task, dict(enumerate(used, start=1)), matches)


def choices(plan: Plan, kinds: Mapping[int, Kind]) -> list[str]:
    """The labels that a kind of segment can be."""
    names = list(plan.labels.values()) if plan.task == AdaptTask.IMPROVE else ownLabels(kinds.values())
    return [*names, BACKGROUND, IGNORE]


def examine(plan: Plan, store: CaseStore) -> tuple[Findings, dict[str, Findings]]:
    """What is to be said of the whole, and of each case that has something."""
    everyCase = {id: _examineCase(plan, store, case) for id, case in store.cases.items()}
    return _examineAll(plan, store), {id: found for id, found in everyCase.items() if found}


def summary(store: CaseStore) -> str:
    """How many cases there are for what."""
    roles = [case.role for case in store.cases.values()]
    train, val, unlabeled = (roles.count(role) for role in (TRAIN, VAL, UNLABELED))
    if not train and not val:
        return _("{count} unlabeled").format(count=unlabeled) if unlabeled else ""
    if val:
        check = _("{count} to check with").format(count=val)
    elif train >= HELD_OUT:
        check = _("every fourth is kept aside to check with")
    else:
        check = _("too few to check the result with")
    parts = [_("{count} to train with").format(count=train), check]
    parts += [_("{count} unlabeled").format(count=unlabeled)] if unlabeled else []
    return ", ".join(parts)


def _examineAll(plan: Plan, store: CaseStore) -> Findings:
    found = Findings()
    cases = list(store.cases.values())
    train = [case for case in cases if case.role == TRAIN]
    if plan.card.task != SEGMENTATION or plan.card.preprocessing.channels != 1:
        found.problems.append(
            _("'{name}' does not segment single images: choose another base").format(name=plan.card.name)
        )
    if not train:
        text = _("No case to train with: add an image with its segmentation, or set a labeled case to 'train'")
        found.problems.append(text)
        return found
    if not plan.labels:
        found.problems.append(_("Nothing to learn: no kind of segment is a label"))
    drawn = [counts(plan.matches, case.voxels) for case in train]
    if all(case.partly and not shown.get(BACKGROUND) for case, shown in zip(train, drawn, strict=True)):
        text = _("In no case to train with the rest is labeled, so there is no background to learn: choose 'background'"
                 " under 'Outside' for a case that is complete, or draw a segment named 'background'")  # fmt: skip
        found.problems.append(text)
    unseen = [name for name in plan.labels.values() if not any(shown.get(name) for shown in drawn)]
    if unseen:
        text = _("No case to train with shows {names}: what the base knows of it is all there is")
        found.notes.append(text.format(names=", ".join(unseen)))
    return found


def _examineCase(plan: Plan, store: CaseStore, case: Snapshot) -> Findings:
    found = Findings()
    files = [store.image(case), *([store.labels(case)] if case.voxels else [])]
    if not all(path.is_file() for path in files):
        found.problems.append(_("its files are gone: remove it, and add it again"))
        return found
    twins = [other.id for other in store.cases.values() if other.digest == case.digest and other.id != case.id]
    if twins:
        found.problems.append(_("the same image as case {twin}: remove one of them").format(twin=twins[0]))
    same = [other for other in store.cases.values() if other.subject == case.subject]
    apart = [other for other in same if other.role != case.role and UNLABELED not in (other.role, case.role)]
    if apart:
        text = _("shows the same patient as case {other}, which is used to {role}: use both for the same")
        found.problems.append(text.format(other=apart[0].id, role=apart[0].role))
    if differ(case.modality, plan.card.modality):
        text = _("its modality is {told}, the base was trained on {expected}: look whether that suits")
        found.notes.append(text.format(told=case.modality, expected=plan.card.modality))
    if case.role == UNLABELED:
        return found
    if plan.task == AdaptTask.IMPROVE:  # new labels get windows of their own
        _examineSize(plan.card, case, found)
    undecided = [value for value in case.voxels if plan.matches[value].label == UNDECIDED]
    found.problems.extend(plan.matches[value].problem + _(", in the section Labels") for value in undecided)
    shown = counts(plan.matches, case.voxels)
    if not undecided and not any(shown.get(name) for name in plan.labels.values()):
        found.problems.append(_("has nothing to learn: draw a segment with Edit, or set it to 'unlabeled'"))
    elif missing := plan.missing(case):
        if case.partly:
            rest = _("what has no segment counts as not labeled")
        else:
            rest = _("it counts as not drawn, wherever it is") if plan.undrawn(case) else _("it counts as absent")
        text = _("no {names}: {rest}; choose otherwise under 'Outside' if that is wrong")
        found.notes.append(text.format(names=", ".join(missing), rest=rest))
    if case.overlap:
        one = _("One voxel lies in several segments, and counts for the last one: mend it with Edit")
        more = _("{count} voxels lie in several segments, and count for the last one: mend it with Edit")
        found.notes.append(counted(case.overlap, one, more))
    return found


def _examineSize(card: Card, case: Snapshot, found: Findings) -> None:
    window, extent = patchAlongRasMm(card, np.eye(3)), np.array(case.extent)
    if card.preprocessing.orientation == STORED:  # how the image was stored is not kept: as if it suited best
        window, extent = np.sort(window), np.sort(extent)
    sizes = {"extent": _mm(extent), "window": _mm(window)}
    if card.preprocessing.slice_axis is None and (extent < THIN * window).any():
        text = _("too thin ({extent}) for a base that looks at {window} at once: take an image of more slices")
        found.problems.append(text.format(**sizes))
    elif card.needs_cascade(case.extent):
        text = _("too large ({extent}), the base trains on crops of {window}: crop it around the structure with module"
                 " Crop Volume, and add that")  # fmt: skip
        found.problems.append(text.format(**sizes))
    elif card.preprocessing.slice_axis is None and (extent > LARGE * window).any():
        found.notes.append(
            _("large ({extent}) for a base that looks at {window} at once: cropping it saves time").format(**sizes)
        )


def _mm(lengths: Sequence[float] | np.ndarray) -> str:
    return " × ".join(f"{length:.0f}" for length in lengths) + " mm"


def freeze(plan: Plan, store: CaseStore, folder: Path) -> Path:
    """Write the data set of a run: whatever happens to the cases afterwards, the run does not change.

    Images, and label maps that have the values to learn already, are linked where the disk can do that: snapshots are
    replaced, never changed in place.

    Raises:
        LLMBoostError: a file cannot be read or written.
    """
    used = [case for case in store.cases.values() if case.role == UNLABELED or _isUseful(plan, case)]
    ignore = max(plan.labels, default=0) + 1
    ignoring = any(case.partly for case in used if case.role != UNLABELED)
    ignoring |= any(one.label == IGNORE for one in plan.matches.values())
    names = {0: BACKGROUND, **plan.labels, **({ignore: IGNORE} if ignoring else {})}
    byName = {name: value for value, name in names.items()}
    for case in used:
        source = store.image(case)
        link(source, folder / source.parent.name / source.name)
        if case.role == UNLABELED:
            continue
        values = {0: ignore if case.partly else 0}
        values |= {value: byName[plan.matches[value].label] for value in case.voxels}
        target = folder / LABELS / (case.id + EXTENSION)
        if all(value == new for value, new in values.items()):
            link(store.labels(case), target)
            continue
        table = np.zeros(max(values) + 1, np.uint8 if ignore < 256 else np.uint16)
        table[list(values)] = list(values.values())
        drawn = read_image(store.labels(case))
        write_image(drawn.with_array(table[drawn.array.astype(np.intp)]), target)
    undrawn = {case.id: plan.undrawn(case) for case in used if case.role != UNLABELED and plan.undrawn(case)}
    labels = {str(value): name for value, name in names.items()}
    writeDataset(folder, labels, plan.card.modality, used, _title(plan), undrawn)
    return folder


def _title(plan: Plan) -> str:
    """What the data set is called; a new label set is called so, too."""
    return ", ".join(plan.labels.values())[:60] if plan.task == AdaptTask.NEW_LABELS else "local cases"


def _isUseful(plan: Plan, case: Snapshot) -> bool:
    return any(counts(plan.matches, case.voxels).get(name) for name in plan.labels.values())
