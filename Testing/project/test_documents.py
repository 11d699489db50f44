"""What documents say is so: links lead somewhere, commands are taken, messages that are explained are told."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from llmboost.cli import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
PRODUCT = [*(ROOT / "LLMBoostSegment").rglob("*.py"), *(ROOT / "LLMBoostTrain").rglob("*.py")]
PROGRAM = typer.main.get_command(app)
FENCED = re.compile(r"^ *```.*?\n(.*?)^ *```", re.M | re.S)
INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """A page without what stands in fences."""
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Where links to a page's headings lead, as GitHub and the site call these places."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.M)
    plain = [re.sub(r"\[(.*?)\]\(.*?\)|[`*]", r"\1", heading).strip().lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        target, _, anchor = link.partition("#")
        if re.match(r"\w+:", target):
            continue  # to the web, of which nobody here can tell
        file = (page.parent / target).resolve() if target else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(link)
    assert broken == []


def test_the_front_page_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_every_page_is_reached() -> None:
    """From the front page of the documents, by links and lists."""
    reached, todo = set(), [ROOT / "docs" / "index.md"]
    while todo:
        page = todo.pop()
        if page not in reached and page.is_file():
            reached.add(page)
            text = page.read_text(encoding="utf-8")
            named = re.findall(r"\]\(([^)\s#:]+\.md)", text) + re.findall(r"include} (\S+)", text)
            for toctree in re.findall(r"```{toctree}\n(.*?)```", text, re.S):
                lines = [line.split("<")[-1].strip("> ") for line in toctree.splitlines() if line and line[0] != ":"]
                named += [f"{line}.md" for line in lines]
            todo += [found.resolve() for link in named for found in page.parent.glob(link)] + [
                (page.parent / link).resolve() for link in named if ".." in link
            ]
    assert [name(page) for page in PAGES if page not in reached] == []


def commands(page: Path) -> Iterator[tuple[list[str], bool]]:
    """What a page gives to the program `llmboost`; and whether that is all it needs: in a fence, not in a sentence."""
    text = page.read_text(encoding="utf-8")
    for block in FENCED.findall(text):
        for line in re.findall(r"(?<![\w.-])llmboost ([a-z].*)", block):
            yield words(line), True
    for code in INLINE.findall(prose(page)):
        first, _, rest = " ".join(code.split()).partition(" ")
        if first.endswith("llmboost") and rest and rest[0] != "[":
            yield words(rest), False
        elif first in PROGRAM.commands and rest.startswith("-"):  # type: ignore[attr-defined]  # a group
            yield words(f"{first} {rest}"), False


def words(line: str) -> list[str]:
    """The words of a command line; one that stands in quotes ends with them."""
    try:
        return shlex.split(line, comments=True)
    except ValueError:
        return shlex.split(line.rpartition('"')[0], comments=True)


def complaint(arguments: list[str], *, whole: bool) -> str:
    """What the program has against a command line; empty: it takes it."""
    command: Any = PROGRAM
    context = command.make_context("llmboost", [], resilient_parsing=True)
    while hasattr(command, "commands"):
        first = arguments[0] if arguments else ""
        if first.startswith("--"):
            return "" if first in ("--help", "--version", "--debug") else f"no option {first}"
        if first not in command.commands:
            return f"no command {first}" if first.islower() else ""  # COMMAND stands for any
        command, arguments = command.commands[first], arguments[1:]
    if not whole:
        known = {option for parameter in command.params for option in parameter.opts} | {"--help", "--debug"}
        return " ".join(word for word in arguments if word.startswith("--") and word not in known)
    try:
        command.make_context(command.name, arguments, parent=context)
    except typer.Exit:  # of an option that ends the program, such as --list
        return ""
    except Exception as error:  # whatever the parser raises
        return str(error) or type(error).__name__
    return ""


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_are_taken(page: Path) -> None:
    refused = {" ".join(line): complaint(line, whole=whole) for line, whole in commands(page)}
    assert {line: why for line, why in refused.items() if why} == {}


def test_commands_are_found() -> None:
    """Or the tests above would look at nothing."""
    found = {line[0] for page in PAGES for line, whole in commands(page) if whole}
    assert {"segment", "classify", "strokes", "train", "adapt", "evaluate", "models"} <= found
    assert complaint(["segment", "a.nii.gz", "--model", "brain", "--output", "out"], whole=True) == ""
    assert complaint(["segment", "a.nii.gz", "--model", "brain"], whole=True)
    assert complaint(["segment", "--modle", "brain"], whole=False)


def messages() -> set[str]:
    """Every text of the product's code, with "…" for what is filled in."""
    found = set()
    for path in PRODUCT:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
                found.add("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                found.add(re.sub(r"\{[^}]*\}", "…", node.value))
    return found


def test_messages_that_are_explained_are_told() -> None:
    text = (ROOT / "docs" / "faq.md").read_text(encoding="utf-8")
    explained = re.findall(r"^\| `(.+?)` \|", text, re.M)
    assert len(explained) > 50
    told = messages()
    assert [message for message in explained if not any(message in one for one in told)] == []


def test_the_privacy_page_names_all_that_is_kept() -> None:
    """Settings and variables of the code, as they are spelled there, and the folders in the user's home."""
    told = (ROOT / "docs" / "privacy.md").read_text(encoding="utf-8")
    code = "\n".join(path.read_text(encoding="utf-8") for path in PRODUCT)
    kept = set(re.findall(r'"(LLMBoost/\w+)', code)) | set(re.findall(r'_VARIABLE = "(LLMBOOST_\w+)"', code))
    assert len(kept) > 5
    kept |= {f"~/.llmboost/{folder}" for folder in re.findall(r'"\.llmboost" / "(\w+)"', code)}
    assert sorted(one for one in kept if one not in told) == []
    named = re.findall(r"`(LLMBoost/\w+|LLMBOOST_\w+|~/\.llmboost/\w+)", told)
    assert sorted(set(named) - kept) == []  # and nothing that is no more
