"""Folders of cases: the command line in a process of its own, for the files need not enter the scene."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from llmboost.errors import LLMBoostError

from .commandline import Cancelled, runCommand
from .launcher import defaultCommand, workerCommand, workerEnvironment

_OVERVIEW = "overview.html"
_ERROR = "error: "  # begins the command line's last line when nothing could be done


def runFolder(
    arguments: Sequence[str],
    output: Path,
    onLine: Callable[[str], None],
    shouldCancel: Callable[[], bool] = lambda: False,
) -> list[dict[str, Any]]:
    """Run ``llmboost`` with the worker's Python and wait; Slicer's windows stay alive meanwhile.

    A worker on another machine does not see this machine's folders: then Slicer's own Python is taken.

    Args:
        arguments: of the command line, the command first.
        output: the folder named in them.
        onLine: is given what the command line prints, and at the end the address of the page about all cases.
        shouldCancel: asked several times a second; True ends the run.

    Returns:
        the rows of ``output``/summary.json.

    Raises:
        Cancelled: ``shouldCancel`` said so; what is finished stays.
        LLMBoostError: it ended without a summary of all cases.
    """
    worker = workerCommand()
    if len(worker) != 3:  # more than [python, -m, llmboost.worker], such as ssh
        worker = defaultCommand()
    last = ""

    def tell(line: str) -> None:
        nonlocal last
        last = line or last
        onLine(line)

    try:
        status = runCommand([*worker[:-1], "llmboost", *arguments], workerEnvironment(worker), tell, shouldCancel)
    except Cancelled:
        text = _("{folder}: cancelled; the cases that were finished are there, and resume=True does the others")
        raise Cancelled(text.format(folder=output)) from None
    if status and (last.startswith(_ERROR) or status != 1):
        text = _("llmboost {command} ended with status {status}").format(command=arguments[0], status=status)
        raise LLMBoostError(last.removeprefix(_ERROR) or text)
    if (page := output / _OVERVIEW).is_file():
        onLine(_("overview of all cases: {page}").format(page=page.absolute().as_uri()))
    return json.loads((output / "summary.json").read_text(encoding="utf-8"))["cases"]
