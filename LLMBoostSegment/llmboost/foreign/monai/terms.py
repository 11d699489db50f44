"""Under which terms a bundle may be used, as the texts beside it tell."""

from __future__ import annotations

import re
from pathlib import Path

from ...files import visible

MAX_CHARACTERS = 20_000  # of a license, as far as it is looked at
# what allows use and adaptation by anyone; all else is shown to the user, who agrees by naming it
_OPEN = (
    (re.compile(r"^\W*Apache License,?\s+Version 2\.0\b(?!.*\bmodel weights\b)", re.I | re.S), "Apache-2.0"),
    (re.compile(r"^\W*MIT License\b|^\W*The MIT License", re.I), "MIT"),
    (re.compile(r"^\W*BSD 3-Clause License", re.I), "BSD-3-Clause"),
    (re.compile(r"^\W*BSD 2-Clause License", re.I), "BSD-2-Clause"),
    (re.compile(r"^\W*(?:Creative Commons )?(?:Attribution 4\.0 International|CC[- ]BY[- ]4\.0)", re.I), "CC BY 4.0"),
    (
        re.compile(r"^\W*(?:Creative Commons )?(?:Attribution-ShareAlike 4\.0|CC[- ]BY[- ]SA[- ]4\.0)", re.I),
        "CC BY-SA 4.0",
    ),
    (re.compile(r"^\W*(?:CC0 1\.0|Creative Commons (?:Legal Code\s+)?CC0)", re.I), "CC0-1.0"),
)


def read_terms(folder: Path) -> tuple[str, str]:
    """The license of the files in ``folder``, where it is one of those that allow use and adaptation by anyone; and
    else the first line of what is told instead, for the user to agree to."""
    for name in ("LICENSE", "LICENSE.txt", "LICENSE.md", "license.txt"):
        text = text_of(folder / name)
        lines = [visible(" ".join(line.split())) for line in text.splitlines() if line.strip(" \t-=*/")]
        if found := next((known for pattern, known in _OPEN if pattern.match(text)), ""):
            return found, ""
        if lines:
            return "", lines[0][:100]
    return "", ""


def text_of(path: Path) -> str:
    """The beginning of a text, if there is one."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(MAX_CHARACTERS)
    except OSError:
        return ""
