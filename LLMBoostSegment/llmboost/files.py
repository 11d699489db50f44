"""Files that appear whole or not at all, whatever happens while they are written."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import LLMBoostError

# what a killed process leaves behind
TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path in the folder and with the extension of ``path``; it replaces ``path`` on success only.

    The folder is made if missing.

    Raises:
        LLMBoostError: writing failed; nothing is left behind, and an older file at ``path`` is untouched.
    """
    # in small letters: ITK's NIfTI writer does not know .NII
    # not tempfile: its files are readable by their owner alone, results lie in shared folders
    temporary = path.with_name(f".{uuid.uuid4().hex}{''.join(path.suffixes[-2:]).lower()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except (OSError, RuntimeError, LLMBoostError) as error:
        reason = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
        raise LLMBoostError(
            f"{path}: cannot be written{reason}; check the folder's permissions and free space"
        ) from error
    finally:
        with suppress(OSError):  # such as a parent that is no folder
            temporary.unlink()


def write_whole(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``; raises LLMBoostError as :func:`atomic_path`."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
