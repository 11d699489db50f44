"""Language models of the Hugging Face hub: found in the cache that its libraries share, or fetched to it."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten

from ..errors import LLMBoostError
from . import huggingface
from .weights import choose_layers

PREFIX = "hub:"


def find(source: str, layers: tuple[int, ...], *, download: bool = False) -> Path:
    """The folder of ``hub:NAME`` or ``hub:NAME@REVISION`` in the cache, with all files that ``layers`` need.

    Args:
        source: with the name of a repository, such as HuggingFaceTB/SmolLM2-360M.
        layers: counted from 0; where none is named, the one two thirds of the way up.
        download: fetch what the cache lacks, and only that. Without it, the network is not touched.

    Raises:
        LLMBoostError: not in the cache, or not to be had; or a model that is not supported.
    """
    if not source.startswith(PREFIX):
        raise LLMBoostError(f"booster '{source}': not of the hub; only {PREFIX}NAME can be downloaded")
    name, _, revision = source.removeprefix(PREFIX).partition("@")
    missing = "not on the hub; use a model published as safetensors" if download else "not in the cache; add --download"

    def get(file: str, revision: str | None) -> Path | None:
        return _get(source, name, file, revision, download)

    def need(file: str, revision: str | None) -> Path:
        path = get(file, revision)
        if path is None:
            raise LLMBoostError(f"booster '{source}': {file} is {missing}")
        return path

    folder = need(huggingface.CONFIG, revision or None).parent
    commit = folder.name  # of which all files must be, whatever is published meanwhile
    _, depth = huggingface.read_config(folder)
    layers = choose_layers(source, layers, depth)
    get(huggingface.README, commit)  # it names the license
    index = get(huggingface.INDEX, commit)
    for file in huggingface.shards(index, layers) if index else [huggingface.WEIGHTS]:
        need(file, commit)
    return folder


def _get(source: str, name: str, file: str, revision: str | None, download: bool) -> Path | None:
    """Where a file lies in the cache; None where the cache, or with ``download`` the hub, has no such file."""
    try:
        import huggingface_hub as hub
        from huggingface_hub import constants, errors
    except ImportError as error:
        raise LLMBoostError(f"booster '{source}': needs a library; run 'pip install huggingface_hub'") from error
    reasons = (
        (errors.HFValidationError, "no repository's name; give one such as HuggingFaceTB/SmolLM2-360M"),
        (errors.LocalEntryNotFoundError, "the hub cannot be reached; check the connection, or leave out --download"),
        (errors.GatedRepoError, f"gated; accept its terms at {constants.ENDPOINT}/{name}, run 'hf auth login'"),
        (errors.RevisionNotFoundError, f"no revision '{revision}'; check its name"),
        (errors.RepositoryNotFoundError, "no such repository; check its name, or run 'hf auth login' if it is private"),
    )
    try:
        if download:
            return Path(hub.hf_hub_download(name, file, revision=revision))
        path = hub.try_to_load_from_cache(name, file, revision=revision)
        return Path(path) if isinstance(path, str) else None  # or a mark that the hub is known to have none
    except Exception as error:  # what a download may raise is legion, and never a reason for a traceback
        if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
            return None
        unforeseen = f"cannot be fetched ({shorten(str(error), 120) or type(error).__name__}); try again"
        reason = next((text for kind, text in reasons if isinstance(error, kind)), unforeseen)
        raise LLMBoostError(f"booster '{source}': {reason}") from error
