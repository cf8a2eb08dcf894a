"""Text to a tree, after AIP-160: OR binds tighter than AND, and terms beside each other are joined by AND."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import TYPE_CHECKING, Any

from steelyard_server.core import names
from steelyard_server.core.filters import tree
from steelyard_server.core.filters.tree import Comparison, Fault, Node, OrderKey, Path, Value, Words
from steelyard_server.db import search_keys
from steelyard_server.errors import TooLong
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from lark import Lark, Token

GRAMMAR = r"""
filter: [conjunction]
conjunction: sequence ("AND" sequence)*
sequence: disjunction+
disjunction: term ("OR" term)*
term: simple | "NOT" simple -> negation | "-" simple -> negation
?simple: restriction | "(" conjunction ")"
restriction: path -> words | path COMPARATOR value -> comparison | PREFIX -> prefix
path: dotted ["@" dotted [SLICE]]
dotted: segment ("." segment)*
segment: NAME | QUOTED
value: QUOTED | VALUE

orders: order ("," order)*
order: path [NAME]

COMPARATOR: "!=" | "<=" | ">=" | "=" | "<" | ">" | ":"
PREFIX.1: /\w[\w-]*\*(?![\w*-])/
NAME: /\w[\w-]*/
QUOTED: /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/s
SLICE: /\["(?:[^"\\]|\\.)*"\]|\[[^\]"]+\]/s
VALUE: /[^\s()"'=<>!,]+/
%ignore /\s+/
"""
# What a person calls the terminals that a place would take.
TERMINALS = {
    "NAME": "a field or word",
    "PREFIX": "a field or word",
    "QUOTED": "a text in quotes",
    "VALUE": "a value",
    "COMPARATOR": "one of = != < <= > >= :",
    "SLICE": "a slice in brackets",
    "RPAR": "a closing parenthesis",
    "LPAR": "an opening parenthesis",
    "AND": "AND",
    "OR": "OR",
    "NOT": "NOT",
    "COMMA": "a comma",
    "$END": "the end",
}
KEYWORDS = frozenset({"and", "or", "not"})
DESCENDING = "desc"
DIRECTIONS = frozenset({"asc", DESCENDING})
SHOWN_CHARACTERS = 16

# Texts in quotes and slices as wholes, else what matters before the grammar looks.
_SCAN = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|\[[^\[\]"\']*\]|["\'()]', re.DOTALL)
_OF_NAMES = re.compile(r"[\w\"'\]*-]")
_STARS = re.compile(r"(\*?)((?:[^*\\]|\\.)*)(\*?)", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = frozenset("\"'\\*")


def parse_filter(text: str) -> Node:
    """Read a filter; one of blanks only is passed by everything.

    Raises:
        Fault: it is no filter, or nests or joins more than the limits allow.
        TooLong: it has more than Limits.filter_bytes.
    """
    if not text.strip():
        return tree.And(())
    _check_size(text, field="filter")
    _check_nesting(text)
    node: Node = _parsed(text, start="filter")
    count = 0
    for leaf in tree.leaves(node):
        # Each word of a text in quotes is looked up by itself.
        count += len(search_keys.words(leaf.text)) if isinstance(leaf, Words) else 1
        if count > LIMITS.filter_terms_count:
            column = leaf.column if isinstance(leaf, Words) else leaf.path.column
            message = f"with this there are {count} terms; a filter has at most {LIMITS.filter_terms_count}"
            raise Fault(message, column=column, expected="the end")
    return tree.normal(node)


def parse_order(text: str) -> list[OrderKey]:
    """Read an order of at least one field.

    Raises:
        Fault: it is no order, or names more than Limits.order_fields_count fields.
        TooLong: it has more than Limits.filter_bytes.
    """
    _check_size(text, field="order_by")
    _check_nesting(text)
    keys: list[OrderKey] = _parsed(text, start="orders")
    if len(keys) > LIMITS.order_fields_count:
        column = keys[LIMITS.order_fields_count].path.column
        message = f"at most {LIMITS.order_fields_count} fields can be ordered by"
        raise Fault(message, column=column, expected="the end")
    return keys


def _check_size(text: str, *, field: str) -> None:
    size_bytes = len(text.encode())
    if size_bytes > LIMITS.filter_bytes:
        message = f"`{field}` has {size_bytes} bytes; at most {LIMITS.filter_bytes} are allowed."
        raise TooLong(message, field=field, limit_bytes=LIMITS.filter_bytes, size_bytes=size_bytes)


def _check_nesting(text: str) -> None:
    """Refuse what the grammar would say less well, or only after a long way down."""
    for position, character in enumerate(text):
        if unicodedata.category(character) == "Cc" and character not in "\t\n\r":
            raise Fault("a control character stands here", column=position + 1, expected="visible text")
    opened: list[int] = []
    for found in _SCAN.finditer(text):
        mark, column = found.group(), found.start() + 1
        if mark in {'"', "'"}:
            raise Fault("the text in quotes does not end", column=column, expected=f"a closing {mark}")
        if mark == "(":
            _check_no_call(text, found.start())
            opened.append(column)
        if mark == ")" and not opened:
            raise Fault("no parenthesis is open here", column=column, expected="an opening parenthesis")
        if mark == ")":
            opened.pop()
        if len(opened) > LIMITS.filter_depth:
            message = f"more than {LIMITS.filter_depth} parentheses are open here"
            raise Fault(message, column=column, expected="fewer parentheses")
    if opened:
        message = f"the parenthesis of column {opened[-1]} is not closed"
        raise Fault(message, column=len(text) + 1, expected="a closing parenthesis")


def _check_no_call(text: str, position: int) -> None:
    """Refuse a parenthesis at *position* that stands right behind a name."""
    begin = position
    while begin and _OF_NAMES.match(text[begin - 1]):
        begin -= 1
    word = text[begin:position]
    if word not in {"", "-", "AND", "OR", "NOT"}:
        message = f"{names.quoted(word)} looks like a function, and there are none"
        raise Fault(message, column=begin + 1, expected="a field")


def _parsed(text: str, *, start: str) -> Any:
    from lark.exceptions import UnexpectedInput

    try:
        return _parser().parse(text, start=start)
    except UnexpectedInput as error:
        raise _fault(error, text) from None


def _fault(error: Any, text: str) -> Fault:
    """Say in words of people what the parser met and what it would have taken."""
    token = getattr(error, "token", None)
    at_end = token is not None and token.type == "$END"
    position = len(text) if at_end else error.pos_in_stream
    terminals = getattr(error, "accepts", None) or getattr(error, "expected", None) or error.allowed or ()
    expected = dict.fromkeys(words for name, words in TERMINALS.items() if name in terminals)
    if text[position : position + 1] == "*":
        expected = {"a star only at the beginning or end of a word or value": None}
    shown = names.quoted(text[position : position + SHOWN_CHARACTERS])
    met = "something is missing at the end" if at_end else f"{shown} does not belong here"
    return Fault(met, column=position + 1, expected=" or ".join(expected) or "something else")


@cache
def _parser() -> Lark:
    """Return the parser, made when the first filter comes: the start of the server need not wait for it."""
    from lark import Lark

    to_tree: Any = _ToTree()
    return Lark(GRAMMAR, parser="lalr", start=["filter", "orders"], transformer=to_tree)


class _ToTree:
    """Make the values of the tree while the parser goes, a method a rule; so no deep tree is walked."""

    def filter(self, parts: list[Node | None]) -> Node:
        return parts[0] or tree.And(())

    def conjunction(self, parts: list[Node]) -> Node:
        return parts[0] if len(parts) == 1 else tree.And(tuple(parts))

    sequence = conjunction

    def disjunction(self, parts: list[Node]) -> Node:
        return parts[0] if len(parts) == 1 else tree.Or(tuple(parts))

    def term(self, parts: list[Node]) -> Node:
        return parts[0]

    def negation(self, parts: list[Node]) -> Node:
        return tree.Not(parts[0])

    def words(self, parts: list[Path]) -> Words:
        return _words(parts[0])

    def prefix(self, parts: list[Token]) -> Words:
        return Words(parts[0][:-1], _column(parts[0]), prefix=True)

    def comparison(self, parts: list[Any]) -> Comparison:
        path, comparator, value = parts
        return Comparison(path, str(comparator), value)

    def path(self, parts: list[Any]) -> Path:
        segments, dataset, slice_ = parts
        return Path(
            segments=tuple(map(_unquoted, segments)),
            column=_column(segments[0]),
            quoted=segments[0].type == "QUOTED",
            dataset=None if dataset is None else ".".join(map(_unquoted, dataset)),
            slice="" if slice_ is None else _slice(slice_),
        )

    def dotted(self, parts: list[Token]) -> list[Token]:
        return parts

    def segment(self, parts: list[Token]) -> Token:
        return parts[0]

    def value(self, parts: list[Token]) -> Value:
        return _value(parts[0])

    def orders(self, parts: list[OrderKey]) -> list[OrderKey]:
        return parts

    def order(self, parts: list[Any]) -> OrderKey:
        path, direction = parts
        if direction is not None and direction not in DIRECTIONS:
            message = f"{names.quoted(direction)} is no direction"
            raise Fault(message, column=_column(direction), expected="asc, desc, a comma or the end")
        return OrderKey(path, descending=direction == DESCENDING)


def _words(path: Path) -> Words:
    if len(path.segments) > 1 or path.dataset is not None:
        column = path.column
        raise Fault(f"{path.text} is compared with nothing", column=column, expected="a comparator behind it")
    if path.text.lower() in KEYWORDS and not path.quoted:
        right = path.text.isupper()
        message = (
            f"{path.text} joins no terms here" if right else f"{path.text} joins terms in capital letters"
        )
        expected = "a field, or a word in quotes" if right else f"{path.text.upper()}, or the word in quotes"
        raise Fault(message, column=path.column, expected=expected)
    return Words(path.text, path.column)


def _value(token: Token) -> Value:
    """Take quotes, escapes and the stars at either end off a value."""
    quoted = token.type == "QUOTED"
    body, column = (token[1:-1] if quoted else str(token)), _column(token)
    found = _STARS.fullmatch(body) if quoted else re.fullmatch(r"(\*?)([^*]*)(\*?)", body)
    if found is None:
        message = "a star stands for any text only at the beginning or end"
        raise Fault(message, column=column, expected='a text, or "\\*" for the character itself')
    start, text, end = found.groups()
    text = _unescaped(text, column=column) if quoted else text
    return Value(text, column, quoted=quoted, open_start=bool(start), open_end=bool(end))


def _slice(token: Token) -> str:
    body = token[1:-1]
    return _unescaped(body[1:-1], column=_column(token)) if body.startswith('"') else body


def _unquoted(token: Token) -> str:
    return _unescaped(token[1:-1], column=_column(token)) if token.type == "QUOTED" else str(token)


def _unescaped(text: str, *, column: int) -> str:
    for found in _ESCAPE.finditer(text):
        if found.group(1) not in _ESCAPED:
            message = f"{found.group()} means nothing"
            raise Fault(message, column=column, expected="a back-slash only before \", ', \\ or *")
    return _ESCAPE.sub(r"\1", text)


def _column(token: Token) -> int:
    return (token.start_pos or 0) + 1
