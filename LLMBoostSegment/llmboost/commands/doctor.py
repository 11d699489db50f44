"""`llmboost doctor`."""

from __future__ import annotations

import typer
from rich.table import Table

from .terminal import console


def doctor() -> None:
    """Tell what works on this machine, and what to do about what does not."""
    from ..doctor import examine

    findings = examine()
    table = Table("what", "state", "what to do")
    for finding in findings:
        table.add_row(finding.topic, finding.state, finding.remedy)
    console.print(table)
    if any(finding.fatal for finding in findings):
        raise typer.Exit(1)
