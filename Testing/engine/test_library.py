"""The library of models: found, imported, exported, removed, and never lost."""

import json
import shutil
import struct
from dataclasses import replace

import pytest

from llmboost import library
from llmboost.card import Card, Label, Origin, read_card
from llmboost.errors import LLMBoostError
from llmboost.model import load_model, save_model


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A folder in the place of the package's own."""
    folder = tmp_path / "package" / "models"
    folder.mkdir(parents=True)
    monkeypatch.setattr(library.resources, "files", lambda package: folder.parent)
    return folder


@pytest.fixture
def make_model(tiny_network, tiny_card):
    def make(path, name="tiny", seed=0, **fields):
        network = tiny_network(seed)
        save_model(network, tiny_card(network, name=name, **fields), path)
        return path

    return make


@pytest.fixture
def model(make_model, tmp_path):
    return make_model(tmp_path / "download (1).safetensors")


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[-100] ^= 16
    path.write_bytes(data)


def test_the_users_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("LLMBOOST_MODELS", str(tmp_path))
    assert library.user_folder() == tmp_path
    monkeypatch.setenv("LLMBOOST_MODELS", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert library.user_folder() == tmp_path / "home" / ".llmboost" / "models"


def test_shipped_models_lie_in_the_package(library_folder):
    """Whatever is shipped is whole and small enough to ship."""
    paths = library.installed().values()
    assert sum(path.stat().st_size for path in paths) < 40e6
    for name, path in library.installed().items():
        assert load_model(path).card.name == name


def test_from_import_to_removal(library_folder, shipped, model, tmp_path):
    assert library.installed() == {}
    card = library.import_model(model)
    assert card == read_card(model)
    home = library_folder / "tiny.safetensors"
    assert home.read_bytes() == model.read_bytes()
    assert library.installed() == {"tiny": home}
    assert library.find("tiny") == home
    assert library.find(str(model)) == library.find(model) == model

    assert library.export_model("tiny", tmp_path / "copy.safetensors") == tmp_path / "copy.safetensors"
    (tmp_path / "folder").mkdir()
    assert library.export_model("tiny", tmp_path / "folder") == tmp_path / "folder" / "tiny.safetensors"
    for path in (tmp_path / "copy.safetensors", tmp_path / "folder" / "tiny.safetensors"):
        assert path.read_bytes() == model.read_bytes()

    assert library.remove_model("tiny") == home
    assert list(library_folder.iterdir()) == []
    assert model.exists()


def test_shipped_and_imported_models(library_folder, shipped, make_model, model, tmp_path):
    make_model(shipped / "organ.safetensors", "organ", seed=1)
    library.import_model(model)
    assert library.installed() == {
        "organ": shipped / "organ.safetensors",
        "tiny": library_folder / "tiny.safetensors",
    }
    with pytest.raises(LLMBoostError, match="'organ': not among the imported models"):
        library.remove_model("organ")
    assert (shipped / "organ.safetensors").exists()
    with pytest.raises(LLMBoostError, match="'organ' is installed already"):
        library.import_model(make_model(tmp_path / "other.safetensors", "organ", seed=2))
    # put there by hand, it hides the shipped one, which comes back with its removal
    make_model(library_folder / "organ.safetensors", "organ", seed=2)
    assert library.find("organ") == library_folder / "organ.safetensors"
    library.remove_model("organ")
    assert library.find("organ") == shipped / "organ.safetensors"


def test_what_is_not_found(library_folder, shipped, make_model, model):
    with pytest.raises(LLMBoostError, match=r"model 'nope': .* \(installed: none\)"):
        library.find("nope")
    library.import_model(model)
    for name in ("nope", "", ".", "tiny2", "/"):
        with pytest.raises(LLMBoostError, match=r"\(installed: tiny\)"):
            library.find(name)
        with pytest.raises(LLMBoostError):
            library.remove_model(name)
        with pytest.raises(LLMBoostError):
            library.export_model(name, model.parent / "out.safetensors")
    assert list(library.installed()) == ["tiny"]


def test_nothing_is_overwritten(library_folder, shipped, model, make_model, tmp_path):
    library.import_model(model)
    before = (library_folder / "tiny.safetensors").read_bytes()
    with pytest.raises(LLMBoostError, match="'tiny' is installed already; remove it first"):
        library.import_model(make_model(tmp_path / "b.safetensors", seed=7))
    assert (library_folder / "tiny.safetensors").read_bytes() == before
    (tmp_path / "mine.safetensors").write_text("mine")
    with pytest.raises(LLMBoostError, match="exists already"):
        library.export_model("tiny", tmp_path / "mine.safetensors")
    assert (tmp_path / "mine.safetensors").read_text() == "mine"


def test_damaged_files_are_not_imported(library_folder, shipped, model):
    whole = model.read_bytes()
    flip_a_bit(model)
    with pytest.raises(LLMBoostError, match="digest does not match"):
        library.import_model(model)
    model.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LLMBoostError, match="damaged model file"):
        library.import_model(model)
    model.write_text("no model")
    with pytest.raises(LLMBoostError, match="not a model file"):
        library.import_model(model)
    with pytest.raises(LLMBoostError, match="no such file"):
        library.import_model(model.parent / "absent.safetensors")
    assert not library_folder.exists()


@pytest.mark.parametrize("name", ["../up", "/tmp/x", "a/b", ".hidden", "..", "", "."])
def test_names_that_lead_elsewhere_are_not_imported(library_folder, shipped, make_model, tmp_path, name):
    with pytest.raises(LLMBoostError, match="cannot be a file's name"):
        library.import_model(make_model(tmp_path / "a.safetensors", name))
    assert not library_folder.exists()


@pytest.mark.parametrize("name", ["../tiny", "{path}", "sub/tiny"])
def test_only_names_are_removed(library_folder, shipped, make_model, tmp_path, name):
    library_folder.mkdir()
    (library_folder / "sub").mkdir()
    files = [make_model(folder / "tiny.safetensors") for folder in (tmp_path, library_folder / "sub")]
    with pytest.raises(LLMBoostError, match="nothing removed"):
        library.remove_model(name.format(path=tmp_path / "tiny"))
    assert all(path.exists() for path in files)


def test_what_a_killed_copy_left_behind_is_no_model(library_folder, shipped, model):
    library.import_model(model)
    (library_folder / ".tiny.safetensors").write_bytes(model.read_bytes()[:1000])
    assert list(library.installed()) == ["tiny"]


def test_a_copy_that_fails_leaves_nothing(library_folder, shipped, model, tmp_path, monkeypatch):
    def full(source, target):
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(LLMBoostError, match="No space left"):
        library.import_model(model)
    assert list(library_folder.iterdir()) == []


def test_a_library_that_is_a_file(library_folder, shipped, model):
    library_folder.write_text("a file")
    assert library.installed() == {}
    with pytest.raises(LLMBoostError, match="cannot be written"):
        library.import_model(model)


# on the command line


def test_the_commands(llmboost, shipped, library_folder, model, tmp_path, refusal):
    assert llmboost("models", "import", model).out == "imported 'tiny'\n"
    listed = llmboost("models", "list")
    assert listed.status == 0
    assert all(word in listed.out for word in ("tiny", "Tiny", "MRI", "front, back", "1.0"))
    copy = tmp_path / "copy.safetensors"
    assert llmboost("models", "export", "tiny", copy).out == f"exported to {copy}\n"
    assert "exists already" in refusal("models", "export", "tiny", copy)
    assert "installed already" in refusal("models", "import", copy)
    assert llmboost("models", "remove", "tiny").out == f"removed {library_folder / 'tiny.safetensors'}\n"
    assert "nothing removed" in refusal("models", "remove", "tiny")


def test_a_damaged_model_does_not_hide_the_others(llmboost, shipped, library_folder, model):
    library.import_model(model)
    damaged = library_folder / "damaged[b].safetensors"
    damaged.write_bytes(struct.pack("<Q", 50) + b"{")
    done = llmboost("models", "list")
    assert done.status == 0
    assert "Tiny" in done.out
    assert done.err.strip() == f"warning: {damaged}: not a model file, or a truncated one (.safetensors expected)"


def test_brackets_are_printed_as_they_are(llmboost, shipped, library_folder, make_model, tmp_path):
    path = make_model(tmp_path / "a.safetensors", "brain [bold]:brain:", title="[red]T[/]")
    assert llmboost("models", "import", path).out == "imported 'brain [bold]:brain:'\n"
    assert "[red]T[/]" in llmboost("models", "list").out


def test_the_card_is_exact(llmboost, library_folder, model):
    text = llmboost("models", "show", model, "--json").out
    card = read_card(model)
    assert json.loads(text) == json.loads(card.to_json())
    assert Card.from_json(text) == card


def test_the_card_is_readable(llmboost, library_folder, make_model, tmp_path):
    origin = Origin("nnU-Net v2", "Dataset007_Test/3d_fullres", {})
    guessed = (Label(1, "liver [left]", (1, 2, 3), guessed=True),)
    card = {"origin": origin, "labels": guessed, "license": "CC0", "modality": "CT", "largest_component": True}
    text = llmboost("models", "show", make_model(tmp_path / "a.safetensors", title="[red]T[/]", **card)).out
    told = " ".join(text.split())
    for words in ("[red]T[/]", "Input CT", "liver [left]", "guessed", "patches of", "s a patch", "not measured", "CC0"):
        assert words in told
    assert "nnU-Net v2, Dataset007_Test/3d_fullres" in told
    assert "Citation" not in told, "there is none"


def test_adapters_in_a_circle(library_folder, tiny_network, tiny_card, tmp_path):
    """Digests are of weights alone, so that cards can be made that name each other, or themselves, as base."""
    from llmboost.card import Adapter, write_card

    paths, cards = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"], []
    for seed, path in enumerate(paths):
        network = tiny_network(seed)
        cards.append(save_model(network, tiny_card(network, name=path.stem), path))
    for path, card, other in zip(paths, cards, cards[::-1], strict=True):
        write_card(path, replace(card, adapter=Adapter("x", "1", other.digest, 1)))
    with pytest.raises(LLMBoostError, match="needs it in turn"):
        load_model(paths[0])
    write_card(paths[0], replace(cards[0], adapter=Adapter("x", "1", cards[0].digest, 1)))
    with pytest.raises(LLMBoostError, match="no other"):
        load_model(paths[0])
