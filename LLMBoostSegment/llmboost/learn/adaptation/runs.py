"""The folder of an adaptation's run: from it a killed run is continued, and one that ended goes on for longer."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...card import Adapter
from ...errors import Cancelled, LLMBoostError
from ...files import LOCK, digest_of, write_whole
from ...jsonfile import read_json
from ..budget import BUDGET
from ..checkpoint import differences
from ..folds import RESULT
from ..provenance import versions
from ..train import alone, check_free, run_folder
from ..trainer import check_run
from ..trainingreport import REPORT
from .common import MINUTES, Adaptation, AdaptSettings

RUN = "adapt.json"


@dataclass(frozen=True)
class Ended:
    """What a run came to, over all of its sittings.

    Attributes:
        wrote: SHA-256 of its file.
        steps: of its training.
        seconds: from reading to writing.
        trained: seconds of the training alone.
    """

    wrote: str
    steps: int
    seconds: float
    trained: float


class Run:
    """A run's folder, this process's alone.

    Attributes:
        ended: how it ended before; None: it did not yet.
    """

    def __init__(self, output: Path, entry: dict[str, Any], ended: Ended | None) -> None:
        self.folder, self.ended = run_folder(output), ended
        self._output, self._entry = output, entry

    @property
    def spent(self) -> float:
        """Seconds of earlier sittings."""
        return self.ended.seconds if self.ended else 0.0

    def check_output(self) -> None:
        """Raises LLMBoostError unless the output is free, or what this run itself wrote before."""
        check_free(self._output, resume=self.ended is not None)
        if self.ended and os.path.lexists(self._output) and _digest(self._output) != self.ended.wrote:
            raise LLMBoostError(
                f"{self._output}: is not what the run in {self.folder} wrote; choose another output, or remove it"
            )

    def end(self, steps: int, seconds: float, trained: float) -> None:
        """Note that the output is written, so that the run can go on; numbers as in :class:`Ended`. What was found of
        an earlier one goes."""
        for name in (RESULT, REPORT):
            (self.folder / name).unlink(missing_ok=True)
        ended = Ended(digest_of(self._output), steps, seconds, trained)
        write_whole(self.folder / RUN, json.dumps({**self._entry, "ended": asdict(ended)}, sort_keys=True).encode())


def training_minutes(settings: AdaptSettings, ended: Ended | None, elapsed: float, afterwards: float) -> float | None:
    """The training's budget over all sittings: what remains of all minutes when as much is set aside as will be needed
    after it; None for a budget in steps.

    Args:
        elapsed: seconds of this sitting until now.
        afterwards: seconds that will be needed when the training is over.
    """
    if settings.steps is not None:
        return None
    spent, trained = (ended.seconds, ended.trained) if ended else (0.0, 0.0)
    left = 60 * (settings.minutes or MINUTES) - spent - elapsed - afterwards
    return (trained + max(left, 1.0)) / 60


@contextmanager
def run_of(output: Path, adapter: Adapter, adaptation: Adaptation, resume: bool) -> Iterator[Run]:
    """The run that is to write ``output``. Its folder goes when that comes to nothing; it stays when the process is
    killed, to be continued, and when the output is written, to go on with ``resume``.

    Raises:
        LLMBoostError: another run is at work there, ended there and is not to go on, or differs, and how; with
            ``resume``, there is none, or the budget is spent already.
    """
    entry = _entry(adapter, adaptation)
    with alone(output) as folder:
        check_run(folder)
        known = known_run(folder / RUN)
        ended = _ended(known.pop("ended", None))
        _check(folder, known, entry, ended, resume)
        if not known:
            _clear(folder)
            write_whole(folder / RUN, json.dumps(entry, sort_keys=True).encode())
        run = Run(output, entry, ended)
        run.check_output()  # another run may have written it meanwhile
        try:
            yield run
        except (Cancelled, LLMBoostError):
            if not ended:
                _clear(folder)
            raise


@contextmanager
def ended_run(output: Path, adapter: Adapter, adaptation: Adaptation) -> Iterator[Run]:
    """The run that wrote ``output``, to add to what that tells; without a budget, that of the run counts.

    Raises:
        LLMBoostError: none ended there, another is at work there, or it differs, and how.
    """
    with alone(output) as folder:
        check_run(folder)
        known = known_run(folder / RUN)
        ended = _ended(known.get("ended"))
        if ended is None:
            raise LLMBoostError(f"{folder}: no run that ended, whose model could be checked; train it first")
        now = _entry(adapter, adaptation)
        then = {key: value for key, value in known.items() if key != "ended"}
        if now["settings"]["steps"] is None and now["settings"]["minutes"] is None:
            then, now = ({**one, "settings": _without_budget(one["settings"])} for one in (then, now))
        _check_same(folder, then, now, "ended")
        run = Run(output, known, ended)
        run.check_output()
        yield run


def has_ended(output: Path) -> bool:
    """Whether there is a run that wrote ``output``."""
    return _ended(known_run(run_folder(output) / RUN).get("ended")) is not None


def _entry(adapter: Adapter, adaptation: Adaptation) -> dict[str, Any]:
    """What tells a run from others."""
    named = {f"label {value}": name for value, name in adaptation.labels.items()}
    entry = {**asdict(adapter), **adaptation.identity, "labels": named, "versions": versions()}
    del entry["cases"]  # they are told by id
    return entry


def _check(folder: Path, known: dict[str, Any], entry: dict[str, Any], ended: Ended | None, resume: bool) -> None:
    """Raises LLMBoostError as :func:`run_of`."""
    if resume and not known:
        raise LLMBoostError(f"{folder}: no run to go on with; start without --resume")
    if ended and not resume:
        raise LLMBoostError(
            f"{folder}: of a run that ended; go on with --resume and a larger budget, or remove that folder"
        )
    then, now = dict(known), entry
    if ended:
        then, now = ({**one, "settings": _without_budget(one["settings"])} for one in (then, now))
        _check_budget(folder, known["settings"], entry["settings"], ended)
    if known:
        _check_same(folder, then, now, "ended" if ended else "was stopped")


def _check_same(folder: Path, then: dict[str, Any], now: dict[str, Any], what: str) -> None:
    """Raises LLMBoostError, which tells how they differ, unless this is the run that ended or was stopped."""
    if differing := differences(then, now):
        raise LLMBoostError(
            f"{folder}: of a run that {what} and is another one ({differing}); start it as it was started, or remove"
            " that folder"
        )


def _without_budget(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in BUDGET}


def _check_budget(folder: Path, then: dict[str, Any], now: dict[str, Any], ended: Ended) -> None:
    """Raises LLMBoostError unless there is something left to do."""
    if (then.get("steps") is None) != (now["steps"] is None):
        raise LLMBoostError(f"{folder}: its budget was {'minutes' if now['steps'] else 'steps'}; give more of them")
    if now["steps"] is not None and now["steps"] <= ended.steps:
        raise LLMBoostError(f"{folder}: took {ended.steps} steps already; give more in all, with --steps")
    took = ended.seconds / 60
    if now["steps"] is None and (now["minutes"] or MINUTES) <= took:
        raise LLMBoostError(f"{folder}: took {took:.1f} minutes already; give more in all, with --minutes")


def known_run(path: Path) -> dict[str, Any]:
    """The description of a run; empty for what is none, with which nothing can be continued."""
    try:
        known = read_json(path)
    except LLMBoostError:
        return {}
    return known if "base_digest" in known and isinstance(known.get("settings"), dict) else {}


def _ended(told: Any) -> Ended | None:
    """How a run ended, as a file tells it; None for what is no such thing."""
    if not isinstance(told, dict) or told.keys() != Ended.__annotations__.keys() or not isinstance(told["wrote"], str):
        return None
    numbers = [told[name] for name in ("steps", "seconds", "trained")]
    if any(type(number) not in (int, float) or not 0 <= number < math.inf for number in numbers):
        return None
    return Ended(**told)


def _digest(path: Path) -> str:
    try:
        return digest_of(path)
    except OSError as error:
        raise LLMBoostError(f"{path}: cannot be read ({error.strerror}); choose another output") from error


def _clear(run: Path) -> None:
    """Remove what lies in a run's folder, but for the lock that is held."""
    for path in run.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != LOCK:
            with suppress(OSError):
                path.unlink()
