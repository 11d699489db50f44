"""Installing into Slicer's Python: with consent, nothing replaced, and each failure with its reason and the way out."""

from __future__ import annotations

import ast
import functools
import http.server
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import slicer
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from Testing.slicer.packaging_standin import NEVER_REPLACED, SLICER, SlicerPython, cleanPip, makeWheel

from llmboost.errors import LLMBoostError
from LLMBoostLib.install import environment, packages
from LLMBoostLib.install.pipoutput import PipOutput

WAY_OUT = "private environment"
WHEELS = {
    "torch": "2.13.0",
    "monai": "1.6.1",
    "safetensors": "0.8.0",
    "rich": "15.0.0",
    "typer": "0.29.2",
    "matplotlib": "3.11.2",
    "peft": "0.21.2",
}


@pytest.fixture
def wheels(tmp_path) -> Path:
    """A folder of tiny wheels by the names of the real ones; MONAI's needs numpy and PyTorch, as it does."""
    folder = tmp_path / "wheels"
    needs = {"monai": ["numpy>=1.24", "torch>=2.8"], "torch": ["typing_extensions>=4.13", "setuptools>=77"]}
    for name, version in WHEELS.items():
        makeWheel(folder, name, version, needs.get(name, ()))
    return folder


@pytest.fixture
def inSlicer(session, tmp_path, wheels, monkeypatch):
    """``inSlicer(version)``: a Python with that Slicer's packages, behind its functions; pip sees the wheels alone."""

    def start(version: str = "5.12", **options: bool) -> SlicerPython:
        pip = metadata.version("pip")
        pins = [f"pip=={pip}" if pin.startswith("pip==") else pin for pin in SLICER[version]]
        python = SlicerPython(tmp_path / "Slicer", pins)
        python.install(monkeypatch, modern=version != "5.10", **options)
        monkeypatch.setattr(packages, "metadata", python)
        monkeypatch.setattr(slicer.app, "testingEnabled", lambda: False)
        offline = cleanPip(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(wheels))
        for name in [name for name in os.environ if name.startswith("PIP_")]:
            monkeypatch.delenv(name)
        for name, value in offline.items():
            monkeypatch.setenv(name, value)
        return python

    return start


def failure(purpose: str = "segment") -> str:
    """The message of an installation that must fail: one line, with a way out."""
    with pytest.raises(LLMBoostError) as caught:
        packages.ensureInstalled(purpose)
    text = str(caught.value)
    assert "\n" not in text
    assert WAY_OUT in text
    return text


# Requirements


def test_the_lists_have_lower_bounds_only_and_nothing_of_slicers():
    lists = [Requirement(text) for text in (packages.TORCH, *packages.requirements("train"))]
    assert [{x.operator for x in one.specifier} for one in lists] == [{">="}] * len(lists)
    slicers = {canonicalize_name(pin.split("==")[0]) for pins in SLICER.values() for pin in pins}
    assert not {canonicalize_name(one.name) for one in lists} & slicers
    assert set(packages.requirements("segment")) < set(packages.requirements("train"))


def test_the_lists_agree_with_the_package():
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    block = text[text.index("dependencies = [") :]
    package = {Requirement(x).name: Requirement(x) for x in ast.literal_eval(block[15 : block.index("]") + 1])}
    for text in (packages.TORCH, *packages.requirements("segment"), *environment.BUNDLED):
        one = Requirement(text)
        if one.name in package:
            assert set(package[one.name].specifier) <= set(one.specifier), text


ENGINE = """
import sys
from importlib import metadata
from packaging.requirements import Requirement

allowed, todo = set(), [Requirement(text) for text in sys.argv[1].split(",")]
while todo:
    one = todo.pop()
    if one.name.lower() not in allowed and (one.marker is None or one.marker.evaluate({"extra": ""})):
        allowed.add(one.name.lower().replace("_", "-"))
        todo += map(Requirement, metadata.requires(one.name) or ())
owners = metadata.packages_distributions()

class Absent:
    def find_spec(self, name, path=None, target=None):
        owner = owners.get(name.partition(".")[0])
        if owner and not {x.lower().replace("_", "-") for x in owner} & allowed | {"llmboost"} & set(owner):
            raise ModuleNotFoundError(f"No module named {name!r}")

sys.meta_path.insert(0, Absent())
from llmboost.cli import main
main(sys.argv[2:])
"""


def test_the_engine_segments_with_nothing_but_what_is_listed(tmp_path, cloud):
    from llmboost.io.image import Image, write_image

    write_image(Image(cloud.transpose(), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3)), tmp_path / "case.nii.gz")
    needed = ",".join([packages.TORCH, *packages.requirements(), *environment.BUNDLED])
    arguments = ["segment", str(tmp_path / "case.nii.gz"), "--model", "hippocampus", "--output", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", ENGINE, needed, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "case.seg.nrrd").is_file()


# What is missing


def test_what_is_there_is_not_missing_however_it_was_built(inSlicer):
    python = inSlicer()
    assert packages.missing() == ["torch>=2.8", *packages.requirements()]
    for pin in ("torch==2.14.0a0+git123", "monai==1.6.1", "safetensors==0.4", "typer==0.20", "matplotlib==3.10"):
        python.add(pin)
    assert packages.missing() == ["safetensors>=0.5", "rich>=13"]
    assert packages.missing("train") == ["safetensors>=0.5", "rich>=13", "peft>=0.17"]


def test_nothing_is_missing_for_a_worker_elsewhere(inSlicer, monkeypatch):
    python = inSlicer()
    monkeypatch.setattr(packages, "workerCommand", lambda: ["ssh", "-T", "box", "python", "-m", "llmboost.worker"])
    assert packages.missing() == []
    packages.ensureInstalled()
    assert not python.dialogs


def test_looking_for_what_is_missing_imports_nothing_heavy(session):
    code = (
        "import sys; from Testing.host import start; start(); from LLMBoostLib.install import packages;"
        "packages.missing('train'); print(*sorted({'torch', 'monai', 'safetensors', 'pip', 'qt'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=paths())
    assert done.stdout.strip() == ""


def paths() -> dict[str, str]:
    root = Path(__file__).parents[2]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "LLMBoostSegment")])}


# Installing


@pytest.mark.parametrize("version", ["5.10", "5.12"])
def test_what_is_missing_is_installed_and_the_rest_stays(inSlicer, version, monkeypatch, tmp_path, capsys):
    (tmp_path / "a folder").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "a folder"))  # pip splits some settings at spaces
    python = inSlicer(version)
    before = python.versions()
    packages.ensureInstalled("train")
    assert packages.missing("train") == []
    assert python.versions() == {**before, **WHEELS}
    assert python.torchEnvironment["PIP_CONSTRAINT"].startswith("file:///")
    assert "PIP_CONSTRAINT" not in os.environ
    assert "PIP_PROGRESS_BAR" not in os.environ
    (question,) = python.dialogs
    for words in ("PyTorch", "download.pytorch.org", "GB", "monai, safetensors", "pypi.org", "MB", "stays as it is"):
        assert words in question
    assert any("Successfully installed" in text and "monai" in text for text, _ in python.progress)
    assert python.progress[-1] == ("closed", None)
    assert "Successfully installed" in capsys.readouterr().out  # still in the Python console
    packages.ensureInstalled("train")
    assert len(python.dialogs) == 1


def test_only_what_is_missing_is_installed(inSlicer):
    python = inSlicer(pytorch=False)
    python.add("torch==2.9.1")
    packages.ensureInstalled()
    assert python.version("torch") == "2.9.1"
    assert "PyTorch" not in python.dialogs[0]
    assert packages.missing() == []


@pytest.mark.parametrize("package", ["torch", "monai"])
def test_a_package_that_wants_others_than_slicers_is_refused(inSlicer, wheels, package):
    python = inSlicer()
    makeWheel(wheels, package, "3.0", ["numpy>=99"])
    makeWheel(wheels, "numpy", "99.0")
    (wheels / f"{package}-{WHEELS[package]}-py3-none-any.whl").unlink()
    before = python.versions()
    text = failure()
    assert "does not fit the packages that are there" in text
    assert f"{package} 3.0 depends on numpy>=99; there is numpy==2.4.6" in text
    assert {name: python.versions()[name] for name in before} == before


def test_declined(inSlicer):
    python = inSlicer()
    python.answer = False
    before = python.versions()
    assert "torch, monai" in failure()
    assert python.versions() == before


def test_in_testing_mode_nothing_is_installed(inSlicer, monkeypatch):
    python = inSlicer()
    monkeypatch.setattr(slicer.app, "testingEnabled", lambda: True)
    before = python.versions()
    assert "testing mode" in failure()
    assert python.versions() == before
    assert not python.dialogs


def test_a_thread_cannot_install(inSlicer):
    python = inSlicer()
    errors = []

    def work() -> None:
        try:
            packages.ensureInstalled()
        except RuntimeError as error:
            errors.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert errors == ["packages are installed from the main thread only"]
    assert not python.dialogs


def test_without_the_extension_pytorch(inSlicer):
    assert "Extensions Manager" in (inSlicer(pytorch=False) and failure())


def test_an_old_pytorch_is_left_alone(inSlicer):
    python = inSlicer()
    python.add("torch==2.2.2")
    assert "PyTorch 2.2.2 is installed in Slicer, but torch>=2.8 is needed" in failure()
    assert python.version("torch") == "2.2.2"
    assert not python.dialogs


def test_a_python_for_intel_processors_on_macos(inSlicer, monkeypatch):
    inSlicer()
    assert packages.obstacle() == ""
    monkeypatch.setattr(packages.sys, "platform", "darwin")
    monkeypatch.setattr(packages.platform, "machine", lambda: "x86_64")
    assert "no current PyTorch on macOS" in packages.obstacle()
    assert "no current PyTorch on macOS" in failure()
    monkeypatch.setattr(packages.platform, "machine", lambda: "arm64")
    assert packages.obstacle() == ""


def test_a_full_disk_is_told_before_anything_is_asked(inSlicer, monkeypatch):
    python = inSlicer()
    usage = namedtuple("usage", "total used free")(2e9, 1e9, 1e9)
    monkeypatch.setattr(packages.shutil, "disk_usage", lambda path: usage)
    assert "1.0 GB are free, at least 2.0 GB are needed" in failure()
    assert not python.dialogs


def test_another_installation_runs(inSlicer, monkeypatch):
    inSlicer()
    monkeypatch.setattr(sys.modules["slicer.packaging"], "isPipInstallInProgress", lambda: True)
    assert "wait for that" in failure()


def test_pytorchs_installer_fails_without_saying_so(inSlicer):
    python = inSlicer()
    python.torchFails = True
    assert "installing torch failed: TypeError: build_source() missing" in failure()


def test_pytorch_is_installed_but_cannot_be_loaded(inSlicer):
    """The extension PyTorch imports what it has installed."""
    python = inSlicer()
    python.torchImportError = "DLL load failed while importing _C"
    assert "installing torch failed: DLL load failed while importing _C" in failure()


def test_a_wheel_that_is_not_there(inSlicer, wheels):
    inSlicer()
    (wheels / "monai-1.6.1-py3-none-any.whl").unlink()
    text = failure()
    assert "installing monai, safetensors, rich, typer, matplotlib failed: monai was not found" in text
    assert "monai>=1.6" in packages.missing()
    assert "torch>=2.8" not in packages.missing()


# What pip says: real messages


def pipFails(arguments: list[str], **settings: str) -> str:
    """The reason of a real failure of pip."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", *arguments]
    done = subprocess.run(
        command, env=cleanPip(**settings), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode
    output = PipOutput()
    for line in done.stdout.splitlines():
        output.add(line)
    return output.reason()


class Refusing(http.server.BaseHTTPRequestHandler):
    """A proxy server that asks for a name and a password."""

    def do_CONNECT(self) -> None:
        self.send_error(407)

    def log_message(self, *arguments) -> None:
        pass


def test_offline():
    arguments = ["--index-url", "http://127.0.0.1:9/simple", "--retries", "1", "monai"]
    assert "package server cannot be reached" in pipFails(arguments)


def test_a_proxy_server_that_wants_a_password():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        arguments = ["--proxy", f"http://127.0.0.1:{server.server_port}", "--retries", "1", "monai"]
        assert "HTTPS_PROXY" in pipFails(arguments)
    finally:
        server.shutdown()
        server.server_close()


def test_a_damaged_wheel(tmp_path):
    (tmp_path / "monai-1.6.1-py3-none-any.whl").write_text("rubbish")
    assert "damaged" in pipFails(["--no-index", "--find-links", str(tmp_path), "monai"])


def test_only_other_versions(wheels):
    reason = pipFails(["--no-index", "--find-links", str(wheels), "torch>=99"])
    assert "no version of torch fits this Python" in reason


def test_no_more_room(tmp_path, monkeypatch):
    wheel = makeWheel(tmp_path, "big", "1.0", files={"big/__init__.py": "#" * 500_000})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    command = [sys.executable, "-m", "pip", "install", "--target", str(tmp_path / "there"), str(wheel)]
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        done = subprocess.run(command, env=cleanPip(), capture_output=True, text=True, check=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    output = PipOutput()
    for line in (done.stdout + done.stderr).splitlines():
        output.add(line)
    assert done.returncode
    assert "disk is full" in output.reason()


# as pip prints them where this test cannot provoke them: a disk that is full or for reading only, another system
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        (r"ERROR: Could not install packages due to an OSError: [WinError 5] Access is denied: 'C:\\x.pyd'", "in use"),
        ("PermissionError: [WinError 32] The process cannot access the file because it is being used", "in use"),
        ("OSError: [Errno 30] Read-only file system: '/opt/Slicer/lib/Python/lib'", "cannot be written"),
        ("ERROR: Could not install packages due to an OSError: [Errno 13] Permission denied: '/opt'", "be written"),
        ("(Caused by SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] ...')))", "PIP_CERT"),
        ("/usr/bin/python3: No module named pip", "has no pip"),
        ("ERROR: something new", "something new"),
        ("", "without a word"),
    ],
)
def test_other_words_of_pip(line, words):
    output = PipOutput()
    output.add(line)
    assert words in output.reason()


def test_a_network_that_came_back_is_not_blamed():
    output = PipOutput()
    output.add(
        "WARNING: Retrying after connection broken by 'NewConnectionError(Failed to establish a new connection)'"
    )
    output.add("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device")
    assert "disk is full" in output.reason()


def test_a_download_is_told_in_steps():
    output = PipOutput()
    lines = ["Collecting torch", "  Downloading torch.whl (126 MB)", *(f"Progress {x} of 1000" for x in range(1001))]
    shown = [text for text in map(output.add, lines) if text]
    assert shown[:3] == ["Collecting torch", "Downloading torch.whl (126 MB)", "Downloading torch.whl (126 MB): 10 %"]
    assert len(shown) == 12
    assert output.percent == 100
    assert output.add("Installing collected packages: torch") == "Installing collected packages: torch"
    assert output.percent is None
    assert (packages.progressBar("26.1.1"), packages.progressBar("23.2.1")) == ("raw", "off")


# The real packages against the versions that Slicer has


LINUX = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
PLATFORMS = {
    "Linux": LINUX,
    "Windows": ("win_amd64",),
    "macOS arm64": ("macosx_14_0_arm64",),
    "macOS x86_64": ("macosx_14_0_x86_64",),
}


@functools.cache
def unreachable() -> str:
    """Why PyPI cannot be used, empty if it can."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "-d", folder, "mdurl", "--retries", "1"]
        done = subprocess.run(command, env=cleanPip(), capture_output=True, text=True, check=False)
    output = PipOutput()
    for line in (done.stdout + done.stderr).splitlines():
        output.add(line)
    return output.reason() if done.returncode else ""


@pytest.fixture
def resolve(tmp_path):
    """``resolve(Slicer's version, platform, requirements)``: what pip would install there, or PipOutput if it refuses.

    pip cannot be told what another computer has installed: with --target and --platform it looks at nothing that is
    installed. So each package of Slicer is a wheel in a folder, of Slicer's version and without needs of its own, and
    PyTorch is one with its real needs; local labels put them before the same versions on PyPI. What pip takes from the
    folder is there already.
    """
    if unreachable():
        pytest.skip(f"no PyPI: {unreachable()}")

    def run(version: str, platform: str, needed: list[str], torch: str = "2.13.0", pinned: bool = True):
        folder = tmp_path / f"{version} {torch}"
        slicers = [*SLICER[version], *([f"torch=={torch}"] if torch else [])]
        for pin in slicers:
            name, _, number = pin.partition("==")
            needs = metadata.requires("torch") or () if name == "torch" else ()
            makeWheel(folder, name, f"{number}+slicer", [need for need in needs if "extra ==" not in need])
            info = folder / "site" / f"{name.replace('-', '_')}-{number}.dist-info"
            info.mkdir(parents=True, exist_ok=True)
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n")
        constraints, report = tmp_path / "constraints.txt", tmp_path / "report.json"
        packages.writeConstraints(constraints, metadata.distributions(path=[str(folder / "site")]))
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--report", str(report)]
        command += ["--python-version", "3.12", "--only-binary=:all:", "--target", str(tmp_path / "target")]
        command += ["--find-links", str(folder), *(["--constraint", str(constraints)] if pinned else []), *needed]
        for tag in PLATFORMS[platform]:
            command += ["--platform", tag]
        done = subprocess.run(command, env=cleanPip(), capture_output=True, text=True, check=False)
        if done.returncode:
            output = PipOutput()
            for line in (done.stdout + done.stderr).splitlines():
                output.add(line)
            return output
        found = json.loads(report.read_text())["install"]
        return {x["metadata"]["name"].lower(): x["metadata"]["version"] for x in found}

    return run


def fromPyPI(found: dict[str, str]) -> set[str]:
    return {name for name, version in found.items() if not version.endswith("+slicer")}


@pytest.mark.parametrize("platform", ["Linux", "Windows", "macOS arm64"])
@pytest.mark.parametrize("version", SLICER)
def test_nothing_of_slicers_is_replaced(resolve, version, platform):
    found = resolve(version, platform, packages.requirements("segment"))
    assert isinstance(found, dict), found.reason()
    assert {"monai", "safetensors", "typer", "rich", "sympy"} <= fromPyPI(found)  # the last is PyTorch's
    assert {"numpy", "torch"} <= set(found)  # needed, and there already
    slicers = {pin.split("==")[0].lower() for pin in SLICER[version]} - {"pip", "setuptools", "wheel"}
    assert not fromPyPI(found) & (NEVER_REPLACED | slicers)


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["Linux", "Windows", "macOS arm64"])
@pytest.mark.parametrize("version", SLICER)
def test_nothing_of_slicers_is_replaced_for_training(resolve, version, platform):
    found = resolve(version, platform, packages.requirements("train"))
    assert isinstance(found, dict), found.reason()
    assert {"monai", "peft", "transformers", "matplotlib"} <= fromPyPI(found)
    slicers = {pin.split("==")[0].lower() for pin in SLICER[version]} - {"pip", "setuptools", "wheel"}
    assert not fromPyPI(found) & (NEVER_REPLACED | slicers)


def test_without_constraints_pip_would_replace(resolve):
    """The control: a package that needs a newer scipy than Slicer's."""
    needed = ["scipy>=1.14,<1.17"]
    refused = resolve("5.10", "Windows", needed)
    assert "there is scipy==1.13.1" in refused.reason()
    found = resolve("5.10", "Windows", needed, pinned=False)
    assert isinstance(found, dict), found.reason()
    assert "scipy" in fromPyPI(found) & NEVER_REPLACED


@pytest.mark.parametrize("version", SLICER)
def test_slicers_python_on_macos_has_no_current_pytorch(resolve, version):
    """Hence the private environment there: the newest PyTorch is too old, and there is no other."""
    refused = resolve(version, "macOS x86_64", packages.requirements("segment"), torch="2.2.2")
    assert "depends on torch>=2.8" in refused.reason()
    assert "no version of torch fits" in resolve(version, "macOS x86_64", [packages.TORCH], torch="").reason()
