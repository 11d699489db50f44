"""A Python that plays Slicer's own, and what Slicer and the extension PyTorch offer to install packages into it.

The Python is a real virtual environment in which pip believes that Slicer's packages are installed; pip is the real
one. slicer.packaging (Slicer 5.11 and newer), slicer.util.pip_install (5.10) and PyTorchUtils behave as documented.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import slicer
from Testing.host import start

start()  # makes the parts of slicer that LLMBoostLib imports

# Exact versions in Slicer's source: SuperBuild/External_python-*.cmake, of SimpleITK in 5.10 External_SimpleITK.cmake
# (a fork at slicer-v2.5.2); tags v5.10.0 and v5.12.3.
_PINS = {
    "5.10": """
        certifi==2025.4.26 cffi==1.17.1 chardet==5.2.0 charset-normalizer==3.4.2 couchdb==1.2 cryptography==45.0.3
        Deprecated==1.2.18 dicomweb-client==0.60.0 gitdb==4.0.12 GitPython==3.1.44 idna==3.10 numpy==2.0.2
        packaging==25.0 pillow==11.2.1 pip==25.1.1 pycparser==2.22 pydicom==2.4.4 PyGithub==2.6.1 PyJWT==2.10.1
        PyNaCl==1.5.0 pyparsing==3.2.3 python-dateutil==2.9.0.post0 requests==2.32.3 retrying==1.3.4 scipy==1.13.1
        setuptools==80.9.0 SimpleITK==2.5.2 six==1.17.0 smmap==5.0.2 typing_extensions==4.14.0 urllib3==2.4.0
        wheel==0.45.1 wrapt==1.17.2
        """,
    "5.12": """
        certifi==2026.5.20 cffi==2.0.0 chardet==7.4.3 charset-normalizer==3.4.7 couchdb==1.2 cryptography==48.0.0
        dcmqi==0.4.0 Deprecated==1.3.1 dicomweb-client==0.61.0 gitdb==4.0.12 GitPython==3.1.50 highdicom==0.27.0
        idna==3.16 numpy==2.4.6 packaging==26.2 pillow==12.2.0 pip==26.1.1 pycparser==3.0 pydicom==3.0.2 PyGithub==2.9.1
        pyjpegls==1.5.1 PyJWT==2.13.0 PyNaCl==1.6.2 pyparsing==3.3.2 python-dateutil==2.9.0.post0 requests==2.34.2
        retrying==1.4.2 scipy==1.17.1 setuptools==82.0.1 simpleitk==2.5.5 six==1.17.0 smmap==5.0.3
        typing_extensions==4.15.0 urllib3==2.7.0 wheel==0.47.0 wrapt==2.2.1
        """,
}
SLICER = {version: text.split() for version, text in _PINS.items()}
NEVER_REPLACED = {"simpleitk", "numpy", "scipy", "requests", "pydicom", "torch"}


def makeWheel(
    folder: Path, name: str, version: str, needs: Iterable[str] = (), files: Mapping[str, str] | None = None
) -> Path:
    """A wheel for every Python with hardly anything in it; by default an empty module of its name."""
    folder.mkdir(parents=True, exist_ok=True)
    distribution = name.replace("-", "_")
    info = f"{distribution}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {x}" for x in needs)]
    entries = {
        **({f"{distribution}/__init__.py": ""} if files is None else files),
        f"{info}/METADATA": "\n".join(lines) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{entry},,\n" for entry in [*entries, f"{info}/RECORD"])
    path = folder / f"{distribution}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for entry, text in {**entries, f"{info}/RECORD": record}.items():
            archive.writestr(entry, text)
    return path


def cleanPip(**settings: str) -> dict[str, str]:
    """This process's environment without this computer's settings of pip, and with others; certificates stay."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith("PIP_") or k == "PIP_CERT"}
    return {**variables, "PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **settings}


class SlicerPython:
    """The Python of a Slicer version.

    Args:
        folder: where to make it.
        pins: what is installed, as "name==version".

    Attributes:
        site: its folder of packages.
        dialogs: the questions that were asked, in place of a message box.
        answer: the user's answer to them.
        torchFails: light-the-torch prints a traceback and ends with status 0.
        torchImportError: what PyTorchUtils gets when it imports PyTorch afterwards.
        torchEnvironment: pip's settings while PyTorch was installed.
        progress: what the progress dialogs showed, as (text, percent of the bar or None).
    """

    def __init__(self, folder: Path, pins: Iterable[str]) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        self.python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
        self.site = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)}))
        self.dialogs: list[str] = []
        self.answer = True
        self.progress: list[tuple[str, int | None]] = []
        self.torchFails = False
        self.torchImportError = ""
        self.torchEnvironment: dict[str, str] = {}
        for pin in pins:
            self.add(pin)

    def add(self, pin: str) -> None:
        """Let pip believe that a package is installed."""
        name, _, version = pin.partition("==")
        folder = self.site / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (folder / "INSTALLER").write_text("pip\n")
        (folder / "RECORD").write_text("")

    # importlib.metadata, as it is in this Python

    PackageNotFoundError = metadata.PackageNotFoundError

    def distributions(self, **options: Any) -> Iterator[metadata.Distribution]:
        return iter(metadata.distributions(path=[str(self.site)], **options))

    def version(self, name: str) -> str:
        for distribution in self.distributions(name=name):
            return distribution.version
        raise metadata.PackageNotFoundError(name)

    def versions(self) -> dict[str, str]:
        return {x.metadata["Name"].lower(): x.version for x in self.distributions()}

    def pip(self, arguments: Iterable[str]) -> None:
        """As slicer.util.executePythonModule("pip", ...), blocking: prints each line, handles events after it.

        Raises:
            subprocess.CalledProcessError: pip failed; its output is not in there.
        """
        command = [sys.executable, "-m", "pip", "--python", str(self.python), *map(str, arguments)]
        process = subprocess.Popen(
            command, env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert process.stdout
        for line in process.stdout:
            print(line.rstrip())
            slicer.app.processEvents()
        if process.wait():
            raise subprocess.CalledProcessError(process.returncode, command)

    # slicer.packaging and slicer.util

    def pip_install(self, requirements: Any, constraints: Any = None, show_progress: bool = True) -> None:
        """slicer.packaging.pip_install, as far as it is used; with a dialog of its own it would show errors twice."""
        assert isinstance(requirements, list)
        assert not show_progress
        self.pip(["install", *requirements, *(["-c", constraints] if constraints else [])])

    def pip_install_5_10(self, requirements: Any) -> None:
        """slicer.util.pip_install of Slicer 5.10."""
        assert isinstance(requirements, list)
        self.pip(["install", *requirements])

    def confirmOkCancelDisplay(self, text: str, windowTitle: str | None = None, parent: Any = None) -> bool:
        assert windowTitle
        self.dialogs.append(text)
        return self.answer

    def createProgressDialog(self, **options: Any) -> Any:
        assert options["modal"]
        return ProgressDialog(self.progress)

    # PyTorchUtils.PyTorchUtilsLogic

    def installTorch(
        self,
        askConfirmation: bool = False,
        forceComputationBackend: str | None = None,
        torchVersionRequirement: str | None = None,
        torchvisionVersionRequirement: str | None = None,
    ) -> Any:
        assert not askConfirmation
        self.torchEnvironment = {k: v for k, v in os.environ.items() if k.startswith("PIP_")}
        if self.torchFails:
            print("Traceback (most recent call last):\nTypeError: build_source() missing 1 required argument")
            return
        self.pip(["install", "torch" + (torchVersionRequirement or "")])
        if self.torchImportError:
            raise ImportError(self.torchImportError)

    def install(self, monkeypatch: Any, modern: bool = True, pytorch: bool = True) -> None:
        """Put all this in place.

        Args:
            modern: Slicer 5.11 or newer, with slicer.packaging.
            pytorch: the extension PyTorch is installed.
        """
        monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", self.confirmOkCancelDisplay, raising=False)
        monkeypatch.setattr(slicer.util, "createProgressDialog", self.createProgressDialog, raising=False)
        if modern:
            packaging: Any = ModuleType("slicer.packaging")
            packaging.pip_install, packaging.isPipInstallInProgress = self.pip_install, lambda: False
            monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)
        else:
            monkeypatch.setitem(sys.modules, "slicer.packaging", None)
            monkeypatch.setattr(slicer.util, "pip_install", self.pip_install_5_10, raising=False)
        module: Any = ModuleType("PyTorchUtils")
        module.PyTorchUtilsLogic = lambda: SimpleNamespace(installTorch=self.installTorch)
        module.__spec__ = SimpleNamespace(name="PyTorchUtils")
        monkeypatch.setitem(sys.modules, "PyTorchUtils", module if pytorch else None)


class ProgressDialog:
    """The properties of QProgressDialog that are used; writes down what is shown."""

    def __init__(self, shown: list[tuple[str, int | None]]) -> None:
        self.labelText, self.maximum, self._value, self._shown = "", 0, 0, shown

    @property
    def value(self) -> int:
        return self._value

    @value.setter
    def value(self, value: int) -> None:
        self._value = value
        self._shown.append((self.labelText, value if self.maximum else None))

    def setCancelButton(self, button: Any) -> None:
        assert button is None

    def close(self) -> None:
        self._shown.append(("closed", None))
