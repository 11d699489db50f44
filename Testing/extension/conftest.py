"""The extension as CMake builds and installs it, with a stand-in for what Slicer brings to that."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from Testing.host import start

start()  # makes what LLMBoostLib imports of slicer
ROOT = Path(__file__).parents[2]


def program(name: str) -> str:
    """From the virtual environment, else of this computer; without one the test is skipped."""
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    found = shutil.which(name, path=os.pathsep.join(folders))
    if not found:
        pytest.skip(f"no program {name}: pip install {name}")
    return found


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Path:
    """The build tree."""
    folder = tmp_path_factory.mktemp("build")
    settings = {
        "Slicer_DIR": ROOT / "Testing" / "extension",
        "CMAKE_TOOLCHAIN_FILE": ROOT / "Testing" / "extension" / "toolchain.cmake",
        "CMAKE_MAKE_PROGRAM": program("ninja"),
    }
    definitions = [f"-D{name}={value}" for name, value in settings.items()]
    run(program("cmake"), "-G", "Ninja", "-S", ROOT, "-B", folder, *definitions)
    run(program("cmake"), "--build", folder)
    return folder


@pytest.fixture(scope="session")
def installed(built, tmp_path_factory) -> Path:
    """The folder that Slicer looks for modules in."""
    folder = tmp_path_factory.mktemp("Slicer") / "LLMBoost"
    run(program("cmake"), "--install", built, "--prefix", folder)
    return folder / "lib" / "Slicer-5.12" / "qt-scripted-modules"


@pytest.fixture(scope="session")
def tracked() -> list[Path]:
    """All files that git knows, relative to the root."""
    if not (ROOT / ".git").exists():
        pytest.skip("no git checkout")
    return [Path(line) for line in run(program("git"), "-C", ROOT, "ls-files").splitlines()]


def modules() -> list[str]:
    """The names of the modules that are built."""
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    return re.findall(r"^add_subdirectory\((\w+)\)$", text, re.MULTILINE)


def run(*command: str | Path) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout
