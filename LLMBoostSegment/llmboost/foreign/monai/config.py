"""A bundle's config, read without running anything of it.

MONAI's own reader imports what ``_target_`` names and hands ``$`` texts to eval. Here a ``_target_`` is a word to
compare with those that are known, and of an expression only constants, references, lists and arithmetic are read; all
else stays a text that nobody runs.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import LLMBoostError
from ...files import check_regular, printable
from ...jsonfile import read_json
from ..translation import Unsupported

MAX_BYTES = 2**20  # of a config: the largest of the model zoo takes some kilobytes
MAX_STEPS = 50_000  # of reading one
MAX_TEXT = 2_000  # characters of an expression
MAX_LENGTH = 10_000  # of the lists and texts that expressions make
_REFERENCE = re.compile(r"@(\w+(?:(?:#|::)\w+)*)")
_SEPARATOR = re.compile("#|::")
_OPERATIONS = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.FloorDiv: lambda a, b: a // b,
}
_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "len": len,
    "int": int,
    "float": float,
    "str": str,
    "tuple": list,
    "list": list,
    "bool": bool,
}


@dataclass(frozen=True)
class Opaque:
    """An expression that is not understood, as it stands in the config."""

    text: str

    def __str__(self) -> str:
        return "$" + printable(self.text)


class Config:
    """The entries of a config by name, each read when it is asked for."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.content = content
        self._open: list[str] = []  # references that are being followed
        self._steps = 0

    def __contains__(self, name: str) -> bool:
        return name in self.content

    def get(self, name: str) -> Any:
        """What an entry comes to: numbers, words, lists and tables of them, and :class:`Opaque`.

        Raises:
            Unsupported: there is no such entry, it refers to itself, or takes too long.
        """
        return self._followed(name)

    def read(self, value: Any) -> Any:
        """What a value comes to, as :meth:`get` tells it of an entry."""
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise Unsupported("its config is too intricate to be read")
        if isinstance(value, Mapping):
            return {str(key): self.read(one) for key, one in value.items() if key != "_desc_"}
        if isinstance(value, list):
            return [one for one in map(self.read, value) if not _disabled(one)]
        if isinstance(value, str):
            if _REFERENCE.fullmatch(value):
                return self._followed(value[1:])
            if value.startswith("$"):
                return self._expression(value[1:].strip())
            if value.startswith("%"):
                raise Unsupported(f"its config takes {printable(value)} from elsewhere")
        return value

    def _followed(self, name: str) -> Any:
        """What a reference such as ``a``, ``a#b#0`` or ``a::b`` leads to."""
        if name in self._open:
            raise Unsupported(f"its config refers to itself at '{printable(name)}'")
        self._open.append(name)
        try:
            value: Any = self.content
            for part in _SEPARATOR.split(name):
                if isinstance(value, str):  # which itself refers to elsewhere
                    value = self.read(value)
                if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
                    value = value[int(part)]
                elif isinstance(value, Mapping) and part in value:
                    value = value[part]
                else:
                    raise Unsupported(f"its config has no '{printable(name)}'")
            return self.read(value)
        finally:
            self._open.pop()

    def _expression(self, text: str) -> Any:
        names: dict[str, str] = {}

        def named(found: re.Match[str]) -> str:
            names[word := f"_reference{len(names)}"] = found[1]
            return word

        if len(text) > MAX_TEXT:
            return Opaque(text)
        try:
            tree = ast.parse(_REFERENCE.sub(named, text), mode="eval").body
            return self._value(tree, names)
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            MemoryError,
            RecursionError,
            SyntaxError,
            TypeError,
            ValueError,
        ):
            return Opaque(text)

    def _value(self, node: ast.expr, names: Mapping[str, str]) -> Any:
        """What a part of an expression comes to; raises TypeError for what is not read."""
        match node:
            case ast.Constant(value=value) if isinstance(value, (bool, int, float, str, type(None))):
                return value
            case ast.Name(id=name) if name in names:
                return self._followed(names[name])
            case ast.List(elts=parts) | ast.Tuple(elts=parts):
                return [self._value(part, names) for part in parts]
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
                a, b = self._value(left, names), self._value(right, names)
                if not isinstance(op, ast.Add) and not all(isinstance(one, (int, float)) for one in (a, b)):
                    raise TypeError("arithmetic of what are no numbers")
                return _bounded(_OPERATIONS[type(op)](a, b))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self._value(operand, names)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not _known(self._value(operand, names))
            case ast.IfExp(test=test, body=body, orelse=other):
                return self._value(body if _known(self._value(test, names)) else other, names)
            case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in _FUNCTIONS:
                return _FUNCTIONS[name](_known(self._value(argument, names)))
        raise TypeError("not read")


def read_config(path: Path) -> Config:
    """The config in a JSON or YAML file.

    Raises:
        LLMBoostError: no such file, too large a one, one that is damaged, or that is made to do harm.
    """
    check_regular(path)
    if path.stat().st_size > MAX_BYTES:
        raise LLMBoostError(f"{path}: refused, larger than {MAX_BYTES >> 20} MB, which no config is")
    if path.suffix == ".json":
        return Config(read_json(path))
    content = _read_yaml(path)
    if not isinstance(content, dict):
        raise LLMBoostError(f"{path}: a table of entries is expected")
    return Config(content)


def _read_yaml(path: Path) -> Any:
    """Plain values alone, each written out: by aliases, a small file can be made to hold billions of entries."""
    try:
        import yaml
    except ImportError as error:  # Slicer's own Python has none
        raise LLMBoostError(f"{path}: needs the package PyYAML; run 'pip install PyYAML'") from error

    class Plain(yaml.SafeLoader):
        def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("aliases are not read")
            return super().compose_node(parent, index)

    try:
        return yaml.load(path.read_bytes(), Plain)
    except (yaml.YAMLError, RecursionError, TypeError, ValueError) as error:
        lines = str(getattr(error, "problem", None) or error).splitlines() or [type(error).__name__]
        raise LLMBoostError(f"{path}: no valid YAML ({printable(lines[0])})") from error


def _known(value: Any) -> Any:
    if isinstance(value, Opaque):
        raise TypeError("not read")
    return value


def _bounded(value: Any) -> Any:
    """The value, unless sums of sums have made it absurd."""
    if len(value) > MAX_LENGTH if isinstance(value, (str, list)) else not abs(value) < 2**63:
        raise ValueError("absurd")
    return value


def _disabled(component: Any) -> bool:
    return isinstance(component, dict) and component.get("_disabled_") in (True, "true", "True")
