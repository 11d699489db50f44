"""The sections Cases and Labels of the panel: what there is to learn from, and what stands in the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from slicer.i18n import tr as _

from llmboost.io.labels import IGNORE

from ..panels.errordisplay import capitalized
from .cases import ROLES, UNLABELED, Snapshot
from .casestore import CaseStore
from .cells import NOTE_COLOR, PROBLEM_COLOR, Table
from .mapping import BACKGROUND, meaningOf
from .plan import Findings, Plan, choices, purposeOf, summary
from .snapshot import nodesOf, segmentsState, sideOf

MAX_LINES = 6  # of problems below the table


class CasesView:
    """Both tables.

    Args:
        ui: caseTable, casesLabel, mappingTable, labelsLabel.
        onChanged: is called when the user changed a case or a label.
        onSelection: is called when other rows are chosen.
        failing: shows what goes wrong in its block.
    """

    def __init__(
        self, ui: Any, onChanged: Callable[[], None], onSelection: Callable[[], None], failing: Callable[[], Any]
    ) -> None:
        self._ui, self._onChanged, self._failing = ui, onChanged, failing
        headers = [_("Case"), _("Seg."), _("Use"), _("Partly"), _("State")]
        self._cases = Table(ui.caseTable, headers, 0, narrow=4, onSelection=onSelection)
        self._kinds = Table(ui.mappingTable, [_("Segment"), _("Cases"), _("Label"), _("Found by")], 0, 2)
        self._states: dict[str, tuple[int, ...]] = {}  # of the segments when they were copied, by case
        self._store: CaseStore | None = None
        self._plan: Plan | None = None
        self._found: dict[str, Findings] = {}

    @property
    def selected(self) -> list[Snapshot]:
        """The cases whose rows are chosen."""
        return [self._store.cases[id] for id in self._cases.selected if id in self._store.cases] if self._store else []

    def remember(self, case: Snapshot) -> None:
        """The segmentation in the scene is what the case holds."""
        segmentationNode = nodesOf(case)[1]
        if segmentationNode is not None:
            self._states[case.id] = segmentsState(segmentationNode)

    def isEdited(self, case: Snapshot) -> bool:
        """Whether the segmentation in the scene was edited since it was copied."""
        segmentationNode = nodesOf(case)[1]
        if segmentationNode is None:
            return False
        return self._states.setdefault(case.id, segmentsState(segmentationNode)) != segmentsState(segmentationNode)

    def show(self, store: CaseStore | None, plan: Plan | None, found: dict[str, Findings]) -> None:
        """Fill both tables; there is no store where its folder cannot be read."""
        self._store, self._plan, self._found = store, plan, found
        self._cases.fill(list(store.cases) if store else [], self._writeCase)
        values = [str(value) for value in store.kinds] if store else []
        self._kinds.fill(values if plan else [], self._writeKind)
        lines = [f"{title(store.cases[id])}: {text}" for id in found for text in found[id].problems]
        more = len(lines) - MAX_LINES
        if more > 0:
            lines = [*lines[:MAX_LINES], _("and {count} more").format(count=more)]
        empty = _(
            "No cases yet. Segment an image, correct the segments, and add both here: by Add, or by 'Add this case' in"
            " LLMBoost Segment."
        )
        self._ui.casesLabel.text = "\n".join([(summary(store) if store else "") or empty, *lines])
        used = sum(one.label not in (BACKGROUND, IGNORE, "") for one in plan.matches.values()) if plan else 0
        text = _("{used} of {count} kinds of segments are labels that the model learns.")
        none = _("The segments of the cases will be listed here.")
        doubts = [capitalized(one.doubt) for one in plan.matches.values() if one.doubt] if plan else []
        lines = [text.format(used=used, count=len(values)), *doubts]
        self._ui.labelsLabel.text = "\n".join(lines) if values else none
        self._ui.mappingTable.visible = bool(values)

    def _writeCase(self, row: int, id: str) -> None:
        case, table = self._store.cases[id], self._cases
        names = [self._store.kinds[value].name for value, count in case.voxels.items() if count]
        table.text(row, 0, title(case), f"{id}, {_extent(case)}")
        table.text(row, 1, str(len(names)) if names else "–", ", ".join(names) or _("none"))

        def choose(index: int) -> None:
            with self._change():
                self._store.setRole(id, ROLES[index])

        tip = _("train: learned from; val: checks the training; test: kept out of it; unlabeled: waits to be labeled")
        table.choice(row, 2, [*ROLES], ROLES.index(case.role), choose, tip)
        if case.role != UNLABELED and self._plan is not None:

            def tick(ticked: bool) -> None:
                with self._change():
                    self._store.setPartly(id, ticked)

            tip = _("Ticked: what has no segment was not labeled, and is not learned from. Unticked: it is background.")
            table.tick(row, 3, self._plan.isPartly(case), tick, tip)
        found = self._found.get(id, Findings())
        texts, color = [*found.problems, *found.notes], PROBLEM_COLOR if found.problems else NOTE_COLOR
        if self.isEdited(case):
            texts.append(_("the segmentation in the scene was edited since: 'Take over edits' copies it"))
        elif not texts:
            color = ""
        state = texts[0] if texts else _("to be labeled") if case.role == UNLABELED else _("ready")
        table.text(row, 4, state, "\n".join(texts) or state, color)

    def _writeKind(self, row: int, key: str) -> None:
        value, table, plan, store = int(key), self._kinds, self._plan, self._store
        kind, found = store.kinds[value], plan.matches[value]
        meaning = meaningOf(kind.terminology)
        table.text(row, 0, kind.name, _("SNOMED: {meaning}").format(meaning=meaning) if meaning else kind.name)
        table.text(row, 1, str(sum(bool(case.voxels.get(value)) for case in store.cases.values())))
        names = choices(plan, store.kinds)
        shown = {BACKGROUND: _("background: not learned"), IGNORE: _("ignore: not labeled")}

        def choose(index: int) -> None:
            with self._change():
                purpose = purposeOf(plan.card, plan.task)
                store.setMapping(purpose, {**store.mapping.get(purpose, {}), value: names[index]})

        current = names.index(found.label) if found.label in names else -1
        table.choice(row, 2, [shown.get(name, name) for name in names], current, choose, found.problem or found.doubt)
        text, color = found.how, NOTE_COLOR if found.doubt else ""
        if found.problem:
            text, color = _("no label yet"), PROBLEM_COLOR
        table.text(row, 3, text, found.problem or found.doubt or text, color)

    @contextmanager
    def _change(self) -> Iterator[None]:
        with self._failing():
            yield
        self._onChanged()


def title(case: Snapshot) -> str:
    """What the panel calls a case: the node's name where it is in the scene, for a snapshot has none."""
    volumeNode = nodesOf(case)[0]
    if volumeNode is None:
        return case.id
    side = sideOf(case)
    return f"{volumeNode.GetName()} ({side.lower()})" if side else str(volumeNode.GetName())


def _extent(case: Snapshot) -> str:
    return " × ".join(f"{mm:.0f}" for mm in case.extent) + " mm"
