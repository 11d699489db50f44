"""Folders that may come as a zip archive, which may be made to do harm."""

from __future__ import annotations

import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from ..errors import LLMBoostError
from ..files import check_regular, printable

MAX_MEMBERS = 10_000
MAX_BYTES = 8 * 2**30  # of all that is unpacked
MAX_RATIO = 200  # weights are hardly smaller when they are packed; what shrinks so far is made to fill the disk
_UNSAFE = re.compile(r"^[/\\]|\\|^[A-Za-z]:|[\x00-\x1f\x7f]")


@contextmanager
def opened(path: Path, wanted: Callable[[PurePosixPath], bool]) -> Iterator[Path]:
    """The folder ``path``, or a folder with what is in the zip archive there as long as the context lasts.

    Args:
        wanted: which of an archive's files are unpacked.

    Raises:
        LLMBoostError: neither a folder nor an archive, a damaged one, or one that is made to do harm.
    """
    if path.is_dir():
        yield path
        return
    check_regular(path)
    with tempfile.TemporaryDirectory(prefix="llmboost") as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                _unpack(archive, path, Path(folder), wanted)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
            raise LLMBoostError(
                f"{path}: neither a folder nor a zip archive that can be read; copy it again"
            ) from error
        except OSError as error:
            raise LLMBoostError(f"{path}: cannot be unpacked ({error.strerror}); free some space") from error
        try:
            yield Path(folder)
        except LLMBoostError as error:  # of files that a user knows by their archive
            raise LLMBoostError(str(error).replace(folder, str(path))) from error


def _unpack(archive: zipfile.ZipFile, path: Path, folder: Path, wanted: Callable[[PurePosixPath], bool]) -> None:
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise LLMBoostError(f"{path}: refused, {len(members)} files in it, more than any model has")
    for member in members:
        _check(member, path)
    chosen = [member for member in members if not member.is_dir() and wanted(PurePosixPath(member.filename))]
    if len({member.filename.casefold() for member in chosen}) < len(chosen):
        raise LLMBoostError(f"{path}: refused, a file is in it twice")
    if (size := sum(member.file_size for member in chosen)) > MAX_BYTES:
        raise LLMBoostError(f"{path}: refused, {size / 2**30:.0f} GB when unpacked, {MAX_BYTES >> 30} at most")
    for member in chosen:
        target = folder / member.filename
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(member) as source, target.open("xb") as file:  # never more than the size that was checked
            shutil.copyfileobj(source, file)


def _check(member: zipfile.ZipInfo, path: Path) -> None:
    """Raises LLMBoostError for what would be written elsewhere, is no plain file, or is much larger than it looks."""
    name, kind = printable(member.filename), stat.S_IFMT(member.external_attr >> 16)
    if _UNSAFE.search(member.filename) or ".." in PurePosixPath(member.filename).parts:
        raise LLMBoostError(f"{path}: refused, '{name}' in it would be written elsewhere")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise LLMBoostError(f"{path}: refused, '{name}' in it is a link or a device")
    if member.flag_bits & 1:
        raise LLMBoostError(f"{path}: '{name}' in it has a password; unpack it and give the folder")
    if member.file_size > MAX_RATIO * member.compress_size + 2**20:
        raise LLMBoostError(f"{path}: refused, '{name}' in it is {member.file_size} bytes when unpacked")
