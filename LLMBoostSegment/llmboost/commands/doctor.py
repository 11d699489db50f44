"""`llmboost doctor`."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer
from rich.table import Table

from .terminal import console


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="The same, for programs.")] = False,
) -> None:
    """Tell what works on this machine, and what to do about what does not."""
    from ..doctor import examine

    findings = examine()
    if as_json:
        console.print_json(data=[dataclasses.asdict(finding) for finding in findings])
    else:
        table = Table("what", "state", "what to do")
        for finding in findings:
            table.add_row(finding.topic, finding.state, finding.remedy)
        console.print(table)
    if any(finding.fatal for finding in findings):
        raise typer.Exit(1)
