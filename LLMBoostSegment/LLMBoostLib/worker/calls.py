"""Calls of the modules' logics: what may be added to each by name, and waiting for the end or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypedDict, TypeVar

from llmboost.messages.worker import Progress

from .client import Client

T = TypeVar("T")
Start = Callable[[Callable[[T], None], Callable[[Exception], None] | None], None]


class Listeners(TypedDict, total=False):
    """How a call is followed.

    Attributes:
        waitForCompletion: False returns None at once; then ``onDone`` or ``onError`` is called.
        onProgress: is called now and then.
    """

    waitForCompletion: bool
    onProgress: Callable[[Progress], None] | None
    onDone: Callable[[Any], None] | None
    onError: Callable[[Exception], None] | None


def separate(kind: type, options: Mapping[str, Any]) -> tuple[dict[str, Any], Listeners]:
    """The options of a call that are its own, and its listeners; raises TypeError for what ``kind`` does not name."""
    unknown = sorted(options.keys() - kind.__annotations__.keys())
    if unknown:
        raise TypeError(f"got an unexpected keyword argument '{unknown[0]}'")
    own = {name: value for name, value in options.items() if name not in Listeners.__annotations__}
    listeners: Any = {name: value for name, value in options.items() if name not in own}
    return own, listeners


def run(client: Client, start: Start[T], listeners: Listeners) -> T | None:
    """Start, and return what there is in the end, or without waiting None at once."""
    if listeners.get("waitForCompletion", True):
        return client.wait(start)
    start(listeners.get("onDone") or (lambda made: None), listeners.get("onError"))
    return None
