"""The documentation's site, which `python3 scripts/test.py` builds into out/docs; by itself:

.venv/bin/python -m sphinx -W -c docs/site docs out/docs

Nothing is fetched, by the build or by the pages. What the command line takes is asked of the program itself.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parents[2] / "LLMBoostSegment"))

import llmboost

project = "LLMBoost"
release = llmboost.__version__
html_title = f"LLMBoost {release}"
html_theme = "furo"
html_show_copyright = html_copy_source = smartquotes = False  # quotes and dashes of commands and messages stay
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["site/conf.py"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_type_aliases = {"Given": "Given"}
python_maximum_signature_line_length = 80
napoleon_numpy_docstring = False


def setup(app: Sphinx) -> None:
    app.connect("source-read", complete)


def complete(_app: Sphinx, page: str, text: list[str]) -> None:
    """Add to a page what is made at the build, and let its links to the project's root find the site's pages."""
    root = "../" * page.count("/")
    text[0] = re.sub(r"\]\((?:\.\./)+(README|CONTRIBUTING|CHANGELOG)\.md", rf"]({root}site/\1.md", text[0])
    if page == "commands":
        text[0] += "\n" + command_line()


def command_line() -> str:
    """The help of all commands, in Markdown, a heading each."""
    typer = [sys.executable, "-m", "typer", "llmboost.cli", "utils", "docs", "--name", "llmboost"]
    environment = {**os.environ, "PYTHONPATH": str(Path(llmboost.__file__).parents[1])}
    told = subprocess.run(typer, env=environment, capture_output=True, text=True, encoding="utf-8", check=True).stdout
    return told.partition("\n")[2]  # the page has a title
