"""Recipes: experiments as TOML, which say what is compared with what, and what all rows have in common.

::

    title = "Does the booster help?"
    description = "What is asked, how many rows it takes, and how long that lasts."
    minutes = 5                   # optional: what a row takes, about, of one CPU core
    kind = "segmentation"         # a module of bench/kinds
    reference = "none"            # the arm that the others are compared with
    seeds = [0, 1, 2]             # the same for all arms: differences are paired
    way = ["none", "best"]        # optional, two arms: how much of the way from one to the other each arm has gone

    [settings]                    # of all rows, see the kind's Settings
    data = "Task04_Hippocampus"   # in the folder of data
    steps = 400

    [factors]                     # arms are compared within each combination of the factors' values
    fraction = [0.3, 1.0]         # a setting's values ...

    [factors.host.plain]          # ... or named groups of settings
    network = "plain-vit"

    [arms.none]                   # an arm: the settings in which it differs; tables are merged
    booster = "none"
    [arms.frozen.booster]
    layers = [20]

    [tune]                        # tried for each arm with the first seed; what does best on val serves the other seeds
    rate = [3e-4, 1e-3]
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Any

from ..errors import LLMBoostError
from ..files import printable

SHIPPED = resources.files(__package__) / "recipes"
FIELDS = {"title", "description", "minutes", "kind", "reference", "seeds", "way", "settings", "factors", "arms", "tune"}

Cell = tuple[str, str]


@dataclass(frozen=True)
class BenchRow:
    """One run: an arm under one combination of the factors, with one seed and one choice of what is tuned."""

    arm: str
    factors: dict[str, Any]
    tuned: dict[str, Any]
    seed: int
    settings: dict[str, Any]

    @property
    def id(self) -> str:
        """Such as ``frozen/fraction=0.3/rate=0.001/seed=0``."""
        parts = {**self.factors, **self.tuned, "seed": self.seed}
        return "/".join([self.arm, *(f"{name}={value}" for name, value in parts.items())])

    @property
    def condition(self) -> str:
        """The factors' values in words, such as ``fraction=0.3``; empty without factors."""
        return ", ".join(f"{name}={value}" for name, value in self.factors.items())

    @property
    def cell(self) -> Cell:
        """What rows have in common that differ in seed and tuning alone."""
        return self.arm, self.condition


@dataclass(frozen=True)
class BenchRecipe:
    """An experiment as read from its TOML; ``factors`` and ``tune`` map to named groups of settings."""

    name: str
    title: str
    description: str
    kind: str
    reference: str
    seeds: tuple[int, ...]
    settings: dict[str, Any]
    arms: dict[str, dict[str, Any]]
    factors: dict[str, dict[Any, dict[str, Any]]] = field(default_factory=dict)
    tune: dict[str, dict[Any, dict[str, Any]]] = field(default_factory=dict)
    way: tuple[str, str] | None = None
    minutes: float | None = None

    def rows(self, seed: int) -> list[BenchRow]:
        """Every arm under every combination of the factors, with every candidate of what is tuned."""
        return [
            BenchRow(
                arm,
                dict(zip(self.factors, condition, strict=True)),
                dict(zip(self.tune, candidate, strict=True)),
                seed,
                merged(
                    self.settings,
                    *(self.factors[name][value] for name, value in zip(self.factors, condition, strict=True)),
                    settings,
                    *(self.tune[name][value] for name, value in zip(self.tune, candidate, strict=True)),
                ),
            )
            for condition in product(*self.factors.values())
            for arm, settings in self.arms.items()
            for candidate in product(*self.tune.values())
        ]

    def boosted_by(self, source: str) -> BenchRecipe:
        """With the block of another language model, ``source`` of :class:`..booster.BoosterConfig`, in all boosters,
        whose controls are as large, too; of the layer two thirds of the way up, for the recipe's numbers are SmolLM2's.

        Raises:
            LLMBoostError: nothing in the recipe has a booster.
        """
        boosters = []

        def changed(settings: dict[str, Any]) -> dict[str, Any]:
            booster = settings.get("booster")
            if not isinstance(booster, Mapping):
                return settings
            boosters.append(booster)
            return {**settings, "booster": {**booster, "source": source, "layers": []}}

        result = replace(
            self,
            settings=changed(self.settings),
            arms={name: changed(arm) for name, arm in self.arms.items()},
            factors={name: {v: changed(of) for v, of in values.items()} for name, values in self.factors.items()},
            tune={name: {v: changed(of) for v, of in values.items()} for name, values in self.tune.items()},
        )
        if not boosters:
            raise LLMBoostError(f"recipe '{self.name}': no arm has a booster, so --booster has no place")
        return result


def shipped() -> list[str]:
    """The names of the recipes that come along."""
    return sorted(entry.name.removesuffix(".toml") for entry in SHIPPED.iterdir() if entry.name.endswith(".toml"))


def read_recipe(name: str) -> BenchRecipe:
    """A shipped recipe by name, or a TOML file by path.

    Raises:
        LLMBoostError: there is none, or it is no recipe.
    """
    file = Path(name) if name.endswith(".toml") else SHIPPED / f"{name}.toml"
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise LLMBoostError(
            f"recipe '{name}': not found; give a .toml file or one of {', '.join(shipped())}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise LLMBoostError(f"{file}: no valid TOML ({printable(str(error))}); mend it") from error
    try:
        return _recipe(Path(name).stem, raw)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        reason = printable(str(error))
        raise LLMBoostError(f"{file}: no recipe ({reason}); see the shipped ones: {', '.join(shipped())}") from error


def _recipe(name: str, raw: dict[str, Any]) -> BenchRecipe:
    if unknown := raw.keys() - FIELDS:
        raise ValueError(f"unknown entry '{min(unknown)}'")
    if raw["reference"] not in raw["arms"]:
        raise ValueError(f"the reference '{raw['reference']}' is no arm")
    way = raw.get("way")
    if way is not None and (len(way) != 2 or not raw["arms"].keys() >= set(way)):
        raise ValueError(f"the way {way} does not lead from one arm to another")
    if not raw["seeds"]:
        raise ValueError("no seeds")
    return BenchRecipe(
        name=name,
        title=raw["title"],
        description=raw.get("description", "").strip(),
        kind=raw["kind"],
        reference=raw["reference"],
        seeds=tuple(raw["seeds"]),
        settings=raw.get("settings", {}),
        arms=raw["arms"],
        factors={factor: _choices(factor, values) for factor, values in raw.get("factors", {}).items()},
        tune={setting: _choices(setting, values) for setting, values in raw.get("tune", {}).items()},
        way=None if way is None else (way[0], way[1]),
        minutes=None if raw.get("minutes") is None else float(raw["minutes"]),
    )


def _choices(name: str, values: Any) -> dict[Any, dict[str, Any]]:
    """A list gives values of the setting ``name``; a table gives groups of settings by name."""
    return dict(values) if isinstance(values, dict) else {value: {name: value} for value in values}


def merged(*settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings over settings, the later ones winning; tables are merged entry by entry."""
    result: dict[str, Any] = {}
    for one in settings:
        for name, value in one.items():
            before = result.get(name)
            both = isinstance(before, Mapping) and isinstance(value, Mapping)
            result[name] = merged(before, value) if both else value  # type: ignore[arg-type]
    return result
