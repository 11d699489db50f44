"""Files that are safe to open, and files that appear whole or not at all, whatever happens meanwhile."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import socket
import stat
import sys
import time
import unicodedata
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import LLMBoostError

if sys.platform == "win32":
    import msvcrt

    def _wait_for(handle: int, wait: bool) -> bool:
        while True:
            try:
                msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
                return True
            except PermissionError as error:
                if not wait:
                    raise BlockingIOError from error
                time.sleep(0.01)

    def _runs(pid: int) -> bool:
        import ctypes

        kernel = ctypes.windll.kernel32
        handle = kernel.OpenProcess(0x100000, 0, pid)  # the right to wait for it
        timed_out = bool(handle) and kernel.WaitForSingleObject(handle, 0) == 0x102
        kernel.CloseHandle(handle)
        return timed_out
else:
    import fcntl

    def _wait_for(handle: int, wait: bool) -> bool:
        # network file systems may know no locks: whoever writes there alone is as safe as ever
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            return False
        return True

    def _runs(pid: int) -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # somebody else's
        return True


WINDOWS = os.name == "nt"
LOCK = ".llmboost.lock"

# of what a killed process leaves behind: its machine, its number there, and 16 digits that are never twice the same
TEMPORARY = re.compile(r"\.([0-9a-f]{8})([0-9a-f]{8})[0-9a-f]{16}(?:\.|$)")
_MACHINE = f"{zlib.crc32(socket.gethostname().encode()):08x}"

# a message about such a name is more than one line, or cannot be printed
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def check_regular(path: Path) -> None:
    """Refuse what is no file of bytes: opening a pipe or a device may never end.

    Raises:
        LLMBoostError: nothing is there, it cannot be read, it is empty, or its name cannot be shown in a line.
    """
    escaped = _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], str(path))
    if escaped != str(path):
        raise LLMBoostError(f"{escaped}: a line break or an unreadable character is in its name; rename it")
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise LLMBoostError(f"{path}: a folder, but a file is needed here")
        if not stat.S_ISREG(status.st_mode):
            raise LLMBoostError(f"{path}: a pipe or a device, not a file; copy its content into a file")
        path.open("rb").close()
    except FileNotFoundError as error:
        if path.is_symlink():
            raise LLMBoostError(f"{path}: a link to a file that is not there; mend or remove it") from error
        raise LLMBoostError(f"{path}: no such file") from error
    except OSError as error:
        raise LLMBoostError(f"{path}: cannot be read ({error.strerror})") from error
    if not status.st_size:
        raise LLMBoostError(f"{path}: an empty file; copy it again")


def printable(text: str) -> str:
    """Words from a file for a message: short, in one line, and without the power to confuse a terminal."""
    return visible(text if len(text) <= 100 else text[:100] + "...")


def visible(text: str) -> str:
    """Text in one line in which characters that steer a terminal, turn the direction or show nothing are spelled out.

    Letters of all scripts stay, and blanks of all widths.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() or unicodedata.category(c) == "Zs" else ascii(c)[1:-1] for c in text)


def digest_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal; raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path in the folder and with the extension of ``path``; it replaces ``path`` on success only.

    The folder is made if missing.

    Raises:
        LLMBoostError: writing failed; nothing is left behind, and an older file at ``path`` is untouched.
    """
    # in small letters: ITK's NIfTI writer does not know .NII
    # not tempfile: its files are readable by their owner alone, results lie in shared folders
    temporary = path.with_name(f"{_temporary_name()}{''.join(path.suffixes[-2:]).lower()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except (OSError, RuntimeError, LLMBoostError) as error:
        raise _not_written(path, error) from error
    finally:
        with suppress(OSError):  # such as a parent that is no folder
            temporary.unlink()


def write_whole(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``; raises LLMBoostError as :func:`atomic_path`."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """A hidden folder within ``folder`` for results that are to be put in place together; it is removed at the end.

    Raises:
        LLMBoostError: it cannot be made.
    """
    stage = folder / _temporary_name()
    try:
        stage.mkdir()
    except OSError as error:
        raise _not_written(folder, error) from error
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes of this machine have left of files that were being written into a folder."""
    for path in folder.iterdir():
        found = TEMPORARY.match(path.name)
        if not found or found[1] != _MACHINE or _runs(int(found[2], 16)):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _temporary_name() -> str:
    return f".{_MACHINE}{os.getpid():08x}{uuid.uuid4().hex[:16]}"


def _not_written(path: Path, error: Exception) -> LLMBoostError:
    reason = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
    return LLMBoostError(f"{path}: cannot be written{reason}; check the folder's permissions and free space")


@contextmanager
def locked(folder: Path, *, wait: bool = True) -> Iterator[bool]:
    """Wait until no other process or thread is in here for the same folder, and keep them out meanwhile.

    The system lifts the lock of a process that dies; the lock's file is removed by whoever holds it.

    Yields:
        whether others are kept out; a network file system may know no locks.

    Raises:
        LLMBoostError: nothing can be written into the folder; or, without ``wait``, another one is in here.
    """
    path = folder / LOCK
    try:
        handle, alone = _take(path, wait)
    except BlockingIOError as error:
        raise LLMBoostError(
            f"{folder}: another process is at work there; let it end, or choose another name"
        ) from error
    except OSError as error:
        raise _not_written(folder, error) from error
    try:
        yield alone
    finally:
        # removed while it is locked: those who wait for it see that it is the folder's no more; Windows removes no
        # open file, and none that another has open
        if WINDOWS:
            os.close(handle)
        with suppress(OSError):
            path.unlink()
        if not WINDOWS:
            os.close(handle)


def _take(path: Path, wait: bool) -> tuple[int, bool]:
    """The open file ``path``, and whether it is locked; closing it lifts the lock."""
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except PermissionError:
            if not (WINDOWS and path.exists()):
                raise
            time.sleep(0.01)  # just being removed
            continue
        try:
            alone = _wait_for(handle, wait)
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle, alone
        except FileNotFoundError:
            pass  # removed by the one before
        except OSError:
            os.close(handle)
            raise
        os.close(handle)
