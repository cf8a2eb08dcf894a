"""What pages point to exists: files, headings, and targets of make."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.docs.pages import ROOT, anchors, blocks, code_spans, links, pages

MAKE = re.compile(r"make ([\w./-]+)")


def make_targets() -> set[str]:
    rules = re.findall(r"^([\w./ -]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return {target for rule in rules for target in rule.split()}


def dangling(page: Path, link: str) -> bool:
    path, _, anchor = unquote(link).partition("#")
    target = (page.parent / path).resolve() if path else page
    return not target.exists() or bool(anchor and anchor not in anchors(target))


def every(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", pages(), ids=every)
def test_every_relative_link_leads_to_a_file_and_a_heading_that_exist(page: Path) -> None:
    relative = {link for link in links(page) if not re.match(r"[a-z]+:", link)}
    assert [link for link in sorted(relative) if dangling(page, link)] == []


@pytest.mark.parametrize("page", pages(), ids=every)
def test_every_make_command_names_a_target_of_the_makefile(page: Path) -> None:
    lines = [command for block in blocks(page, "console") for command in block.commands()]
    lines += [line for block in blocks(page, "sh") for line in block.text.splitlines()]
    named = [found.group(1) for text in (*lines, *code_spans(page)) if (found := MAKE.match(text))]
    assert set(named) - make_targets() == set()
