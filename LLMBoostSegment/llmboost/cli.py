"""The command line. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from . import __version__
from .commands import adapt, bench, classify, doctor, evaluate, fingerprint, models, segment, strokes, train
from .commands.terminal import console, messages
from .errors import LLMBoostError
from .machine import of_torchrun, share_cores

INTERRUPTED = 130  # the exit status of what Ctrl-C has ended, as shells have it

app = typer.Typer(
    help="Segment medical images with networks boosted by a language model's frozen block. Research use only.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    _debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    # listed here for the help alone: main(), where errors end, takes it wherever it stands
    if version:
        console.print(__version__)
        raise typer.Exit
    if context.invoked_subcommand != "train" and of_torchrun():
        if os.environ["RANK"] == "0":
            raise LLMBoostError("torchrun is for `llmboost train` alone; start this command without it")
        raise typer.Exit


for command in (
    segment.segment,
    strokes.strokes,
    classify.classify,
    fingerprint.fingerprint,
    train.train,
    adapt.adapt,
    evaluate.evaluate,
    bench.bench,
    doctor.doctor,
):
    app.command()(command)
app.add_typer(models.app, name="models")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; errors that a user can mend are one line and exit status 1."""
    arguments = sys.argv[1:] if arguments is None else arguments
    share_cores()
    try:
        app([argument for argument in arguments if argument != "--debug"])
    except LLMBoostError as error:
        if "--debug" in arguments:
            raise
        messages.print(f"error: {error}", highlight=False)
        sys.exit(1)
    except KeyboardInterrupt:
        messages.print("stopped")
        sys.exit(INTERRUPTED)
    except SystemExit as end:  # so typer ends on Ctrl-C, without a word
        if end.code == INTERRUPTED:
            messages.print("stopped")
        raise


if __name__ == "__main__":
    main()
