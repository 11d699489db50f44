"""Pages from templates, in which every text is shown, never obeyed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..files import visible

TEMPLATES = Path(__file__).parent / "templates"


def render(name: str, **values: Any) -> str:
    """The template ``name`` filled: HTML in texts is spelled out, and so are characters that show nothing."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    return environment.get_template(name).render(Markup=Markup, **values)


def source(name: str) -> str:
    """What a file beside the templates holds."""
    return (TEMPLATES / name).read_text(encoding="utf-8")
