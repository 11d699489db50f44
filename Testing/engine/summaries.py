"""What a batch has left in its folder. A test module says ``from .summaries import rows``."""

import json


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


def rows(folder):
    return {row["id"]: row for row in summary(folder)["cases"]}


def names(folder):
    """The names of what lies in a folder, but for the overview: what shows results (test_overview.py) is none."""
    return sorted({path.name for path in folder.iterdir()} - {"overview.html", "overview"})


def journal(folder):
    """The rows that were added since summary.json was written."""
    path = folder / "summary.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [line["row"] for line in lines if "row" in line]
