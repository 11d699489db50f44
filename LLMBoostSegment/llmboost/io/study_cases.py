"""Cases of studies: what is taken of the series of each, what the case is called, and what is told of the others."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..card import Preprocessing
from ..errors import LLMBoostError
from ..files import printable
from ..studies import Choice, Selection, SeriesFacts
from .bids import channel_of, channels_of, facts_of, session_of
from .case import InputCase
from .case_files import case_id
from .dicom import Study, are_pictures, choose_series, find_studies

Tell = Callable[[str], None]

_LISTED = 20  # series of a study that a line names


def dicom_cases(path: Path, preprocessing: Preprocessing, selection: Selection, tell: Tell) -> list[InputCase]:
    """The cases of all DICOM studies in a folder (or beside a DICOMDIR), or of one file; none where there is no DICOM.

    A series that is alone there is taken whatever it is, for who names its folder wants it. Of pictures (without a
    place in space, or in color), which models of slices take, each file is a case.

    Args:
        tell: is given a line a study on what was taken and what was left.

    Raises:
        LLMBoostError: the series that is named is not there, or several are.
    """
    folder = path.parent if path.name.upper() == "DICOMDIR" else path
    name = Path(os.path.abspath(folder)).name or "case"
    id = name if folder.is_dir() else _without_extension(name)
    studies, damaged = find_studies(folder)
    if not studies:
        return [InputCase(id, (path,), problem=damaged[0])] if damaged else []
    for line in damaged:
        tell(f"left out: {line}")
    flat = preprocessing.slice_axis is not None
    choices = _choices(studies, preprocessing, selection, folder, tell)
    names = _names([study for study in studies if study.key in choices], id, folder)
    cases = []
    for study in studies:
        if study.key in choices:
            found = _cases_of(study, names[study.key], choices[study.key], selection)
            cases += [case for one in found for case in (_pictures(one, folder) if flat else [one])]
            _tell_choice(names[study.key], study.facts, choices[study.key], tell)
    if damaged:
        warning = f"slices may be missing, for {len(damaged)} DICOM file(s) beside it cannot be read: {damaged[0]}"
        cases = [replace(case, notes=(warning, *case.notes)) for case in cases]
    return [replace(cases[0], id=id)] if len(cases) == 1 else cases


def bids_cases(
    folder: Path, files: Sequence[Path], preprocessing: Preprocessing, selection: Selection, tell: Tell
) -> list[InputCase]:
    """The cases of files that BIDS names: of each session what is selected; of a model of several channels, an image
    each.

    Raises:
        LLMBoostError: nobody knows which image is which channel.
    """
    sessions: dict[tuple[tuple[str, ...], str], list[Path]] = defaultdict(list)
    for file in files:
        above = file.relative_to(folder).parts[:-1]
        root = next((above[:n] for n, part in enumerate(above) if part.startswith("sub-")), above)
        sessions[root, session_of(file)].append(file)
    if preprocessing.channels > 1:
        return _of_channels(folder, sessions, preprocessing.channels, selection)
    cases = []
    for (_root, session), members in sessions.items():
        facts = [facts_of(file) for file in members]
        choice = Choice((0,), ()) if len(files) == 1 and not selection.rule else selection.choose(facts, preprocessing)
        chosen, notes = _chosen(facts, choice), _doubts(facts, choice)
        cases += [InputCase(case_id(members[n]), (members[n],), chosen=chosen, notes=notes) for n in choice.taken]
        if not choice.taken:
            problem = _none_suits(members[0].parent, facts, choice, selection)
            cases.append(InputCase(session, (members[0],), problem=problem, unsuitable=True, chosen=chosen))
        _tell_choice(session, facts, choice, tell)
    return cases


def _of_channels(
    folder: Path, sessions: Mapping[tuple[Any, str], list[Path]], count: int, selection: Selection
) -> list[InputCase]:
    """A case a session, of one image a channel; refused where one is not there, or there are several."""
    modality = selection.card.modality if selection.card else ""
    channels = channels_of(modality)
    if sessions and len(channels) != count:
        raise LLMBoostError(
            f"{folder}: images of sessions as BIDS names them, and which is which of the model's {count} channels"
            f" ({printable(modality) or 'not named'}) is not known; name them CASE_0000, CASE_0001, ... in one folder"
        )
    cases = []
    for (_root, session), members in sessions.items():
        found = [[file for file in members if channel_of(file) == channel] for channel in channels]
        wrong = [
            f"{len(files) or 'no'} {suffix}{' with contrast agent' * contrast}"
            for files, (suffix, contrast) in zip(found, channels, strict=True)
            if len(files) != 1
        ]
        if wrong:
            problem = (
                f"{members[0].parent}: the model takes one image a channel ({printable(modality)}), and of session"
            )
            problem += f" '{session}' there is {', '.join(wrong)}; name its images CASE_0000, CASE_0001, ..."
            cases.append(InputCase(session, (members[0],), problem=problem, unsuitable=True))
        else:
            cases.append(InputCase(session, tuple(file for files in found for file in files)))
    return cases


def _choices(
    studies: Sequence[Study], preprocessing: Preprocessing, selection: Selection, folder: Path, tell: Tell
) -> dict[str, Choice]:
    """What is taken of each study; only of those that the selection concerns."""
    found = [series for study in studies for series in study.series]
    if selection.name:
        return _named(studies, selection.name, folder, tell)
    if len(found) == 1 and not selection.rule:
        others = tuple((n, facts.no_image) for n, facts in enumerate(studies[0].facts) if n)
        return {studies[0].key: Choice((0,), others)}
    return {study.key: selection.choose(study.facts, preprocessing) for study in studies}


def _named(studies: Sequence[Study], name: str, folder: Path, tell: Tell) -> dict[str, Choice]:
    """The series of a number in each study, or the one of a UID in all."""
    numbered = [study for study in studies if any(str(series.number) == name for series in study.series)]
    if len(numbered) > 1:
        wanted = {study.key: choose_series(study.series, name, study.folder) for study in numbered}
        if without := len(studies) - len(numbered):
            tell(f"{folder}: left out {without} of {len(studies)} studies, which have no series {printable(name)}")
    else:
        one = choose_series([series for study in studies for series in study.series], name, folder)
        wanted = {study.key: one for study in studies if one in study.series}
    choices = {}
    for study in studies:
        if study.key in wanted:
            taken = study.series.index(wanted[study.key])
            left = tuple((n, "another one is named") for n in range(len(study.facts)) if n != taken)
            choices[study.key] = Choice((taken,), left)
    return choices


def _cases_of(study: Study, name: str, choice: Choice, selection: Selection) -> list[InputCase]:
    chosen, notes = _chosen(study.facts, choice), _doubts(study.facts, choice)
    if not choice.taken:
        problem = _none_suits(study.folder, study.facts, choice, selection)
        files = study.series[0].files[:1]
        return [InputCase(name, files, problem=problem, named=study.folder, unsuitable=True, chosen=chosen)]
    cases = []
    for n in choice.taken:
        series = study.series[n]
        id = "_".join(filter(None, (name, str(series.number or ""), _slug(series.description))))
        id = id if len(choice.taken) > 1 else name
        cases.append(InputCase(id, series.files, series, series.problem, study.folder, chosen=chosen, notes=notes))
    return cases


def _chosen(facts: Sequence[SeriesFacts], choice: Choice) -> dict[str, Any]:
    """As the summary tells it; nothing where there was nothing to choose."""
    if len(facts) < 2:
        return {}
    left = [{"series": str(facts[n]), "why": why} for n, why in choice.left]
    return {"taken": [str(facts[n]) for n in choice.taken], "left": left}


def _doubts(facts: Sequence[SeriesFacts], choice: Choice) -> tuple[str, ...]:
    damaged = [facts[n] for n, _ in choice.left if facts[n].problem]
    unread = [f"not taken, for it cannot be read: {one.name} ({one.problem})" for one in damaged]
    return (*([choice.doubt] if choice.doubt else []), *unread)


def _none_suits(where: Path, facts: Sequence[SeriesFacts], choice: Choice, selection: Selection) -> str:
    model = f"model '{printable(selection.card.name)}'" if selection.card and selection.card.name else "what is asked"
    reasons = "; ".join(f"{facts[n].name} ({why})" for n, why in choice.left[:_LISTED])
    more = f"; and {len(choice.left) - _LISTED} more" if len(choice.left) > _LISTED else ""
    return f"{where}: of {len(facts)} series, none suits {model}; choose one by --series: {reasons}{more}"


def _tell_choice(name: str, facts: Sequence[SeriesFacts], choice: Choice, tell: Tell) -> None:
    """In a line; of a case that will be refused, that refusal tells."""
    if len(facts) < 2 or not choice.taken:
        return
    taken = ", ".join(str(facts[n]) for n in choice.taken[:_LISTED])
    if len(choice.taken) > _LISTED:
        taken += f" and {len(choice.taken) - _LISTED} more"
    left = "; ".join(f"{facts[n].name} ({why})" for n, why in choice.left[:_LISTED])
    if len(choice.left) > _LISTED:
        left += f"; and {len(choice.left) - _LISTED} more"
    tell(f"{name}: took {taken}, of {len(facts)} series" + (f"; left {left}" if left else ""))


def _names(studies: Sequence[Study], name: str, folder: Path) -> dict[str, str]:
    """What the cases of studies are called: as the only one's folder is, or by the folders that each lies in; those
    that share one by their description, and a part of the study's key, which stays when others come."""
    if len(studies) == 1:
        return {studies[0].key: name}
    base = folder if folder.is_dir() else folder.parent
    names = {study.key: "_".join(study.folder.relative_to(base).parts) for study in studies}
    counts = Counter(names.values())
    for study in studies:
        where = names[study.key]
        if not where or counts[where] > 1:
            words = _slug(study.facts[0].study) or _slug(study.facts[0].modality)
            names[study.key] = "_".join(filter(None, (where if len(counts) > 1 else "", words, study.key[:6])))
    return names


def _pictures(case: InputCase, folder: Path) -> list[InputCase]:
    """A case a file, if these are pictures; else the case as it is."""
    if case.series is None or case.problem or not are_pictures(case.series):
        return [case]
    base = folder if folder.is_dir() else folder.parent
    return [
        replace(
            case,
            id=_without_extension("_".join(file.relative_to(base).parts)),
            files=(file,),
            series=replace(case.series, files=(file,)),
            named=None,
        )
        for file in case.files
    ]


def _slug(text: str) -> str:
    """Words of a file as part of a file's name."""
    return re.sub(r"[^\w.]+", "-", text).strip("-._")[:40]


def _without_extension(name: str) -> str:
    return name[:-4] if name.lower().endswith(".dcm") else name
