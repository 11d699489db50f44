"""What must be settled before a worker is given an image: packages that are there, and consent."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from qt import QSettings
from slicer.i18n import tr as _

from llmboost.errors import LLMBoostError
from llmboost.messages.worker import Hello, HelloRequest

from ..install.packages import ensureInstalled, hindrance, missing, obstacle
from ..panels.plaintext import confirmed
from .client import Client
from .launcher import defaultCommand, workerCommand

CONSENT_SETTING = "LLMBoost/RemoteHosts"  # the machines that images may be sent to


def checkCommand() -> list[str]:
    """The worker's command; raises LLMBoostError where the setting holds no command line."""
    try:
        return workerCommand()
    except ValueError as error:
        raise LLMBoostError(
            _("The worker's command cannot be read ({error}); correct it under Advanced").format(error=error)
        ) from error


def needsEnvironment() -> bool:
    """Whether the worker is to run in Slicer's own Python, which never can: a private environment is the way then."""
    return bool(obstacle() and _missing())


def hint() -> str:
    """What the next click on Apply will ask for; empty where all is there."""
    if needsEnvironment():
        return _("Not installed yet: Apply asks before it makes a private environment for the computation.")
    needed = _missing()
    if not needed:
        return ""
    why = hindrance(needed)
    if why:
        return _("Not installed yet: {why}.").format(why=why)
    return _("Not installed yet: Apply asks before it installs what the computation needs.")


def _missing() -> list[str]:
    with suppress(ValueError):  # a command that cannot be read: Apply says so
        return missing("segment")
    return []


def whenReady(client: Client, onReady: Callable[[], None], onError: Callable[[Exception], None]) -> None:
    """Ask what there is to ask, then call one of the two; a request to another machine goes on in the background.

    Questions: to install packages that are missing; once for each other machine, to send images there.

    Raises:
        LLMBoostError: packages are missing and were not installed; the worker's command cannot be read.
    """
    command = checkCommand()
    ensureInstalled("segment")
    if command == defaultCommand():
        onReady()
        return

    def hear(_hello: Hello) -> None:
        try:
            _askConsent(client.remoteHost)
        except LLMBoostError as error:
            onError(error)
        else:
            onReady()

    client.start(HelloRequest(), onDone=hear, onError=onError)


def _askConsent(host: str) -> None:
    """Raises LLMBoostError if images must not leave this machine."""
    known = str(QSettings().value(CONSENT_SETTING) or "").split()
    if not host or host in known:
        return
    question = _(
        "The worker runs on another computer: {host}.\n\nThe image leaves this machine. Its voxels and its position are"
        " sent, names and DICOM headers are not. Send images to {host} from now on?"
    )
    if not confirmed(question.format(host=host)):
        raise LLMBoostError(
            _(
                "Nothing was sent to {host}. To compute on this machine, clear the worker's command under Advanced"
            ).format(host=host)
        )
    QSettings().setValue(CONSENT_SETTING, " ".join([*known, host]))
