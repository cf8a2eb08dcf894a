"""Write clients/python/steelyard/reasons.py: one exception class for each reason of the proto.

Run by ``make gen``; with ``--check`` it fails when the file differs.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROTO = ROOT / "protos/steelyard/v1/error_reason.proto"
TARGET = ROOT / "clients/python/steelyard/reasons.py"
ENTRY = re.compile(r"((?:  //[^\n]*\n)+)  ERROR_REASON_(\w+) = \d+;")
DOCSTRING_CHARACTERS = 90
HEAD = '''"""One exception class for each reason of the server; `make gen` writes them from the proto."""

from __future__ import annotations

from steelyard import errors
'''


def main() -> int:
    """Write or check the file; return the exit code."""
    wanted = HEAD + "".join(_class(*entry) for entry in _entries()) + _table()
    if "--check" not in sys.argv:
        TARGET.write_text(wanted, encoding="utf-8")
        return 0
    if TARGET.is_file() and TARGET.read_text(encoding="utf-8") == wanted:
        return 0
    print(f"{TARGET.relative_to(ROOT)} differs from its proto; run make gen.")
    return 1


def _entries() -> list[tuple[str, str, str]]:
    """Return reason, status code and cause of each value of the enum."""
    found = []
    for comment, reason in ENTRY.findall(PROTO.read_text(encoding="utf-8")):
        if reason == "UNSPECIFIED":
            continue
        first = comment.replace("  //", "").split("\n\n")[0]
        code, _, cause = " ".join(first.split()).partition(": ")
        found.append((reason, code, cause))
    return found


def _class(reason: str, code: str, cause: str) -> str:
    base = "".join(part.title() for part in code.split("_"))
    first = cause
    for mark in (". ", "; ", ", "):
        if len(first) > DOCSTRING_CHARACTERS:
            first = first.partition(mark)[0].rstrip(".") + "."
    return f'\n\nclass {_name(reason)}(errors.{base}):\n    """{first}"""\n\n    reason = "{reason}"\n'


def _name(reason: str) -> str:
    name = "".join(part.title() for part in reason.split("_"))
    return f"{name}Error" if name == "Internal" else name


def _table() -> str:
    rows = "".join(f'    "{reason}": {_name(reason)},\n' for reason, _, _ in _entries())
    return f"\n\nBY_REASON: dict[str, type[errors.SteelyardError]] = {{\n{rows}}}\n"


if __name__ == "__main__":
    sys.exit(main())
