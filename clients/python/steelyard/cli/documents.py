"""Documents that people write, in YAML or JSON, as values that know where they stand.

YAML is read as its version 1.2 says, which is what people expect: `no` is a word, `1e-3` a number and
`2026-10-01` a text. Numbers keep their text, so that a version of `1.10` stays one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steelyard.errors import InvalidArgument

SIZE_BYTES_MAXIMUM = 1024 * 1024
_TAG = "tag:yaml.org,2002:"
_PLAIN = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
}
_WHOLE = re.compile(r"[-+]?[0-9]+")


@dataclass(frozen=True, slots=True)
class Number:
    """A number, and how it was written."""

    text: str
    value: int | float


@dataclass(frozen=True, slots=True)
class Node:
    """A value of a document.

    Args:
        value: text, `Number`, truth value, None, list or dictionary.
        document: its name.
        place: of the value in it, for example `datasets[1].role`.
    """

    value: Any
    document: str
    place: str = ""

    def wrong(self, what: str) -> InvalidArgument:
        """Return the error that says *what* is wrong here."""
        from steelyard.errors import InvalidArgument

        return InvalidArgument(f"{self.document}: {self.place or 'the document'} {what}")

    def text(self) -> str:
        """Return a text; a number counts as it is written, nothing as an empty one."""
        match self.value:
            case str():
                return self.value
            case Number():
                return self.value.text
            case None:
                return ""
        raise self.wrong("is no text; put it in quotes.")

    def number(self) -> float:
        """Return a number; texts like `NaN` and `inf` count as one."""
        match self.value:
            case Number():
                return self.value.value
            case str() if re.fullmatch(r"[+-]?(nan|inf|infinity)", self.value, re.IGNORECASE):
                return float(self.value)
        raise self.wrong("is no number.")

    def whole(self) -> int:
        """Return a whole number."""
        if isinstance(self.value, Number) and isinstance(self.value.value, int):
            return self.value.value
        raise self.wrong("is no whole number.")

    def truth(self) -> bool:
        """Return true or false."""
        if isinstance(self.value, bool):
            return self.value
        raise self.wrong("is neither true nor false.")

    def entries(self) -> list[Node]:
        """Return the entries of a list; nothing counts as an empty one."""
        if self.value is None:
            return []
        if not isinstance(self.value, list):
            raise self.wrong("is no list; begin each entry with a dash.")
        return [Node(each, self.document, f"{self.place}[{index}]") for index, each in enumerate(self.value)]

    def members(self, *, known: Sequence[str] | None = None) -> dict[str, Node]:
        """Return the members of a mapping; nothing counts as an empty one.

        Raises:
            InvalidArgument: it has a key that is not *known*; one that is like it is named.
        """
        if self.value is None:
            return {}
        if not isinstance(self.value, dict):
            raise self.wrong("is no mapping; write name: value, one a line.")
        members = {name: Node(each, self.document, self._below(name)) for name, each in self.value.items()}
        for name, node in members.items():
            if known is not None and name not in known:
                raise node.wrong(_unknown(name, known))
        return members

    def leaves(self) -> dict[str, Node]:
        """Return what is no mapping, at any depth, by the names that lead to it, joined by dots."""
        found: dict[str, Node] = {}
        for name, node in _leaves(self, prefix=""):
            if name in found:
                raise node.wrong(f"is there twice: {name!r}.")
            found[name] = node
        return found

    def plain(self) -> Any:
        """Return the value with numbers as they are."""
        match self.value:
            case Number():
                return self.value.value
            case list():
                return [each.plain() for each in self.entries()]
            case dict():
                return {name: each.plain() for name, each in self.members().items()}
        return self.value

    def _below(self, name: str) -> str:
        return f"{self.place}.{name}" if self.place else name


def read(path: Path) -> Node:
    """Read a document, as JSON when its name ends in .json, else as YAML.

    Raises:
        FileUnreadable: it cannot be read, or has more than 1 MiB.
        InvalidArgument: it is no such document; the message names the line.
    """
    from steelyard.errors import FileUnreadable, InvalidArgument

    try:
        with path.open("rb") as file:
            encoded = file.read(SIZE_BYTES_MAXIMUM + 1)
    except OSError as error:
        raise FileUnreadable(f"{path} cannot be read: {error.strerror}.") from None
    if len(encoded) > SIZE_BYTES_MAXIMUM:
        raise FileUnreadable(f"{path} has more than 1 MiB; it is no document that a person wrote.")
    try:
        text = encoded.decode("utf-8-sig")
        return Node(_json(text) if path.suffix.lower() == ".json" else _yaml(text), str(path))
    except RecursionError:
        raise InvalidArgument(f"{path} is nested too deeply.") from None
    except ValueError as error:
        raise InvalidArgument(f"{path}: {error}") from None


def _leaves(node: Node, *, prefix: str) -> Iterator[tuple[str, Node]]:
    for name, member in node.members().items():
        if isinstance(member.value, dict):
            yield from _leaves(member, prefix=f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", member


def _unknown(name: str, known: Sequence[str]) -> str:
    if like := get_close_matches(name, known, n=1):
        return f"is no known key; did you mean {like[0]!r}?"
    return f"is no known key; there are {', '.join(sorted(known))}."


def _number(text: str) -> Number:
    if _WHOLE.fullmatch(text):
        return Number(text, int(text))
    return Number(text, float(re.sub(r"^([-+]?)\.(?=inf|nan)", r"\1", text.lower())))


_SCALARS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "float": _number,
    "bool": lambda text: text.lower() == "true",
    "null": lambda _: None,
}


def _json(text: str) -> Any:
    return json.loads(
        text,
        parse_int=_number,
        parse_float=_number,
        parse_constant=lambda word: Number(word, float(word)),
        object_pairs_hook=_distinct,
    )


def _distinct(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} is there twice.")
        found[name] = value
    return found


def _yaml(text: str) -> Any:
    # Loaded only where a document is read.
    import yaml

    class Loader(yaml.SafeLoader):
        """Reads no aliases, and decides what plain words mean by `_PLAIN` alone."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                event: Any = self.peek_event()  # type: ignore[no-untyped-call]
                raise _at(event.start_mark, "an alias is used; write its value again")
            return super().compose_node(parent, index)

    Loader.yaml_implicit_resolvers = {}
    for name, (pattern, begins) in _PLAIN.items():
        Loader.add_implicit_resolver(_TAG + name, re.compile(rf"(?:{pattern})\Z"), list(begins))
    try:
        root = yaml.compose(text, Loader=Loader)
        return None if root is None else _value(root)
    except yaml.MarkedYAMLError as error:
        raise _at(error.problem_mark, str(error.problem or error.context)) from None
    except yaml.YAMLError as error:
        raise ValueError(f"{error}") from None


def _value(node: Any) -> Any:
    """Return the value of a node of PyYAML."""
    tag = node.tag.removeprefix(_TAG)
    if node.id == "mapping" and tag == "map":
        return _mapping(node)
    if node.id == "sequence" and tag == "seq":
        return [_value(each) for each in node.value]
    if node.id == "scalar" and tag in _SCALARS:
        return _SCALARS[tag](node.value)
    raise _at(node.start_mark, f"the tag {node.tag} means nothing here")


def _mapping(node: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in node.value:
        if key.id != "scalar":
            raise _at(key.start_mark, "a key is no text")
        if key.value in found:
            raise _at(key.start_mark, f"{key.value!r} is there twice")
        found[key.value] = _value(value)
    return found


def _at(mark: Any, what: str) -> ValueError:
    return ValueError(f"line {mark.line + 1}: {what}." if mark else f"{what}.")
