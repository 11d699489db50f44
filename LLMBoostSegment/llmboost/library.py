"""The models at hand: those shipped with the program and those that the user imported or trained."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from importlib import resources
from pathlib import Path

from .card import CONTROL, Adapter, Card, check_weights, read_card
from .errors import LLMBoostError
from .files import atomic_path, printable

EXTENSION = ".safetensors"
FOLDER_VARIABLE = "LLMBOOST_MODELS"


def user_folder() -> Path:
    """Where imported models lie: ``LLMBOOST_MODELS``, or .llmboost/models in the home folder."""
    return Path(os.environ.get(FOLDER_VARIABLE) or Path.home() / ".llmboost" / "models")


def shipped_folder() -> Path:
    """Where the models lie that come with LLMBoost."""
    return Path(str(resources.files(__package__) / "models"))


def installed() -> dict[str, Path]:
    """The model files by name; a user's model hides a shipped one of the same name."""
    folders = [folder for folder in (shipped_folder(), user_folder()) if folder.is_dir()]
    # a hidden one is what a killed copy left behind
    files = [path for folder in folders for path in sorted(folder.glob("*" + EXTENSION)) if path.name[0] != "."]
    return {path.stem: path for path in files}


def find(model: str | Path) -> Path:
    """The model file of a name or a path; whether there is a model in it shows on reading.

    Raises:
        LLMBoostError: there is none.
    """
    known = installed()
    if str(model) in known:
        return known[str(model)]
    if "\0" not in str(model) and os.path.lexists(model) and not os.path.isdir(model):
        return Path(model)
    names, model = ", ".join(known) or "none", printable(str(model))
    raise LLMBoostError(f"model '{model}': no such file, and no installed model of that name (installed: {names})")


def find_base(adapter: Adapter, path: Path) -> Path:
    """The model file that the adapter at ``path`` was trained on: in the library, or in the adapter's folder.

    Raises:
        LLMBoostError: it is in neither, whatever else of its name is.
    """
    for candidate in (*installed().values(), *sorted(path.parent.glob("*" + EXTENSION))):
        with suppress(LLMBoostError):
            itself = candidate.exists() and path.exists() and candidate.samefile(path)
            if not itself and read_card(candidate).digest == adapter.base_digest:
                return candidate
    name, short = printable(adapter.base), adapter.base_digest[:12]
    raise LLMBoostError(
        f"{path}: an adapter of model '{name}' {printable(adapter.base_version)} (digest {short}...), and no other"
        " will do; import that model"
        + (f" (the installed '{name}' is another version)" if adapter.base in installed() else "")
    )


def free_place(name: str, source: Path) -> Path:
    """Where a model of that name, which comes from ``source``, is to lie in the user's folder.

    Raises:
        LLMBoostError: it cannot be a file's name, or there is a model of that name.
    """
    if not name or Path(name).name != name or name.startswith(".") or CONTROL.search(name):
        raise LLMBoostError(f"{source}: its name '{printable(name)}' cannot be a file's name")
    if name in installed():
        raise LLMBoostError(f"{source}: a model named '{name}' is installed already; remove it first")
    return user_folder() / (name + EXTENSION)


def import_model(path: Path, *, anyway: bool = False) -> Card:
    """Copy a model file into the user's folder, under its card's name.

    Args:
        anyway: also a model that has learned nothing by its own figures, see :attr:`.card.Card.doubts`.

    Raises:
        LLMBoostError: no model file, a damaged one, one that has learned nothing, a model of that name is there
            already, or an adapter's base is not.
    """
    card = read_card(path)
    check_weights(path, card)
    if card.doubts and not anyway:
        raise LLMBoostError(
            f"{path}: {card.doubts}; train it longer or on more cases (--anyway imports it all the same)"
        )
    target = free_place(card.name, path)
    if card.adapter:
        find_base(card.adapter, target)
    _copy(path, target)
    return card


def export_model(name: str, path: Path) -> Path:
    """Copy an installed model to ``path``, a file or a folder.

    Raises:
        LLMBoostError: unknown name, the file is there already, or it cannot be written.
    """
    source = find(name)
    target = path / source.name if path.is_dir() else path
    if target.exists():
        raise LLMBoostError(f"{target}: exists already; choose another name")
    _copy(source, target)
    return target


def remove_model(name: str) -> Path:
    """Delete a model from the user's folder; shipped ones stay.

    Raises:
        LLMBoostError: no such model in the user's folder, or adapters there need it.
    """
    path = user_folder() / (name + EXTENSION)
    if Path(name).name != name or "\0" in name or not path.is_file():
        raise LLMBoostError(f"model '{name}': not among the imported models in {user_folder()}; nothing removed")
    if adapters := _adapters_of(path):
        raise LLMBoostError(
            f"model '{name}': {', '.join(adapters)} was adapted from it and needs it; remove that first"
        )
    path.unlink()
    return path


def _adapters_of(base: Path) -> list[str]:
    """The names of the installed models that need this file, and find no other one like it."""
    cards = {}
    for name, path in installed().items():
        with suppress(LLMBoostError):
            cards[name] = read_card(path)
    digest = cards[base.stem].digest if base.stem in cards else ""
    if [card.digest for card in cards.values()].count(digest) != 1:
        return []
    return [name for name, card in cards.items() if card.adapter and card.adapter.base_digest == digest]


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)
