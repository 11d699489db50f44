"""The components of a config: what they are called, and their arguments, of which none is passed over."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from ...files import printable
from ..translation import Unsupported
from .config import Config, Opaque

_MONAI = re.compile(r"^monai\.[\w.]*?(\w+)$")
_OF_DICTIONARIES = re.compile("(?:d|D|Dict)$")
_NOTHING = (None, False, "")


class Step:
    """A component, such as a transform.

    Attributes:
        name: MONAI's class, without its module; ``kind``: of a transform, without the d of those on dictionaries.
    """

    def __init__(self, component: Mapping[str, Any], part: str) -> None:
        self.name = _MONAI.sub(r"\1", str(component["_target_"]))
        self.kind = _OF_DICTIONARIES.sub("", self.name)
        self.part = part
        self.arguments = {key: value for key, value in component.items() if key != "_target_"}
        if component.get("_mode_") not in (None, "default"):
            raise Unsupported(f"its {part} {printable(self.name)} is not used in the usual way")

    @property
    def keys(self) -> list[Any]:
        """The entries of a case that a transform is for."""
        keys = self.arguments.get("keys", [])
        return list(keys) if isinstance(keys, list) else [keys]

    def value(self, name: str, default: Any = None) -> Any:
        """An argument; of those that transforms take a list of, one for each key, the first.

        Raises:
            Unsupported: it is not understood.
        """
        value = self.arguments.get(name, default)
        if any(isinstance(one, Opaque) for one in (value if isinstance(value, list) else [value])):
            raise Unsupported(f"its {self.part} {printable(self.name)} has {name} {value}, which is not understood")
        return value

    def first(self, name: str, default: Any = None) -> Any:
        """An argument that may be a list with one entry for each key."""
        value = self.value(name, default)
        return value[0] if isinstance(value, list) and value else value

    def number(self, name: str, default: float | None = None) -> float:
        """An argument that is a finite number."""
        value = self.first(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise Unsupported(f"its {self.part} {printable(self.name)} has {name} {printable(str(value))}")
        return float(value)

    def numbers(self, name: str, count: int) -> list[float]:
        """An argument that is one finite number, or so many."""
        value = self.value(name)
        values = value if isinstance(value, list) else [value] * count
        if len(values) != count:
            raise Unsupported(f"its {self.part} {printable(self.name)} has {name} {printable(str(value))}")
        return [Step({"_target_": self.name, name: one}, self.part).number(name) for one in values]

    def flag(self, name: str, default: bool = False) -> bool:
        """An argument that is true or false; old bundles write these as words."""
        value = self.first(name, default)
        return str(value).lower() == "true" if isinstance(value, str) else bool(value)

    def one_of(self, name: str, known: Collection[Any], default: Any = None) -> Any:
        """An argument that may be nothing else.

        Raises:
            Unsupported: it is something else.
        """
        value = self.first(name, default)
        value = value.lower() if isinstance(value, str) else value
        if value not in known:
            raise Unsupported(
                f"its {self.part} {printable(self.name)} with {name} {printable(str(value))} is not supported"
            )
        return value

    def only(self, *names: str) -> None:
        """Raises Unsupported where there is an argument, and not nothing, whose name is not among these."""
        usual = {"keys", "allow_missing_keys", "lazy", *names}
        for name, value in self.arguments.items():
            if name not in usual and value not in _NOTHING:
                raise Unsupported(
                    f"its {self.part} {printable(self.name)} with {printable(name)} {printable(str(value))} is not"
                    " supported"
                )


def steps_of(config: Config, name: str) -> list[Step]:
    """The components of an entry: one, a list, or a Compose of them; none where there is no such entry.

    Raises:
        Unsupported: it consists of anything else.
    """
    if name not in config:
        return []
    found = config.get(name)
    if isinstance(found, dict) and str(found.get("_target_", "")).rpartition(".")[2] == "Compose":
        found = found.get("transforms", [])
    found = found if isinstance(found, list) else [found]
    flat = [one for part in found for one in (part if isinstance(part, list) else [part])]
    if unknown := [one for one in flat if not isinstance(one, dict) or "_target_" not in one]:
        raise Unsupported(f"its {name} has {printable(str(unknown[0]))}, which is not understood")
    return [Step(one, name) for one in flat]
