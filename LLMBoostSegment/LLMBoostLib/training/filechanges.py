"""Changes of several files that are made all together, or not at all; and files for the user alone."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from llmboost.errors import LLMBoostError

from ..translation import tr as _

FOLDER_MODE, FILE_MODE = 0o700, 0o600


class FileChanges:
    """Changes to make at the end of a ``with`` block: new files are written beside the old ones until then.

    An error in the block, or in making the changes, leaves all as it was: a full disk is met while the new files are
    written, and what was renamed after that is renamed back.
    """

    def __init__(self) -> None:
        self._steps: list[tuple[Path | None, Path]] = []  # (what takes its place, or None; a file)
        self._temporary: list[Path] = []
        self._made: list[Path] = []  # folders, the innermost one first

    def __enter__(self) -> FileChanges:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        done = False
        try:
            if error is None:
                self._make()
                done = True
        finally:
            for path in self._temporary:
                with suppress(OSError):
                    path.unlink()
            for folder in self._made if not done else ():
                with suppress(OSError):
                    folder.rmdir()

    def write(self, target: Path, write: Callable[[Path], None]) -> None:
        """Let ``write`` write what will be at ``target``. Raises LLMBoostError."""
        self._made = [*makeFolder(target.parent), *self._made]
        beside = self._beside(target)
        try:
            write(beside)
        except OSError as error:
            raise _refusal(target, error) from error
        except LLMBoostError as error:
            raise LLMBoostError(str(error).replace(str(beside), str(target))) from error
        self._steps.append((beside, target))

    def move(self, source: Path, target: Path) -> None:
        """Raises LLMBoostError: the folder of ``target`` cannot be made."""
        self._made = [*makeFolder(target.parent), *self._made]
        self._steps.append((source, target))

    def delete(self, target: Path) -> None:
        """Of no effect where there is no such file."""
        self._steps.append((None, target))

    def _beside(self, path: Path) -> Path:
        """A name that nobody has, in the form of :data:`llmboost.files.TEMPORARY`."""
        beside = path.with_name(f".{uuid.uuid4().hex}{''.join(path.suffixes[-2:])}")
        self._temporary.append(beside)
        return beside

    def _make(self) -> None:
        undo: list[tuple[Path, Path]] = []
        target = Path()
        try:
            for source, target in self._steps:
                if os.path.lexists(target):
                    kept = self._beside(target)
                    _keep(target, kept, stays=source is not None)
                    undo.append((kept, target))
                if source is not None:
                    makePrivate(source)
                    os.replace(source, target)
                    undo.append((target, source))
        except BaseException as error:
            for there, back in reversed(undo):
                with suppress(OSError):  # go on with the others
                    os.replace(there, back)
            if not isinstance(error, OSError):
                raise
            raise _refusal(target, error) from error


def _refusal(path: Path, error: OSError) -> LLMBoostError:
    text = _("{path}: cannot be written ({reason}); check the folder's permissions and free space")
    return LLMBoostError(text.format(path=path, reason=error.strerror))


def _keep(path: Path, kept: Path, stays: bool) -> None:
    """Give a file a second name, or, if it need not stay or the disk cannot do that, another one. Raises OSError."""
    if stays:
        with suppress(OSError):
            os.link(path, kept)
            return
    os.replace(path, kept)


def makeFolder(folder: Path) -> list[Path]:
    """Make a folder and those around it where they are missing, for the user alone.

    Returns:
        those that were made, the innermost one first.

    Raises:
        LLMBoostError: it cannot be made.
    """
    made: list[Path] = []
    try:
        for path in [path for path in (*reversed(folder.parents), folder) if not path.is_dir()]:
            path.mkdir(FOLDER_MODE, exist_ok=True)
            made.insert(0, path)
    except OSError as error:
        for path in made:
            with suppress(OSError):
                path.rmdir()
        reason = error.strerror or error
        text = _("{folder}: cannot be written ({reason}); check the permissions around it")
        raise LLMBoostError(text.format(folder=folder, reason=reason)) from error
    return made


def makePrivate(path: Path) -> None:
    """Let only the user read a file or a folder with all that is in it; what links lead to stays as it is."""
    if path.is_symlink():
        return
    isFolder = path.is_dir()
    with suppress(OSError):  # another user's, or a disk without permissions
        os.chmod(path, FOLDER_MODE if isFolder else FILE_MODE)
        for inner in path.iterdir() if isFolder else ():
            makePrivate(inner)
