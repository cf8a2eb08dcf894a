"""What a page of documentation holds: blocks of code, spans of code, headings and links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
# The address that pages use; tests put the address of their own server in its place.
ADDRESS = "127.0.0.1:7433"
# Before the sign stands who types it, where there are several persons; behind the command what is said of it.
PROMPT = re.compile(r"(?P<who>\w*)\$ (?P<command>.*?)(?:\s+# (?:exit code (?P<code>\d+)|.*))?")


@dataclass(frozen=True)
class Typed:
    """A command of a page: who types it, its exit code, and what it prints where that is shown."""

    who: str
    command: str
    code: int
    shown: str
    line: int


@dataclass(frozen=True)
class Block:
    """Fenced code of a page: its language, its text, the line where it begins, and the heading above."""

    language: str
    text: str
    line: int
    heading: str

    def commands(self) -> list[str]:
        """Return the commands behind the prompts of a console, without comments."""
        return [each.command for each in self.typed()]

    def typed(self) -> list[Typed]:
        """Return the same with what stands around them."""
        found: list[Typed] = []
        for number, line in enumerate(self.text.splitlines(), start=self.line + 1):
            if match := PROMPT.fullmatch(line):
                who, command, code = match.group("who", "command", "code")
                found.append(Typed(who, command, int(code or 0), "", number))
            elif found:
                found[-1] = replace(found[-1], shown=f"{found[-1].shown}{line}\n")
        return found


def pages() -> list[Path]:
    """Return every page that people wrote or that is generated for them."""
    clients = [page for page in (ROOT / "clients").rglob("README.md") if "node_modules" not in page.parts]
    return sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *clients])


def blocks(page: Path, *languages: str) -> list[Block]:
    """Return the fenced blocks of a page, of these languages or of all, in order."""
    heading, found = "", []
    for before, token in pairwise([Token("", "", 0), *_tokens(page)]):
        if before.type == "heading_open":
            heading = token.content
        elif token.type == "fence":
            found.append(Block(token.info, token.content, (token.map or [0])[0] + 1, heading))
    return [block for block in found if not languages or block.language in languages]


def code_spans(page: Path) -> list[str]:
    """Return what stands between single backticks."""
    return [token.content for token in _inline(page) if token.type == "code_inline"]


def links(page: Path) -> list[str]:
    """Return where the links of a page lead."""
    return [str(token.attrs["href"]) for token in _inline(page) if token.type == "link_open"]


@cache
def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    tokens = _tokens(page)
    headings = [text.content for mark, text in pairwise(tokens) if mark.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))


def _inline(page: Path) -> Iterator[Token]:
    for token in _tokens(page):
        yield from token.children or ()
