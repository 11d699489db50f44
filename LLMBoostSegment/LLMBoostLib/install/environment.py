"""A Python environment for the worker alone: apart from Slicer's own, and without a network from a folder of wheels."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.version import Version
from slicer.i18n import tr as _

from llmboost.errors import LLMBoostError
from llmboost.files import write_whole

from ..worker.commandline import Cancelled, runCommand
from ..worker.launcher import COMMAND_SETTING, workerCommand, workerEnvironment
from .packages import TORCH, TORCH_GB, progressBar, requirements
from .pipoutput import PipOutput

STAMP = "llmboost-environment.json"
BUNDLED = ("numpy", "scipy", "SimpleITK>=2.4", "pydicom>=2.4", "pillow")  # what Slicer's own Python brings along
OLDEST = "3.11"
REST_GB = 0.5  # of the disk, for all but PyTorch

# what a Python tells about itself, in a line of JSON
_PROBE = """
import json, platform, struct, sys
try:
    import ensurepip, venv
    pip = ensurepip.version()
except ImportError:
    pip = ""
print(json.dumps({"version": platform.python_version(), "implementation": platform.python_implementation(),
    "bits": 8 * struct.calcsize("P"), "machine": platform.machine(), "python": sys.executable, "pip": pip}))
"""
# loads the compiled parts that the worker computes with
_CHECK = "import numpy, SimpleITK, safetensors.torch, torch"


def defaultFolder() -> Path:
    """Beside the user's models: a short path, for Windows allows 260 characters and PyTorch takes 170 of them."""
    return Path.home() / ".llmboost" / "environment"


def interpreters() -> list[Path]:
    """Programs of this computer that look like a Python, the best guess first; none of them is run."""
    names = [*(f"python3.{minor}" for minor in (12, 13, 11, 14)), "python3", "python"]
    path = _environment().get("PATH")
    found = [Path(program) for program in (shutil.which(name, path=path) for name in names) if program]
    if sys.platform == "win32":
        programs = Path(os.environ.get("LOCALAPPDATA", ""), "Programs", "Python")
        found += sorted(programs.glob("Python3*/python.exe"), reverse=True)
    elif sys.platform == "darwin":
        found += sorted(Path("/opt/homebrew/bin").glob("python3.1?"), reverse=True)
        found += sorted(Path("/Library/Frameworks/Python.framework/Versions").glob("3.1?/bin/python3"), reverse=True)
    return found


class PrivateEnvironment:
    """The environment in a folder, be it there or not.

    Args:
        folder: by default :func:`defaultFolder`.

    Attributes:
        folder: all of it, but for pip's cache.
        python: its interpreter.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = Path(folder) if folder else defaultFolder()
        self.python = self.folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")

    @property
    def exists(self) -> bool:
        """Whether it is complete. One that was being made when Slicer was killed is not."""
        return bool(self._stamp().get("complete")) and self.python.exists()

    def create(
        self,
        python: str | Path = "",
        wheels: str | Path | None = None,
        purpose: str = "segment",
        onLine: Callable[[str], None] | None = None,
        shouldCancel: Callable[[], bool] | None = None,
    ) -> None:
        """Make it; one that exists gets what the purpose needs in addition. For the main thread: Slicer stays alive.

        If that fails or is cancelled, a complete environment stays usable, and a new one leaves nothing behind.

        Args:
            python: the interpreter to make a new one with; by default, the first on this computer that will do.
            wheels: a folder of wheels, to install from there only, with no network.
            purpose: segment or train.
            onLine: is given a line at a time about what goes on.
            shouldCancel: asked several times a second.

        Raises:
            LLMBoostError: it cannot be done: why, and what to do.
            Cancelled: whoever waits cancelled.
        """
        if wheels and not any(Path(wheels).glob("*.whl")):
            raise LLMBoostError(_("{folder}: holds no wheels (files named .whl)").format(folder=wheels))
        run = _Runner(bool(wheels), onLine or (lambda line: None), shouldCancel or (lambda: False))
        before = self._stamp() if self.exists else {}
        stamp = before or self._prepare(run, python, wheels)
        purposes = sorted({purpose, *stamp.get("purposes", ())})
        self._write({**stamp, "complete": False})
        with _only(self.folder) as run.keepOpen:
            try:
                if not before:
                    run([stamp["python"], "-m", "venv", str(self.folder)], _("making the environment failed"))
                run(self._pipCommand(stamp["pip"], purposes, wheels), _("installing the packages failed"))
                run([str(self.python), "-c", _CHECK], _("the packages were installed, but do not run on this computer"))
            except BaseException:
                if before and _isFine(self.python):
                    self._write(before)
                else:
                    with suppress(LLMBoostError):  # the stamp tells the next try
                        self._delete()
                raise
            self._write({**stamp, "complete": True, "purposes": purposes})

    def use(self) -> None:
        """Let the worker run there from now on: an application setting. End the worker that runs now.

        Raises:
            LLMBoostError: it does not exist.
        """
        if not self.exists:
            raise LLMBoostError(_("{folder}: holds no complete environment; create it").format(folder=self.folder))
        setWorkerCommand(self._workerCommand)

    def remove(self) -> None:
        """Delete it, and if it is in use, let the worker run in Slicer's own Python again. End the worker before.

        Raises:
            LLMBoostError: the folder holds something else, or a file there is in use.
        """
        if not self.folder.exists():
            return
        if not self._stamp():
            raise LLMBoostError(_("{folder}: was not made by LLMBoost; delete it yourself").format(folder=self.folder))
        with _only(self.folder):
            self._delete()

    def _delete(self) -> None:
        try:
            self._write({**self._stamp(), "complete": False})
            for path in [path for path in self.folder.iterdir() if path.name != STAMP]:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            shutil.rmtree(self.folder)  # the stamp last: a folder without it is not ours to delete
        except OSError as error:
            text = _("{path}: cannot be deleted ({reason}); restart Slicer and try again")
            raise LLMBoostError(text.format(path=error.filename, reason=error.strerror)) from error
        with suppress(ValueError):  # the setting holds no command line
            if workerCommand() == self._workerCommand:
                setWorkerCommand(None)

    def describe(self) -> str:
        """What is in it and how much of the disk it takes, in a line; empty if it does not exist."""
        if not self.exists:
            return ""
        site = [str(path) for path in self.folder.glob("[Ll]ib/**/site-packages")]
        versions = {x.metadata["Name"].lower(): x.version for x in metadata.distributions(path=site)}
        packages = ", ".join(f"{name} {versions[name]}" for name in ("torch", "monai", "numpy") if name in versions)
        size = sum(path.lstat().st_size for path in self.folder.rglob("*")) / 1e9
        return _("{folder}: {packages}; {size:.1f} GB").format(folder=self.folder, packages=packages, size=size)

    def question(self, wheels: str | Path | None = None) -> str:
        """What a user should know before :meth:`create`: what comes from where, where it goes, and how large it is."""
        download, disk = _sizes()
        source = _("the Python Package Index (pypi.org), {size:.1f} GB to download").format(size=download)
        if wheels:
            source = _("the folder {wheels}; nothing is downloaded").format(wheels=wheels)
        text = _(
            "A Python environment for LLMBoost alone is made in {folder}: PyTorch, MONAI and what they need, from"
            " {source}. It takes {disk:.1f} GB of the disk and some minutes. Slicer's own Python is not touched."
        ).format(folder=self.folder, source=source, disk=disk)
        if sys.platform == "win32" and not wheels:
            text += " " + _(
                "PyTorch from there computes on the processor; for an NVIDIA graphics card, give a folder with wheels"
                " of download.pytorch.org."
            )
        return text

    @property
    def _workerCommand(self) -> list[str]:
        return [str(self.python), "-m", "llmboost.worker"]

    def _prepare(self, run: _Runner, python: str | Path, wheels: str | Path | None) -> dict[str, Any]:
        """Check all that can be checked, and give the facts about the interpreter: the stamp of a new environment."""
        if self._stamp():
            self.remove()  # the remains of one that was not completed
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise LLMBoostError(_("{folder}: holds other files; choose an empty folder").format(folder=self.folder))
        existing = next(path for path in self.folder.absolute().parents if path.exists())
        free, needed = shutil.disk_usage(existing).free / 1e9, sum(_sizes())
        if not wheels and free < needed:
            text = _("{folder}: the disk is full: {free:.1f} GB are free, {needed:.1f} GB are needed")
            raise LLMBoostError(text.format(folder=existing, free=free, needed=needed))
        return _examine(Path(python), run) if python else _findPython(run)

    def _pipCommand(self, pip: str, purposes: list[str], wheels: str | Path | None) -> list[str]:
        options = [
            "--disable-pip-version-check",
            "--no-input",
            "--only-binary=:all:",
            "--progress-bar",
            progressBar(pip),
        ]
        if wheels:
            options += ["--no-index", "--find-links", str(wheels)]
        needed = dict.fromkeys(text for purpose in purposes for text in requirements(purpose))
        return [str(self.python), "-m", "pip", "install", *options, TORCH, *needed, *BUNDLED]

    def _stamp(self) -> dict[str, Any]:
        """What is written about it, empty if nothing."""
        try:
            return dict(json.loads((self.folder / STAMP).read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}

    def _write(self, stamp: dict[str, Any]) -> None:
        write_whole(self.folder / STAMP, json.dumps(stamp, indent=1).encode())


class _Runner:
    """Runs the steps, tells about them, and turns failures into words."""

    def __init__(self, offline: bool, onLine: Callable[[str], None], shouldCancel: Callable[[], bool]) -> None:
        self._offline, self._onLine, self._shouldCancel = offline, onLine, shouldCancel
        self.keepOpen: list[int] = []  # what the steps inherit

    def __call__(self, command: list[str], failure: str) -> None:
        output = PipOutput()

        def hear(line: str) -> None:
            shown = output.add(line)
            if shown:
                self._onLine(shown)

        try:
            status = runCommand(command, _environment(self._offline), hear, self._shouldCancel, self.keepOpen)
        except OSError as error:
            raise LLMBoostError(f"{failure}: {command[0]}: {error.strerror}") from error
        if status:
            raise LLMBoostError(f"{failure}: {output.reason()}")

    def answer(self, command: list[str]) -> str:
        """The last line that a program prints, whatever its exit status. Raises OSError."""
        lines = [""]
        runCommand(command, _environment(), lines.append, self._shouldCancel)
        return lines[-1]


@contextmanager
def _only(folder: Path) -> Iterator[list[int]]:
    """Keep a folder from being changed by others: by another Slicer, or by a pip that outlived its Slicer.

    Yields:
        the open files that hold the lock, in the programs that inherit them, too.

    Raises:
        LLMBoostError: one of those others is at it.
    """
    if sys.platform == "win32":  # no folder can be deleted there while its programs run
        yield []
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file server without locks
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                text = _(
                    "{folder}: is being changed by another Slicer, or by one that has ended; try again in a minute"
                )
                raise LLMBoostError(text.format(folder=folder)) from error
        yield [handle]
    finally:
        os.close(handle)


def _environment(offline: bool = False) -> dict[str, str]:
    """The one that Slicer was started in, without what leads a Python astray; offline, also without pip's settings."""
    drop = ("PYTHONHOME", "PYTHONPATH", "PIP_") if offline else ("PYTHONHOME", "PYTHONPATH")
    variables = {name: text for name, text in workerEnvironment([]).items() if not name.startswith(drop)}
    return {**variables, "PIP_CONFIG_FILE": os.devnull} if offline else variables


def _examine(python: Path, run: _Runner) -> dict[str, Any]:
    """Facts about an interpreter; raises LLMBoostError if it will not do."""
    if python.stem == "PythonSlicer":
        raise LLMBoostError(
            _("{python}: Slicer's own Python cannot make an environment; choose another").format(python=python)
        )
    try:
        answer = run.answer([str(python), "-c", _PROBE])
        facts = json.loads(answer)
    except OSError as error:
        raise LLMBoostError(
            _("{python}: cannot be started ({reason})").format(python=python, reason=error.strerror)
        ) from error
    except ValueError as error:
        text = _("{python}: is no Python 3 ({answer}); choose the program python, for example of python.org")
        raise LLMBoostError(text.format(python=python, answer=answer[:100])) from error
    about = f"{python}: {facts['implementation']} {facts['version']}, {facts['bits']}-bit, {facts['machine']}"
    if Version(facts["version"]) < Version(OLDEST) or facts["bits"] != 64 or facts["implementation"] != "CPython":
        raise LLMBoostError(
            _("{about}: a 64-bit Python {oldest} or newer is needed; install one from python.org").format(
                about=about, oldest=OLDEST
            )
        )
    if sys.platform == "darwin" and facts["machine"] == "x86_64":
        raise LLMBoostError(
            _(
                "{about}: there is no current PyTorch for Intel processors; choose a Python for Apple silicon, or let"
                " the worker run on another computer"
            ).format(about=about)
        )
    if not facts["pip"]:
        raise LLMBoostError(
            _("{about}: lacks venv or pip; install them (Debian, Ubuntu: the package python3-venv)").format(about=about)
        )
    return facts


def _findPython(run: _Runner) -> dict[str, Any]:
    """Facts about the first interpreter of this computer that will do."""
    reasons = []
    for python in interpreters():
        try:
            return _examine(python, run)
        except Cancelled:
            raise
        except LLMBoostError as error:
            reasons.append(str(error))
    text = _("no Python {oldest} or newer was found; install one from python.org, or choose it")
    raise LLMBoostError("; ".join([text.format(oldest=OLDEST), *reasons[:1]]))


def _isFine(python: Path) -> bool:
    try:
        _Runner(False, lambda line: None, lambda: False)([str(python), "-c", _CHECK], "")
    except LLMBoostError:
        return False
    return True


def _sizes() -> tuple[float, float]:
    """GB to download and on the disk. For Linux, PyPI's PyTorch comes with all that NVIDIA's graphics cards need."""
    download, disk = TORCH_GB["GPU" if sys.platform == "linux" else "CPU"]
    return download + REST_GB / 4, disk + REST_GB


def setWorkerCommand(command: list[str] | None) -> None:
    """Write the setting that :func:`..worker.launcher.workerCommand` reads; None: Slicer's own Python again."""
    from qt import QSettings

    if sys.platform == "win32":
        text = " ".join(f'"{part}"' if " " in part else part for part in command or ())
    else:
        text = shlex.join(command or ())
    QSettings().setValue(COMMAND_SETTING, text)
