"""Installing what the worker needs into Slicer's own Python: with consent, and without replacing what is there.

Nothing is installed at import, from a thread, or in Slicer's testing mode.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import metadata
from pathlib import Path
from typing import Any

import slicer
from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version
from slicer.i18n import tr as _

from llmboost.errors import LLMBoostError

from ..panels.plaintext import tip
from ..worker.launcher import defaultCommand, workerCommand
from .pipoutput import PipOutput

TITLE = "LLMBoost"
TORCH = "torch>=2.8"  # below, MONAI 1.6 does not run
RESOURCES = Path(__file__).parents[2] / "Resources"
FILES = {
    "segment": ("requirements.txt",),
    "train": ("requirements.txt", "requirements-train.txt"),
}
# to download and on the disk, MB of the largest platform, and GB of PyTorch; measured with pip
SIZES = {"segment": (25, 83), "train": (50, 175)}
TORCH_GB = {"CPU": (0.2, 1.0), "GPU": (3.0, 6.0)}
# pip and what builds packages may be renewed: PyTorch's installer, light-the-torch, asks for a pip of its own
_INSTALLERS = {"pip", "setuptools", "wheel"}


def requirements(purpose: str = "segment") -> list[str]:
    """What is needed beyond PyTorch and Slicer's own packages.

    Args:
        purpose: segment or train.
    """
    lines = [line.strip() for name in FILES[purpose] for line in (RESOURCES / name).read_text("utf-8").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def missing(purpose: str = "segment") -> list[str]:
    """The requirements that Slicer's Python does not meet; none when the worker runs elsewhere. Imports nothing heavy.

    Raises:
        ValueError: the setting of the worker's command holds no command line.
    """
    if workerCommand() != defaultCommand():
        return []
    return [text for text in (TORCH, *requirements(purpose)) if not _isMet(Requirement(text))]


def obstacle() -> str:
    """Why Slicer's own Python can never run the worker, so that a private environment is the way; empty if it can."""
    if sys.platform == "darwin" and platform.machine() == "x86_64":
        return _("this Slicer runs a Python for Intel processors, for which there is no current PyTorch on macOS")
    return ""


def ensureInstalled(purpose: str = "segment") -> None:
    """Ask, then install what is missing, and return when all is there; Slicer shows what goes on meanwhile.

    Raises:
        LLMBoostError: it cannot be done, was declined, or failed; with the reason and the way out.
        RuntimeError: not called from the main thread.
    """
    needed = missing(purpose)
    if not needed:
        return
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("packages are installed from the main thread only")
    _checkPossible(needed)
    if not slicer.util.confirmOkCancelDisplay(_question(needed, purpose), windowTitle=TITLE):
        raise _failure(_("Python packages are missing ({names}), and were not installed").format(names=_names(needed)))
    with tempfile.TemporaryDirectory() as folder, _progress() as show:
        constraints = Path(folder) / "constraints.txt"
        if TORCH in needed:
            writeConstraints(constraints)
            _run([TORCH], lambda: _installTorch(constraints), show)
        others = [text for text in needed if text != TORCH]
        if others:
            writeConstraints(constraints)  # with PyTorch, too
            _run(others, lambda: _install(others, constraints), show)


def writeConstraints(path: Path, distributions: Iterable[metadata.Distribution] | None = None) -> None:
    """A constraints file for pip that pins all that is installed, so that nothing can be replaced.

    Args:
        distributions: by default those of Slicer's Python.
    """
    pins: dict[str, str] = {}
    for distribution in distributions or metadata.distributions():
        name, version = distribution.metadata["Name"], distribution.version
        if name and version and _isVersion(version) and name.lower() not in _INSTALLERS:
            pins.setdefault(name, version)  # what is found first is what is imported
    path.write_text("".join(f"{name}=={version}\n" for name, version in sorted(pins.items())), encoding="utf-8")


def hindrance(needed: list[str]) -> str:
    """Why these packages cannot be installed as things are, and what to do; empty where it can be tried."""
    try:
        _checkPossible(needed)
    except LLMBoostError as error:
        return str(error)
    return ""


def _checkPossible(needed: list[str]) -> None:
    """Raises LLMBoostError where there is no use in asking the user."""
    reason = obstacle()
    if reason:
        raise _failure(reason)
    if slicer.app.testingEnabled():
        raise _failure(_("missing: {names}; in testing mode nothing is installed").format(names=", ".join(needed)))
    if TORCH in needed:
        version = _version("torch")
        if version:
            raise _failure(
                _(
                    "PyTorch {version} is installed in Slicer, but {needed} is needed. Other extensions may rely on it,"
                    " so it is left alone; to replace it, use the module PyTorch Utils (uninstall it, restart Slicer,"
                    " install it)"
                ).format(version=version, needed=TORCH)
            )
        if importlib.util.find_spec("PyTorchUtils") is None:
            raise _failure(
                _("the extension PyTorch is missing; install it with the Extensions Manager and restart Slicer")
            )
    packaging = _slicerPackaging()
    if packaging and packaging.isPipInstallInProgress():
        raise _failure(_("other Python packages are being installed just now; wait for that, then try again"))
    room = TORCH_GB["CPU"][1] * 2 if TORCH in needed else 0.2  # GB; packages are unpacked beside their downloads
    if _freeGB() < room:
        raise _failure(
            _("the disk of {folder} is full: {free:.1f} GB are free, at least {room:.1f} GB are needed").format(
                folder=sysconfig.get_path("purelib"), free=_freeGB(), room=room
            )
        )


def _question(needed: list[str], purpose: str) -> str:
    parts = [_("LLMBoost computes with Python packages that are not there yet:")]
    if TORCH in needed:
        parts.append(
            _(
                "- PyTorch, from download.pytorch.org by the extension PyTorch: {cpu[0]} GB to download, {cpu[1]} GB on"
                " the disk; for an NVIDIA graphics card {gpu[0]:.0f} GB and {gpu[1]} GB"
            ).format(cpu=TORCH_GB["CPU"], gpu=TORCH_GB["GPU"])
        )
    others = [text for text in needed if text != TORCH]
    if others:
        parts.append(
            _(
                "- {names}, from the Python Package Index (pypi.org): at most {size[0]} MB to download, {size[1]} MB on"
                " the disk"
            ).format(names=_names(others), size=SIZES[purpose])
        )
    parts.append(
        _(
            "They go into Slicer's own Python. What Slicer and other extensions have installed there stays as it is."
            " {free:.0f} GB of the disk are free. This takes some minutes.\n\nInstall them now?"
        ).format(free=_freeGB())
    )
    return "\n\n".join(parts)


def _installTorch(constraints: Path) -> None:
    """Through the extension PyTorch, which finds the build for this computer's graphics card."""
    from PyTorchUtils import PyTorchUtilsLogic

    # as a URI, for pip splits this variable at spaces; its progress keeps Slicer alive during a long download
    options = {"PIP_CONSTRAINT": constraints.as_uri(), "PIP_PROGRESS_BAR": progressBar(_version("pip"))}
    before = {name: os.environ.get(name) for name in options}
    os.environ.update(options)
    try:
        PyTorchUtilsLogic().installTorch(torchVersionRequirement=TORCH.removeprefix("torch"))
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _install(needed: list[str], constraints: Path) -> None:
    arguments = [*needed, "--only-binary=:all:"]
    packaging = _slicerPackaging()
    if packaging:
        packaging.pip_install(arguments, constraints=constraints, show_progress=False)
    else:
        slicer.util.pip_install([*arguments, "--constraint", str(constraints)])


def _slicerPackaging() -> Any:
    """The module slicer.packaging of Slicer 5.11 and newer, else None."""
    try:
        return importlib.import_module("slicer.packaging")
    except ModuleNotFoundError:
        return None


def _run(needed: list[str], install: Callable[[], None], show: Callable[[str, int | None], None]) -> None:
    """Install, and listen to what pip says: Slicer prints it to the Python console, in the main thread.

    Raises:
        LLMBoostError: it failed, or something of ``needed`` is not there afterwards.
    """
    output = PipOutput()
    listener = _Listener(sys.stdout, output, show)
    failed: Exception | None = None
    try:
        with redirect_stdout(listener):
            install()
    except (subprocess.CalledProcessError, ImportError, OSError) as error:  # PyTorchUtils imports PyTorch at the end
        failed = error
    importlib.invalidate_caches()
    # light-the-torch may fail with exit status 0
    if failed or not all(_isMet(Requirement(text)) for text in needed):
        reason = str(failed) if isinstance(failed, (ImportError, OSError)) else output.reason()
        text = _("installing {names} failed: {reason}").format(names=_names(needed), reason=reason)
        raise _failure(text) from failed


class _Listener(io.TextIOBase):
    """Standard output that is shown to the user, too; pip's progress is shown only."""

    def __init__(self, original: Any, output: PipOutput, show: Callable[[str, int | None], None]) -> None:
        self._original, self._output, self._show = original, output, show
        self._rest = ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            shown = self._output.add(line)
            if self._output.percent is None:
                self._original.write(line + "\n")
            if shown:
                self._show(shown, self._output.percent)
        return len(text)

    def flush(self) -> None:
        self._original.flush()


@contextmanager
def _progress() -> Iterator[Callable[[str, int | None], None]]:
    """A dialog that keeps the user from starting something else; ``show(text, percent)`` fills it."""
    dialog = slicer.util.createProgressDialog(
        labelText=_("Installing Python packages..."), windowTitle=TITLE, maximum=0, modal=True, autoClose=False
    )
    dialog.setCancelButton(None)  # half of a package would stay behind

    def show(text: str, percent: int | None) -> None:
        dialog.labelText = tip(text[:100])
        dialog.maximum = 0 if percent is None else 100
        dialog.value = percent or 0
        slicer.app.processEvents()

    try:
        yield show
    finally:
        dialog.close()


def progressBar(pipVersion: str) -> str:
    """The kind of progress that a pip can tell another program about."""
    return "raw" if Version(pipVersion) >= Version("24.1") else "off"


def _failure(text: str) -> LLMBoostError:
    way = _("Another way is a private environment (under Advanced), which leaves Slicer's own Python alone")
    return LLMBoostError(f"{text}. {way}")


def _isMet(requirement: Requirement) -> bool:
    version = _version(requirement.name)
    return _isVersion(version) and requirement.specifier.contains(version, prereleases=True)


def _version(name: str) -> str:
    """Of an installed package; empty if it is not."""
    try:
        return metadata.version(name) or ""
    except metadata.PackageNotFoundError:
        return ""


def _isVersion(text: str) -> bool:
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def _names(needed: Iterable[str]) -> str:
    return ", ".join(Requirement(text).name for text in needed)


def _freeGB() -> float:
    return shutil.disk_usage(sysconfig.get_path("purelib")).free / 1e9
