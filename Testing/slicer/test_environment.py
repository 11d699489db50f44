"""The worker's private environment: real ones and the real pip, on wheels with hardly anything in them."""

from __future__ import annotations

import json
import os
import resource
import shlex
import stat
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import slicer
from Testing.slicer.packaging_standin import makeWheel

from llmboost.errors import LLMBoostError
from LLMBoostLib.install import environment, packages
from LLMBoostLib.install.environment import STAMP, PrivateEnvironment
from LLMBoostLib.worker import launcher
from LLMBoostLib.worker.commandline import Cancelled

MODULES = {  # by wheel
    "torch": "torch",
    "monai": "monai",
    "safetensors": "safetensors",
    "rich": "rich",
    "typer": "typer",
    "matplotlib": "matplotlib",
    "numpy": "numpy",
    "scipy": "scipy",
    "SimpleITK": "SimpleITK",
    "pydicom": "pydicom",
    "pillow": "PIL",
}
TORCH = {"torch/__init__.py": "import os\nprint(os.environ.get('PYTHONHOME', 'no home'))\n"}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> Path:
    """A folder of wheels, as one would carry it to a computer without a network."""
    folder = tmp_path_factory.mktemp("wheels of LLMBoost")
    for name, module in MODULES.items():
        files = {f"{module}/__init__.py": "", f"{module}/torch.py": ""}
        makeWheel(folder, name, "99.0", ["monai"] if name == "torch" else (), TORCH if name == "torch" else files)
    return folder


@pytest.fixture
def settings(session, monkeypatch) -> dict[str, str]:
    """The application's settings."""
    values: dict[str, str] = {}
    qt = ModuleType("qt")
    qt.QSettings = lambda: SimpleNamespace(value=values.get, setValue=values.__setitem__)
    monkeypatch.setitem(sys.modules, "qt", qt)
    return values


@pytest.fixture
def private(session, tmp_path, monkeypatch) -> PrivateEnvironment:
    """One that is not there yet; this process looks like Slicer, whose settings lead other Pythons astray."""
    started = dict(os.environ)
    monkeypatch.setattr(slicer.util, "startupEnvironment", lambda: started, raising=False)
    for name in ("PYTHONHOME", "PYTHONPATH", "LD_PRELOAD"):
        monkeypatch.setenv(name, "/opt/Slicer/lib/nowhere")
    return PrivateEnvironment(tmp_path / "private environment")


@pytest.fixture(scope="module")
def quickPython(tmp_path_factory) -> Path:
    """An interpreter that makes environments by copying one: each is the real thing, only sooner there."""
    folder = tmp_path_factory.mktemp("quick")
    subprocess.run([sys.executable, "-m", "venv", folder / "template"], check=True)
    python = folder / "python"
    python.write_text(
        f"""#!{sys.executable}
import os, shutil, sys
if sys.argv[1:3] == ["-m", "venv"]:
    shutil.copytree("{folder}/template", sys.argv[3], symlinks=True, dirs_exist_ok=True)
else:
    sys.argv, sys.executable = sys.argv[1:], "{python}"
    exec(sys.argv[1])
"""
    )
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return python


def create(
    private: PrivateEnvironment, wheels: Path | None, python: str | Path = sys.executable, **options
) -> list[str]:
    """The lines that were told."""
    lines: list[str] = []
    private.create(python, wheels, onLine=lines.append, **options)
    return lines


def installed(private: PrivateEnvironment) -> set[str]:
    command = [private.python, "-I", "-m", "pip", "list", "--format=json", "--disable-pip-version-check"]
    environment = {"PIP_CONFIG_FILE": os.devnull}
    return {
        x["name"] for x in json.loads(subprocess.run(command, capture_output=True, check=True, env=environment).stdout)
    }


def test_an_environment_from_a_folder_of_wheels(private, wheels, settings):
    before = slicer.app.processEventsCalls
    lines = create(private, wheels)
    assert private.exists
    assert set(MODULES) <= installed(private)
    assert any(line.startswith("Successfully installed") for line in lines)
    assert lines[-1] == "no home"  # the packages were loaded, without Slicer's settings
    assert slicer.app.processEventsCalls > before  # Slicer stayed alive
    assert PrivateEnvironment(private.folder).exists  # and is known after a restart
    assert str(private.folder) in private.describe()
    assert "torch 99.0, monai 99.0, numpy 99.0" in private.describe()

    private.use()
    assert launcher.workerCommand() == [str(private.python), "-m", "llmboost.worker"]
    assert packages.missing() == []  # Slicer's own Python is not needed any more

    makeWheel(wheels, "peft", "99.0")
    create(private, wheels, purpose="train")
    assert {"peft", "matplotlib", "torch"} <= installed(private)
    assert private.exists

    next(wheels.glob("peft-*")).unlink()
    create(private, wheels)  # asks for nothing new: all is there
    makeWheel(wheels, "broken", "1")
    private.remove()
    assert not private.folder.exists()
    assert launcher.workerCommand() == launcher.defaultCommand()


def test_a_wheel_that_lacks_and_a_cancel_leave_nothing_or_what_was_there(
    private, wheels, tmp_path, settings, quickPython
):
    fewer = tmp_path / "fewer"
    fewer.mkdir()
    for path in wheels.glob("*.whl"):
        if not path.name.startswith("monai"):
            (fewer / path.name).write_bytes(path.read_bytes())
    with pytest.raises(LLMBoostError, match="installing the packages failed: monai was not found"):
        create(private, fewer, quickPython)
    assert not private.folder.exists()

    create(private, wheels, quickPython)
    stamp = (private.folder / STAMP).read_text()
    with pytest.raises(LLMBoostError, match="peft was not found"):
        create(private, wheels, purpose="train")
    assert private.exists
    assert (private.folder / STAMP).read_text() == stamp

    lines: list[str] = []
    with pytest.raises(Cancelled):
        private.create(wheels=wheels, purpose="train", onLine=lines.append, shouldCancel=lambda: bool(lines))
    assert private.exists
    assert lines


def test_cancelled_while_it_is_made_and_another_slicer_keeps_off(private, wheels):
    lines: list[str] = []

    def shouldCancel() -> bool:
        if not any("Installing collected packages" in line for line in lines):
            return False
        for change in (PrivateEnvironment.create, PrivateEnvironment.remove):
            with pytest.raises(LLMBoostError, match="is being changed by another Slicer"):
                change(PrivateEnvironment(private.folder))
        return True

    with pytest.raises(Cancelled):
        private.create(sys.executable, wheels, onLine=lines.append, shouldCancel=shouldCancel)
    assert not private.folder.exists()
    assert not private.exists


def refusalToCreate(private: PrivateEnvironment, wheels: Path, python: Path) -> str:
    try:
        private.create(python, wheels)
    except LLMBoostError as error:
        return str(error)
    return ""


def test_slicer_was_killed_meanwhile(private, wheels, quickPython):
    """What is left is known as ours, not used, and replaced."""
    code = (
        "import os, sys; from Testing.host import start; start()\n"
        "from LLMBoostLib.install.environment import PrivateEnvironment\n"
        "def die(line):\n    if 'Installing collected' in line: os._exit(9)\n"
        "PrivateEnvironment(sys.argv[1]).create(sys.executable, sys.argv[2], onLine=die)\n"
    )
    root = Path(__file__).parents[2]
    variables = {**slicer.util.startupEnvironment(), "PYTHONPATH": f"{root}{os.pathsep}{root / 'LLMBoostSegment'}"}
    command = [sys.executable, "-c", code, str(private.folder), str(wheels)]
    assert subprocess.run(command, env=variables, check=False).returncode == 9
    assert (private.folder / STAMP).exists()
    assert not private.exists
    with pytest.raises(LLMBoostError, match="no complete environment"):
        private.use()
    (private.folder / "half a package").write_text("")
    while "one that has ended" in (refusal := refusalToCreate(private, wheels, quickPython)):
        time.sleep(0.1)  # its pip lives on for a while
    assert refusal == ""
    assert private.exists
    assert not (private.folder / "half a package").exists()


def test_the_disk_gets_full(private, wheels, tmp_path, quickPython):
    big = tmp_path / "big"
    for path in wheels.glob("*.whl"):
        big.mkdir(exist_ok=True)
        (big / path.name).write_bytes(path.read_bytes())
    (big / "torch-99.0-py3-none-any.whl").unlink()
    makeWheel(big, "torch", "99.0", files={"torch/__init__.py": "#" * 30_000_000})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000_000, hard))
    try:
        with pytest.raises(LLMBoostError, match="disk is full, or a quota is reached"):
            create(private, big, quickPython)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        del os.environ["PYTHONDONTWRITEBYTECODE"]
    assert not private.folder.exists()


def test_packages_that_do_not_run_here(private, wheels, tmp_path, quickPython):
    odd = tmp_path / "odd"
    odd.mkdir()
    for path in wheels.glob("*.whl"):
        (odd / path.name).write_bytes(path.read_bytes())
    (odd / "torch-99.0-py3-none-any.whl").unlink()
    makeWheel(odd, "torch", "99.0", files={"torch/__init__.py": "raise ImportError('GLIBC_2.99 not found')"})
    with pytest.raises(LLMBoostError, match=r"do not run on this computer: ImportError: GLIBC_2\.99 not found"):
        create(private, odd, quickPython)
    assert not private.folder.exists()


def test_folders_that_are_not_ours(private, wheels, tmp_path):
    private.folder.mkdir()
    (private.folder / "thesis.docx").write_text("")
    with pytest.raises(LLMBoostError, match="holds other files"):
        create(private, wheels)
    with pytest.raises(LLMBoostError, match="was not made by LLMBoost"):
        private.remove()
    assert (private.folder / "thesis.docx").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(LLMBoostError, match="holds no wheels"):
        create(private, tmp_path / "empty")
    PrivateEnvironment(tmp_path / "never made").remove()


def test_a_folder_that_cannot_be_made(interpreter, wheels, session, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LLMBoostError, match="cannot be written"):
        PrivateEnvironment(tmp_path / "file" / "environment").create(interpreter(), wheels)


def test_little_room_is_told_first(private, monkeypatch):
    usage = namedtuple("usage", "total used free")(2e9, 1e9, 1e9)
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(LLMBoostError, match=r"the disk is full: 1\.0 GB are free"):
        create(private, None)
    assert not private.folder.exists()


@pytest.fixture
def interpreter(tmp_path):
    """``interpreter(**facts)``: a program that says of itself that it is such a Python."""

    def make(**facts: object) -> Path:
        good = {"version": "3.12.10", "implementation": "CPython", "bits": 64, "machine": "x86_64", "pip": "25.0"}
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\necho {shlex.quote(json.dumps({**good, 'python': str(path), **facts}))}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return make


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"version": "3.9.6"}, "CPython 3.9.6, 64-bit, x86_64: a 64-bit Python 3.11 or newer is needed"),
        ({"bits": 32}, "32-bit"),
        ({"implementation": "PyPy"}, "PyPy"),
        ({"pip": ""}, "python3-venv"),
    ],
)
def test_interpreters_that_will_not_do(private, interpreter, wheels, facts, words):
    with pytest.raises(LLMBoostError) as caught:
        private.create(interpreter(**facts), wheels)
    assert words in str(caught.value)
    assert not private.folder.exists()


def test_an_interpreter_for_intel_processors_on_macos(private, interpreter, wheels, monkeypatch):
    monkeypatch.setattr(environment.sys, "platform", "darwin")
    with pytest.raises(LLMBoostError, match="choose a Python for Apple silicon"):
        private.create(interpreter(), wheels)


def test_programs_that_are_no_python(private, interpreter, wheels, tmp_path, monkeypatch):
    for python, words in (
        (tmp_path / "nothing", "nothing: cannot be started (No such file or directory)"),
        (Path("/bin/echo"), "/bin/echo: is no Python 3"),
        (tmp_path / "PythonSlicer", "Slicer's own Python cannot make an environment"),
    ):
        with pytest.raises(LLMBoostError) as caught:
            private.create(python, wheels)
        assert words in str(caught.value)
    monkeypatch.setattr(environment, "interpreters", lambda: [tmp_path / "nothing", interpreter(version="3.10.1")])
    with pytest.raises(LLMBoostError, match=r"no Python 3\.11 or newer was found; install one .*nothing"):
        private.create("", wheels)


def test_the_computers_interpreters_are_found(private, monkeypatch, tmp_path):
    (tmp_path / "bin").mkdir()
    for name in ("python3", "python3.12"):
        (tmp_path / "bin" / name).symlink_to(sys.executable)
    variables = {**slicer.util.startupEnvironment(), "PATH": str(tmp_path / "bin")}
    monkeypatch.setattr(slicer.util, "startupEnvironment", lambda: variables)
    assert environment.interpreters() == [tmp_path / "bin" / "python3.12", tmp_path / "bin" / "python3"]


def test_the_user_is_told_what_where_and_how_large(private, wheels, monkeypatch):
    text = private.question()
    for words in (str(private.folder), "PyTorch", "pypi.org", "GB to download", "Slicer's own Python is not touched"):
        assert words in text
    assert f"{wheels}; nothing is downloaded" in private.question(wheels)
    monkeypatch.setattr(environment.sys, "platform", "win32")
    assert "NVIDIA" in private.question()


def test_the_worker_command_is_read_as_it_was_written(settings, monkeypatch):
    command = [r"C:\Users\A B\.llmboost\environment\Scripts\python.exe", "-m", "llmboost.worker"]
    for platform in ("linux", "win32"):
        monkeypatch.setattr(sys, "platform", platform)
        environment.setWorkerCommand(command)
        assert launcher.workerCommand() == command
        environment.setWorkerCommand(None)
        assert launcher.workerCommand() == launcher.defaultCommand()
