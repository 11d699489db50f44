"""The documentation's site, which `python3 scripts/test.py` builds into out/docs; by itself:

.venv/bin/python -m sphinx -W -c docs/site docs out/docs

Nothing is fetched, by the build or by the pages.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "LLMBoostSegment"))

from llmboost import __version__

project = "LLMBoost"
release = __version__
html_title = f"LLMBoost {release}"
html_theme = "furo"
html_show_copyright = html_copy_source = False
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["site/conf.py"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_type_aliases = {"Given": "Given"}
python_maximum_signature_line_length = 80
napoleon_numpy_docstring = False
