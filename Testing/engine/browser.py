"""A page as a browser shows it. A test module says ``from .browser import shown``."""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True)
class Shown:
    """The page after its scripts have run, as HTML, and what the browser complained of."""

    html: str
    complaints: str


def shown(page: Path, view: str = "") -> Shown:
    """Open a page, at the view that stands after the # of its address; skips the test where there is no browser."""
    browser = _browser()
    if not browser:
        pytest.skip("needs Chromium (Debian: apt-get install chromium)")
    with tempfile.TemporaryDirectory() as profile:
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            f"--user-data-dir={profile}",
        ]
        address = page.resolve().as_uri() + (f"#{view}" if view else "")
        done = subprocess.run([browser, *options, "--dump-dom", address], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return Shown(done.stdout, "\n".join(said))


@functools.cache
def _browser() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)
