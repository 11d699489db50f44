"""The tables of cases and of labels: what there is to learn from, and what stands in the way."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

import ctk
import qt
from slicer.i18n import tr as _

from llmboost.io.labels import IGNORE

from ..panels.errordisplay import WARNING_STYLE, capitalized
from ..panels.foldedline import FoldedLine
from ..panels.plural import counted
from .cases import ROLES, UNLABELED, Kind, Snapshot
from .casestore import CaseStore
from .cells import NOTE_COLOR, PROBLEM_COLOR, Table
from .mapping import BACKGROUND, Match, meaningOf
from .plan import Findings, Plan, choices, summary
from .snapshot import nodesOf, sideOf

MAX_LINES = 3  # of problems below the table
LETTERS = 7  # of what is outside of segments, that are seen at least: "background" whole
TOLD = 50  # letters of the header that tells how many kinds of segments are learned
KINDS = 4  # of segments that are seen without scrolling, those in question first
NOTHING = Findings()


class Widgets(Protocol):
    caseTable: qt.QTableWidget
    casesLabel: qt.QLabel
    labelsButton: ctk.ctkCollapsibleButton
    mappingTable: qt.QTableWidget
    labelsLabel: qt.QLabel


class CasesView:
    """Shows the cases, and the kinds of their segments.

    Args:
        onSelection: is called when the user chooses other cases.
        onRole: is called with the id of a case that is to be used otherwise, and its role.
        onPartly: is called with the id of a case, and what has no segment in it, see :class:`.cases.Snapshot`.
        onLabel: is called with the value of a kind of segment, and the label that it is.
    """

    def __init__(
        self,
        ui: Widgets,
        onSelection: Callable[[], None],
        onRole: Callable[[str, str], None],
        onPartly: Callable[[str, bool | None], None],
        onLabel: Callable[[int, str], None],
    ) -> None:
        self._ui, self._onRole, self._onPartly, self._onLabel = ui, onRole, onPartly, onLabel
        headers = [_("Case"), _("Use"), _("Outside"), _("State")]
        self._cases = Table(ui.caseTable, headers, 0, narrow=3, onSelection=onSelection)
        self._kinds = Table(ui.mappingTable, [_("Segment"), _("Label")], 0, 1, most=KINDS)
        self._labels, self._hadQuestion = FoldedLine(ui.labelsButton, TOLD), False
        ui.labelsLabel.setStyleSheet(WARNING_STYLE)

    @property
    def selected(self) -> list[str]:
        """The ids of the cases whose rows are chosen."""
        return self._cases.selected

    def show(
        self, store: CaseStore | None, plan: Plan | None, found: Mapping[str, Findings], edited: Collection[str]
    ) -> None:
        """Fill both tables.

        Args:
            store: None where its folder cannot be read.
            plan: None without a store, or without a base model.
            found: what is to be said of cases, by id.
            edited: the ids of the cases whose segmentation in the scene is not what was copied.
        """
        cases, kinds = (store.cases, store.kinds) if store else ({}, {})

        def writeCase(row: int, id: str) -> None:
            case = cases[id]
            self._writeCase(row, case, [kinds[value].name for value, count in case.voxels.items() if count], plan)
            self._writeState(row, case, found.get(id, NOTHING), id in edited)

        self._cases.fill(list(cases), writeCase)
        lines = [f"{title(cases[id])}: {text}" for id in found for text in found[id].problems]
        more = len(lines) - MAX_LINES
        if more > 0:
            lines = [*lines[:MAX_LINES], _("and {count} more").format(count=more)]
        empty = _(
            "No cases yet. Segment an image, correct the segments, and add both here: by Add, or by 'Add this case' in"
            " LLMBoost Segment."
        )
        self._ui.casesLabel.text = "\n".join([(summary(store) if store else "") or empty, *lines])
        self._showKinds(kinds, cases.values(), plan)

    def _writeCase(self, row: int, case: Snapshot, names: list[str], plan: Plan | None) -> None:
        table, id = self._cases, case.id
        table.text(row, 0, title(case), "\n".join([id, _extent(case), ", ".join(names) or _("no segments")]))
        tip = _("train: learned from; val: checks the training; test: kept out of it; unlabeled: waits to be labeled")
        uses = [_("unlabeled") if role == UNLABELED else role for role in ROLES]
        table.choice(row, 1, uses, ROLES.index(case.role), lambda index: self._onRole(id, ROLES[index]), tip)
        if case.role != UNLABELED and plan is not None:
            self._writeOutside(row, case, bool(plan.missing(case)))

    def _writeOutside(self, row: int, case: Snapshot, lacks: bool) -> None:
        """What has no segment: choices for :attr:`.cases.Snapshot.partly`; where no label is missing, two are one."""
        meanings = {False: _("background"), None: _("some not drawn"), True: _("not labeled")}
        if not lacks:
            del meanings[None]
        values, current = list(meanings), case.partly if case.partly in meanings else False
        tip = _(
            "What has no segment is background; or it is background, but a label that is missing was not drawn and may"
            " be anywhere in it; or it is not labeled: only what has a segment is learned from."
        )

        def chosen(index: int) -> None:
            self._onPartly(case.id, values[index])

        self._cases.choice(row, 2, list(meanings.values()), values.index(current), chosen, tip, letters=LETTERS)

    def _writeState(self, row: int, case: Snapshot, found: Findings, isEdited: bool) -> None:
        texts, color = [*found.problems, *found.notes], PROBLEM_COLOR if found.problems else NOTE_COLOR
        if isEdited:
            texts.append(_("the segmentation in the scene was edited since: 'Update case' copies it"))
        elif not texts:
            color = ""
        state = texts[0] if texts else _("to be labeled") if case.role == UNLABELED else _("ready")
        self._cases.text(row, 3, state, "\n".join(texts[1:]), color)

    def _showKinds(self, kinds: Mapping[int, Kind], cases: Collection[Snapshot], plan: Plan | None) -> None:
        names = choices(plan, kinds) if plan else []
        matches = plan.matches if plan else {}

        def writeKind(row: int, key: str) -> None:
            value = int(key)
            count = sum(bool(case.voxels.get(value)) for case in cases)
            where, found = counted(count, _("in one case"), _("in {count} cases")), matches[value]
            color = PROBLEM_COLOR if found.problem else NOTE_COLOR if found.doubt else ""
            meaning = meaningOf(kinds[value].terminology)
            told = [_("SNOMED: {meaning}").format(meaning=meaning)] if meaning else []
            self._kinds.text(row, 0, kinds[value].name, "\n".join([*told, where]), color)
            self._writeLabel(row, value, found, names)

        known = [value for value in kinds if value in matches]
        known.sort(key=lambda value: (not matches[value].problem, not matches[value].doubt))
        self._kinds.fill([str(value) for value in known], writeKind)
        self._showLabels(list(matches.values()))

    def _showLabels(self, found: Sequence[Match]) -> None:
        """How many are learned, and what is to be looked at, for which the section is opened."""
        text = _("Labels: {used} of {count} kinds of segments are learned")
        used = sum(one.isLearned for one in found)
        self._labels.show(text.format(used=used, count=len(found)) if found else "")
        doubts = [capitalized(one.doubt) for one in found if one.doubt]
        self._ui.labelsLabel.text = "\n".join(doubts)
        self._ui.labelsLabel.visible = bool(doubts)
        self._ui.labelsButton.visible = bool(found)
        hasQuestion = bool(doubts) or any(one.problem for one in found)
        if hasQuestion and not self._hadQuestion:
            self._labels.fold(False)
        self._hadQuestion = hasQuestion

    def _writeLabel(self, row: int, value: int, found: Match, names: list[str]) -> None:
        shown = {BACKGROUND: _("background: not learned"), IGNORE: _("ignore: not labeled")}
        texts, current = [shown.get(name, name) for name in names], -1
        if found.label in names:
            current = names.index(found.label)
        tip = found.problem or found.doubt or _("found by: {how}").format(how=found.how)

        def chosen(index: int) -> None:
            self._onLabel(value, names[index])

        self._kinds.choice(row, 1, texts, current, chosen, tip, nothing=_("no label yet"))


def title(case: Snapshot) -> str:
    """What the panel calls a case: the node's name where it is in the scene, for a snapshot has none."""
    volumeNode = nodesOf(case)[0]
    if volumeNode is None:
        return case.id
    side = sideOf(case)
    return f"{volumeNode.GetName()} ({side.lower()})" if side else str(volumeNode.GetName())


def _extent(case: Snapshot) -> str:
    return " × ".join(f"{mm:.0f}" for mm in case.extent) + " mm"
