"""What the Slicer extensions index checks before it lists an extension, as far as that needs no network."""

from __future__ import annotations

import json
import re
import shlex
import struct
import tomllib
from pathlib import Path

import pytest
from Testing.extension.conftest import modules, program, run

from LLMBoostLib.install import environment, packages
from LLMBoostLib.scene import samples

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
DESCRIPTION = ROOT / "LLMBoost.json"
IMAGES = {"EXTENSION_ICONURL", "EXTENSION_SCREENSHOTURLS"}
LARGEST_CLONE = 100e6


@pytest.fixture
def entry() -> dict:
    """The file that goes into the index."""
    return json.loads(DESCRIPTION.read_text(encoding="utf-8"))


@pytest.fixture
def variables() -> dict[str, str]:
    """The index does not run CMake: it looks for variables that are set on one line, to a text in quotes."""
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    return dict(re.findall(r'^set\((EXTENSION_\w+) "([^"$]+)"\)$', text, re.MULTILINE))


def test_the_entry_has_the_form_that_the_schema_asks_for(entry):
    assert re.search(r"/Schemas/slicer-extension-catalog-entry-schema-v1\.\d\.\d\.json#$", entry.pop("$schema"))
    kinds = {
        "build_dependencies": list,
        "build_subdirectory": str,
        "category": str,
        "scm_revision": str,
        "scm_url": str,
        "tier": int,
    }
    assert {name: type(value) for name, value in entry.items()} == kinds
    assert entry["category"] == "Segmentation"
    assert 1 <= entry["tier"] <= 5
    assert b"\r" not in DESCRIPTION.read_bytes()


def test_the_names_follow_the_rules(entry):
    assert not DESCRIPTION.stem.lower().startswith("slicer")
    assert entry["scm_url"].startswith("https://github.com/")
    assert entry["scm_url"].rpartition("/")[2] == f"Slicer{DESCRIPTION.stem}"


def test_the_variables_are_read_as_cmake_reads_them(built, variables):
    description = json.loads((built / "description.json").read_text(encoding="utf-8"))
    assert description.pop("name") == DESCRIPTION.stem
    assert description == {name.removeprefix("EXTENSION_"): value for name, value in variables.items()}


def test_the_entry_agrees_with_cmake(entry, variables):
    assert entry["build_dependencies"] == variables["EXTENSION_DEPENDS"].split()


def test_all_places_name_the_same_repository_and_are_told_to_those_who_publish(entry, variables, tracked):
    """They are replaced together on publication."""
    address = entry["scm_url"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert variables["EXTENSION_HOMEPAGE"] == address
    assert project["urls"]["Homepage"] == address
    kinds = ".py", ".md", ".txt", ".json", ".toml"
    texts = {path: (ROOT / path).read_text(encoding="utf-8") for path in tracked if path.suffix in kinds}
    places = [path.as_posix() for path, text in texts.items() if address in text]
    told = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Publishing")[2].partition("\n## ")[0]
    assert [path for path in places if f"{path.removeprefix('LLMBoostSegment/')}`" not in told] == ["CONTRIBUTING.md"]
    raw = address.replace("github.com", "raw.githubusercontent.com") + f"/{entry['scm_revision']}/"
    for name in IMAGES:
        assert all(url.startswith(raw) for url in variables[name].split()), name


@pytest.mark.parametrize("name", sorted(IMAGES))
def test_the_pictures_behind_the_addresses_are_there(variables, tracked, name):
    for url in variables[name].split():
        path = Path(*url.split("/")[6:])  # after https://server/owner/repository/revision
        assert path in tracked
        assert size(ROOT / path) >= (128, 128)


def test_the_icons_have_slicers_size(variables):
    icons = [ROOT / variables["EXTENSION_ICONURL"].rpartition("/")[2]]
    icons += [ROOT / name / "Resources" / "Icons" / f"{name}.png" for name in modules()]
    assert {size(icon) for icon in icons} == {(128, 128)}


def test_a_full_clone_is_small_and_has_a_license(tmp_path):
    if not (ROOT / ".git").exists():
        pytest.skip("no git checkout")
    run(program("git"), "clone", "--quiet", "--no-local", ROOT, tmp_path / "clone")
    assert sum(path.lstat().st_size for path in (tmp_path / "clone").rglob("*")) < LARGEST_CLONE
    assert "Apache License" in (tmp_path / "clone" / "LICENSE").read_text(encoding="utf-8")


def test_the_homepage_shows_pictures_and_names_the_license_and_each_module():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    assert pictures
    assert [picture for picture in pictures if not (ROOT / picture).is_file()] == []
    for words in ("Apache", "research use", *modules()):
        assert words in text


def test_the_tutorial_names_the_sample_data():
    text = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    downloads = json.loads((samples.RESOURCES / "samples.json").read_text(encoding="utf-8"))
    for name in (samples.CATEGORY, "HippocampusPhantom", *(sample["name"] for sample in downloads)):
        assert f"**{name}**" in text


def test_the_privacy_page_tells_how_to_remove_everything():
    removing = (DOCS / "privacy.md").read_text(encoding="utf-8").split("## Remove everything")[1]
    for place in ("~/.llmboost", "PyTorch Utils", "pip_uninstall"):
        assert place in removing


def test_the_page_on_installing_tells_hospitals_which_wheels_to_fetch():
    text = (DOCS / "install.md").read_text(encoding="utf-8")
    (line,) = re.findall("^python -m pip download .+", text, re.MULTILINE)
    words = shlex.split(line)
    assert words[words.index("wheels") + 1 :] == [packages.TORCH, *packages.requirements("train"), *environment.BUNDLED]


def size(picture: Path) -> tuple[int, int]:
    """Width and height of a PNG file."""
    start = picture.read_bytes()[:24]
    assert start.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", start[16:])
