"""The folder of LLMBoost Train: others' files stay, several Slicers share it, and what fails changes nothing."""

from __future__ import annotations

import errno
import json
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import llmboost
from llmboost.errors import LLMBoostError
from llmboost.io.image import Image, read_image
from LLMBoostLib.training.cases import Kind
from LLMBoostLib.training.casestore import CaseStore
from LLMBoostLib.training.filechanges import FileChanges
from LLMBoostLib.training.runfolders import discardPending, removeRuns

SHAPE = (12, 10, 8)
HEAD, BODY = Kind("head"), Kind("body")
FOREIGN = "not a folder of LLMBoost Train's; choose an empty one"

ADD = """
import sys
import numpy as np
from pathlib import Path
from llmboost.io.image import Image
from LLMBoostLib.training.cases import Kind
from LLMBoostLib.training.casestore import CaseStore
store = CaseStore(Path(sys.argv[1]))
mask = np.zeros((12, 10, 8), bool)
mask[2:5, 2:5, 2:5] = True
print("ready", flush=True)
sys.stdin.readline()
for n in range(10):
    image = Image(np.full((12, 10, 8), n, np.int16), (1, 1, 1), (0, 0, 0), np.eye(3))
    case = store.add(image, [(Kind(f"{sys.argv[2]} {n % 3}"), mask)])
    store.setRole(case.id, ("train", "val")[n % 2])
"""


def image(seed: int = 0) -> Image:
    array = np.random.default_rng(seed).integers(0, 500, SHAPE).astype(np.int16)
    return Image(array, (1.0, 1.1, 1.2), (5.0, 6.0, 7.0), np.eye(3))


def mask(start: int = 2) -> np.ndarray:
    array = np.zeros(SHAPE, bool)
    array[start : start + 4, 3:6, 2:5] = True
    return array


def content(folder: Path) -> dict[str, tuple[bytes | str, int]]:
    """All that lies in a folder: bytes of files, targets of links, and permissions."""
    found = {}
    for path in sorted(folder.rglob("*")):
        data = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
        found[str(path.relative_to(folder))] = data, path.lstat().st_mode
    return found


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "cases"


@pytest.fixture
def store(folder) -> CaseStore:
    """A store of two cases, one of which has no segments."""
    store = CaseStore(folder)
    store.add(image(), [(HEAD, mask())])
    store.add(image(1))
    return store


# Others' files


def decathlon(folder: Path) -> None:
    (folder / "imagesTr").mkdir()
    (folder / "labelsTr").mkdir()
    for name in ("imagesTr/la_003.nii.gz", "labelsTr/la_003.nii.gz"):
        (folder / name).write_bytes(b"theirs")
    (folder / "dataset.json").write_text('{"name": "theirs"}')


def nnunet(folder: Path) -> None:
    decathlon(folder)
    (folder / "imagesTr" / "la_003.nii.gz").rename(folder / "imagesTr" / "la_003_0000.nii.gz")
    (folder / "splits.json").write_text("{}")


def one(name: str, text: str = "theirs") -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


def tensorboard(folder: Path) -> None:
    (folder / "runs" / "Jan01").mkdir(parents=True)
    (folder / "model.pt").write_text("theirs")


def others_index(value: object) -> Callable[[Path], None]:
    def fill(folder: Path) -> None:
        decathlon(folder)
        (folder / "cases.json").write_text(json.dumps(value))

    return fill


STRANGERS = {
    "decathlon": decathlon,
    "nnunet": nnunet,
    "file": one("thesis.docx"),
    "hidden": one(".bashrc"),
    "spelled otherwise": one("Cases.json", "{}"),
    "tensorboard": tensorboard,
    "index: list": others_index(["case 1"]),
    "index: other keys": others_index({"format": 1, "cases": []}),
    "index: text": others_index("cases"),
}


@pytest.mark.parametrize("fill", STRANGERS.values(), ids=STRANGERS)
def test_a_folder_with_files_of_others_is_refused_and_stays_as_it_is(folder, fill):
    store = CaseStore(folder)
    folder.mkdir()
    folder.chmod(0o755)
    fill(folder)
    before = content(folder)
    with pytest.raises(LLMBoostError, match=FOREIGN):
        CaseStore(folder)
    for change in (lambda: store.add(image()), store.removeAll, lambda: store.setMapping("x", {1: "y"}), store.refresh):
        with pytest.raises(LLMBoostError, match=FOREIGN):
            change()
    assert content(folder) == before
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": 2}, "written by a newer LLMBoost"),
        ({"format": "1"}, "cannot be read"),
        ({"kinds": {"1": {"name": "head", "terminology": "", "color": 3}}}, "cannot be read"),
        ({"cases": [{"id": "../../x"}]}, "cannot be read"),
        ({"cases": 3}, "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ('{"format":', "mend it, or choose another folder"),
    ],
)
def test_a_damaged_index_is_told_in_a_line_and_nothing_is_changed(store, folder, change, reason):
    index = json.loads((folder / "cases.json").read_text())
    (folder / "cases.json").write_text(change if isinstance(change, str) else json.dumps({**index, **change}))
    before = content(folder)
    for act in (lambda: CaseStore(folder), lambda: store.add(image(2)), store.removeAll):
        with pytest.raises(LLMBoostError, match=reason) as error:
            act()
        assert len(str(error.value).splitlines()) == 1
    assert content(folder) == before


@pytest.mark.parametrize("id", ["la003", "../../secret", "ABCDEF01", "0123456", "0123456/"])
def test_an_index_cannot_name_files_that_were_not_made_here(store, folder, id):
    text = (folder / "cases.json").read_text()
    (folder / "cases.json").write_text(text.replace(next(iter(store.cases)), id))
    with pytest.raises(LLMBoostError, match="cannot be read"):
        CaseStore(folder).removeAll()


def test_a_file_and_an_unreadable_folder_are_no_place(folder, monkeypatch):
    folder.write_text("mine")
    with pytest.raises(LLMBoostError, match="a file; choose a folder"):
        CaseStore(folder)
    folder.unlink()

    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)  # for root may read everything
    with pytest.raises(LLMBoostError, match=r"cannot be read \(Permission denied\); choose another folder"):
        CaseStore(folder)


def test_an_empty_folder_is_taken_also_through_a_link_and_after_a_file_manager(folder, tmp_path):
    folder.mkdir()
    for name in (".DS_Store", "Thumbs.db"):
        (folder / name).write_text("")
    (tmp_path / "link").symlink_to(folder)
    store = CaseStore(tmp_path / "link")
    case = store.add(image(), [(HEAD, mask())])
    assert list(CaseStore(folder).cases) == [case.id]
    store.removeAll()
    assert sorted(content(folder)) == [".DS_Store", "Thumbs.db"]
    store.add(image())


def test_deleting_all_leaves_what_others_put_there(store, folder, tmp_path):
    extra = ["notes.txt", "imagesTr/mine.nii.gz", "labelsTr/la_003.nii.gz", "runs/Jan01/events", "pending/mine.txt"]
    for name in extra:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")
    for name in ("runs/01234567/dataset/dataset.json", "pending/outcome.json", "pending/a.safetensors"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("ours")
    (folder / "imagesTr" / f".{'0' * 32}.nii.gz").write_text("half of an image")  # left by a kill
    store.removeAll()
    assert sorted(path for path in content(folder) if (folder / path).is_file()) == sorted(extra)
    assert all((folder / name).read_text() == "mine" for name in extra)


def test_deleting_does_not_follow_links(store, folder, tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    decathlon(theirs)
    (theirs / "01234567").mkdir()
    for name in ("imagesTs", "labelsTr"):
        (folder / name).rename(tmp_path / f"moved {name}")
        (folder / name).symlink_to(tmp_path / f"moved {name}")
    (folder / "runs").mkdir()
    (folder / "runs" / "01234567").symlink_to(theirs)
    (folder / "pending").symlink_to(theirs)
    (tmp_path / "moved labelsTr" / "la_003.nii.gz").write_text("theirs")
    before = content(theirs)
    again = CaseStore(folder)
    removeRuns(folder)
    discardPending(folder)
    again.removeAll()
    assert content(theirs) == before
    assert [path.name for path in (tmp_path / "moved labelsTr").iterdir()] == ["la_003.nii.gz"]
    assert [*(tmp_path / "moved imagesTs").iterdir()] == []


def test_what_the_user_made_of_the_data_sets_description_is_kept(store, folder):
    text = (folder / "dataset.json").read_text().replace("local cases", "mine")
    (folder / "dataset.json").write_text(text)
    store.add(image(2))
    store.add(image(3))
    assert (folder / "dataset-edited-1.json").read_text() == text
    assert sorted(path.name for path in folder.glob("*.json")) == [
        "cases.json",
        "dataset-edited-1.json",
        "dataset.json",
        "splits.json",
    ]
    assert json.loads((folder / "dataset.json").read_text())["name"] == "local cases"
    (folder / "dataset.json").write_text(text)
    store.removeAll()
    assert sorted(content(folder)) == ["dataset-edited-1.json", "dataset.json"]


# Several Slicers


def test_two_processes_add_at_once_and_nothing_is_lost(folder):
    environment = {**os.environ, "PYTHONPATH": str(Path(llmboost.__file__).parents[1])}
    command = [sys.executable, "-c", ADD, str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": environment}
    children = [subprocess.Popen([*command, name], **pipes) for name in ("left", "right")]
    for child in children:
        assert child.stdout.readline() == b"ready\n"
    for child in children:
        child.stdin.write(b"\n")
        child.stdin.flush()
    for child in children:
        with child:
            assert child.wait(60) == 0
    store = CaseStore(folder)
    assert len(store.cases) == 20
    assert sorted(kind.name for kind in store.kinds.values()) == [
        f"{s} {n}" for s in ("left", "right") for n in range(3)
    ]
    found = {"left": [], "right": []}
    for case in store.cases.values():
        ((kind, array),) = store.masks(case)
        assert np.array_equal(array[2:5, 2:5, 2:5], np.ones((3, 3, 3), bool))
        assert array.sum() == case.voxels[next(iter(case.voxels))] == 27
        found[kind.name.split()[0]].append(int(store.read(case).array[0, 0, 0]))
    assert found == {"left": [*range(10)], "right": [*range(10)]}
    assert sorted(path.name for path in folder.iterdir()) == [
        "cases.json",
        "dataset.json",
        "imagesTr",
        "labelsTr",
        "splits.json",
    ]


@pytest.mark.parametrize("change", ["add", "update", "setRole", "setPartly", "setMapping", "remove"])
def test_each_change_is_made_to_what_another_one_left(store, folder, change):
    other = CaseStore(folder)
    labelled, alone = store.cases
    before = (folder / "cases.json").stat().st_mtime_ns
    added = other.add(image(5), [(BODY, mask())])
    os.utime(folder / "cases.json", ns=(before, before))  # however coarse the disk's clock is
    {
        "add": lambda: store.add(image(6), [(Kind("third"), mask())]),
        "update": lambda: store.update(labelled, image(), [(Kind("third"), mask())]),
        "setRole": lambda: store.setRole(labelled, "val"),
        "setPartly": lambda: store.setPartly(labelled, True),
        "setMapping": lambda: store.setMapping("x", {1: "liver"}),
        "remove": lambda: store.remove([alone]),
    }[change]()
    found = CaseStore(folder)
    assert added.id in found.cases
    assert [kind for kind, _ in found.masks(found.cases[added.id])] == [BODY]


# Failures


CHANGES = {
    "add": lambda store, labelled, alone: store.add(image(7), [(BODY, mask()), (Kind("third"), mask(4))]),
    "add to nothing": lambda store, labelled, alone: CaseStore(store.folder.with_name("fresh")).add(image()),
    "update": lambda store, labelled, alone: store.update(labelled, image(), [(BODY, mask(5))]),
    "update to unlabeled": lambda store, labelled, alone: store.update(labelled, image(), []),
    "update to labeled": lambda store, labelled, alone: store.update(alone, image(1), [(BODY, mask())]),
    "setRole": lambda store, labelled, alone: store.setRole(labelled, "unlabelled"),
    "setPartly": lambda store, labelled, alone: store.setPartly(labelled, True),
    "setMapping": lambda store, labelled, alone: store.setMapping("x", {1: "liver"}),
    "remove": lambda store, labelled, alone: store.remove([labelled, alone]),
    "removeAll": lambda store, labelled, alone: store.removeAll(),
}


def memory(store: CaseStore) -> tuple:
    return dict(store.kinds), dict(store.mapping), dict(store.cases)


def links_refused(*paths: Path) -> None:
    raise OSError(errno.EPERM, "no links here")


@pytest.mark.parametrize("fault", ["rename", "rename without links", "write"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whichever_step_fails_all_stays_as_it_was(store, tmp_path, monkeypatch, change, fault):
    if fault == "rename without links":
        monkeypatch.setattr(os, "link", links_refused)
    place, name = (Path, "write_bytes") if fault == "write" else (os, "replace")
    real, (labelled, alone) = getattr(place, name), store.cases
    before, known = content(tmp_path), memory(store)
    calls, failing, told = 0, 0, []

    def fail(*args, **options):
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args, **options)

    monkeypatch.setattr(place, name, fail)
    while calls >= failing:  # until none fails any more
        assert content(tmp_path) == before
        assert memory(store) == known == memory(CaseStore(store.folder))
        calls, failing = 0, failing + 1
        try:
            change(store, labelled, alone)
        except LLMBoostError as error:
            told.append(str(error))
    assert all("No space left on device" in text for text in told)
    assert not any("/." in text for text in told), "tells the file, not the one beside it"
    assert len(told) == failing - 1
    assert failing > 3 or (change, fault) == (CHANGES["removeAll"], "write")
    assert content(tmp_path) != before
    assert not list(tmp_path.rglob(".*")), "nothing is left beside"


@pytest.mark.parametrize("change", ["add", "update", "setRole", "setMapping"])
def test_a_full_disk_at_any_size_leaves_all_as_it_was(store, tmp_path, change):
    store.add(image(8), [(Kind(f"kind {n}"), mask()) for n in range(40)])  # the index is longer than the labels
    labelled, alone, _ = store.cases
    before, known = content(tmp_path), memory(store)
    limits, told = resource.getrlimit(resource.RLIMIT_FSIZE), []
    for size in (0, 100, 300, 1000, 2000, 3000, 4000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        try:
            CHANGES[change](store, labelled, alone)
            break
        except LLMBoostError as error:
            told.append(str(error))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert content(tmp_path) == before
        assert memory(store) == known
    assert len(told) >= 3
    assert all("cannot be written" in text for text in told)


def test_an_update_that_fails_keeps_the_old_labels(store, folder, monkeypatch):
    labelled, _ = store.cases
    before = read_image(store.labels(store.cases[labelled])).array

    def fail(self, data):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(LLMBoostError, match="Read-only"):
        store.update(labelled, image(), [(BODY, mask(5))])
    assert np.array_equal(read_image(store.labels(store.cases[labelled])).array, before)
    assert [kind for kind, _ in CaseStore(folder).masks(store.cases[labelled])] == [HEAD]


def test_what_is_interrupted_is_taken_back(store, folder, tmp_path):
    before = content(tmp_path)

    def interrupt(path: Path) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    changes = FileChanges()
    changes.delete(folder / "cases.json")
    with pytest.raises(KeyboardInterrupt), changes:
        changes.write(folder / "new" / "file", interrupt)
    assert content(tmp_path) == before


def test_a_role_that_does_not_exist_is_refused(store):
    for change in (lambda: store.setRole(next(iter(store.cases)), "training"), lambda: store.add(image(2), role="")):
        with pytest.raises(LLMBoostError, match="is no use of a case"):
            change()
    assert len(CaseStore(store.folder).cases) == 2


# For the user alone


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_folder_and_files_are_for_the_user_alone(folder):
    mask_before = os.umask(0)
    try:
        store = CaseStore(folder)
        case = store.add(image(), [(HEAD, mask())])
        store.add(image(1))
        store.update(case.id, image(), [(BODY, mask())])
        store.setRole(case.id, "val")
        for path in (folder, *folder.rglob("*")):
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    finally:
        os.umask(mask_before)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_a_folder_of_before_is_closed_when_it_is_opened(store, folder, tmp_path):
    (folder / "pending").mkdir()
    (folder / "pending" / "outcome.json").write_text("{}")
    (folder / "runs").symlink_to(tmp_path)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
    tmp_path.chmod(0o755)
    CaseStore(folder)
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
