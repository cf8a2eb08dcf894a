"""What a check may be made of, and the most steps that it can take.

Nothing in a check can make a value that is larger than what it is given: no text, list or map is joined
or built, but lists of single values. So the size of every value is known when the check is written, and
with it the most that a run can cost; a check that may cost too much is refused, not stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from steelyard_server.core import names
from steelyard_server.core.policies import engine, language, metric_keys
from steelyard_server.core.policies.fault import Fault
from steelyard_server.core.policies.language import FILE_FIELDS, FILES, SIDES, VALUES
from steelyard_server.core.policies.tree import Kind, Node
from steelyard_server.limits import LIMITS

# A step is what a comparison of two numbers takes: some 50 ns. Comparing texts takes one for so many bytes.
BYTES_A_STEP = 16
# The pattern that takes a step a byte. RE2 goes over a text once, but slower for a pattern with many states;
# one that counts has as many as it counts to, at most 1,000.
PATTERN_CHARACTERS = 512
COUNTED_CHARACTERS = 1000
# What our own functions take, which look into the facts in Python.
FUNCTION_STEPS = 50
LOOP_STEPS = 4
FIELD_BYTES = LIMITS.file_path_bytes
FORMATS_COUNT = 64
_JOINED = frozenset({"add_string", "add_bytes", "add_list"})
_SCALARS = frozenset({"bool", "int", "uint", "double", "string", "timestamp", "duration"})
_FUNCTIONS = frozenset(each.name for each in language.FUNCTIONS)
_LOOPS = ("all", "exists", "exists_one", "filter")
_NAMELESS = (*SIDES, language.MODEL)
# What joins truths: no numbers meet in it.
_TRUTHS = frozenset({"_&&_", "_||_", "!_", "_?_:_"})

Meaning = tuple[Kind, str, tuple["Meaning", ...]]


@dataclass(frozen=True, slots=True)
class Size:
    """The most that a part takes: steps to compute it, elements in it, bytes in each of them."""

    steps: int
    count: int = 1
    element_bytes: int = 8


def check(root: Node, *, expression: str) -> None:
    """Check an expression whose types are right.

    Raises:
        Fault: it is made of what no check may be made of, or may take more than Limits.policy_steps_count.
    """
    _Checker(expression).check(root)
    steps = _size(root, {}).steps
    if steps > LIMITS.policy_steps_count:
        message = (
            f"this may take {steps} steps, and a check at most {LIMITS.policy_steps_count}; "
            "loop over less, or not within another loop"
        )
        raise Fault(message, position=_costliest(root).position)


@dataclass(frozen=True, slots=True)
class _Checker:
    """Looks at every part of an expression."""

    expression: str

    def check(self, node: Node) -> None:
        match node.kind:
            case Kind.STRUCT:
                raise self.fault(node, "a check builds no maps and no messages")
            case Kind.LIST:
                self.literal(node)
            case Kind.LOOP:
                self.loop(node)
            case Kind.NAME:
                self.name(node)
            case Kind.SELECT | Kind.HAS:
                self.select(node)
                return
            case Kind.CALL:
                self.call(node)
        if node.text != language.SCHEMA_COMPATIBLE:
            for child in node.children:
                self.check(child)
        self.numbers(node)

    def fault(self, node: Node, message: str) -> Fault:
        return Fault(message, position=engine.call_start(self.expression, node.position))

    def numbers(self, node: Node) -> None:
        """Check that numbers of both sides, where they meet, are of one metric: a run compares their data."""
        if node.kind not in {Kind.CALL, Kind.LOOP} or node.text in _TRUTHS:
            return
        metrics = {
            side: {_meaning(*each.children) for each in _calls(node, f"{side}.metric")} for side in SIDES
        }
        if all(metrics.values()) and len(set.union(*metrics.values())) > 1:
            raise self.fault(
                node, "numbers of both sides are compared of one metric, written the same on both"
            )

    def name(self, node: Node) -> None:
        if node.text in _NAMELESS:
            raise self.fault(node, f"name what of it: {node.text}.{_members(node.text)[0]}, for example")
        if node.text in VALUES and self.expression[node.position :].startswith("("):
            # The library takes a name in `has(…)` for the name itself, and says so by the place only.
            raise self.fault(node, "`has` asks for a member of a map: has(candidate.labels.team)")

    def loop(self, node: Node) -> None:
        if node.text in {*_NAMELESS, language.NOW}:
            raise self.fault(node, f"{node.text} has a meaning; call the variable of the loop otherwise")
        if node.macro not in _LOOPS:
            raise self.fault(node, f"`{node.macro}` is not there; there are {', '.join(_LOOPS)}")

    def literal(self, node: Node) -> None:
        for child in node.children:
            if child.type not in _SCALARS:
                raise self.fault(child, "a list that is written here holds single values only")

    def select(self, node: Node) -> None:
        (operand,) = node.children
        if operand.kind is Kind.NAME and operand.text in _NAMELESS:
            known = ", ".join(_members(operand.text))
            raise self.fault(node, f"{operand.text} has no {names.quoted(node.text)}; it has {known}")
        self.check(operand)
        self.member(node, operand, node.text)

    def member(self, node: Node, operand: Node, key: str) -> None:
        """Check a key that is looked up in a map: some take any, and others have few."""
        if operand.type != "map":
            raise self.fault(node, f"this has no members, so no {names.quoted(key)}")
        whole = operand.kind is Kind.NAME and operand.text in VALUES
        name = operand.text.partition(".")[2] if whole else "a file"
        members = language.MEMBERS.get(name, ()) if whole else FILE_FIELDS
        if members and key not in members:
            raise self.fault(node, f"{name} has no {names.quoted(key)}; it has {', '.join(members)}")

    def call(self, node: Node) -> None:
        if node.text not in _FUNCTIONS | language.OPERATORS | language.STANDARD:
            raise self.fault(node, f"{names.quoted(node.text)} is no function of checks")
        if _JOINED & set(node.overloads):
            raise self.fault(node, "`+` adds numbers and times here; a check joins no texts and no lists")
        if node.text == "_[_]" and node.children[0].type == "map":
            self.key(node)
        if node.text == language.SCHEMA_COMPATIBLE and {each.text for each in node.children} != set(SIDES):
            raise self.fault(node, "write schema_compatible(candidate, incumbent)")
        if node.text == "matches" and not _is_text(node.children[1]):
            raise self.fault(node, "the pattern of `matches` is written here as a text")
        for text in filter(_is_text, node.children[-2:]):
            self.constant(node, text)

    def constant(self, node: Node, text: Node) -> None:
        if node.text in language.OF_METRICS and metric_keys.parse(text.text) is None:
            shown = names.quoted(text.text)
            raise self.fault(
                text, f"{shown} names no metric; write name, name@dataset or name@dataset[slice]"
            )
        if text is node.children[-1] and (wrong := engine.rejected_constant(node.text, text.text)):
            raise self.fault(text, wrong)

    def key(self, node: Node) -> None:
        operand, key = node.children
        self.check(operand)
        if _is_text(key):
            self.member(node, operand, key.text)
        elif operand.kind is not Kind.NAME or operand.text not in VALUES:
            raise self.fault(key, "the fields of a file are named here as texts")


def _is_text(node: Node) -> bool:
    return node.kind is Kind.CONSTANT and node.type == "string"


def _calls(root: Node, function: str) -> Iterator[Node]:
    return (each for each in root.walk() if each.kind is Kind.CALL and each.text == function)


def _meaning(node: Node) -> Meaning:
    """Return what a part says wherever it stands."""
    return node.kind, node.text, tuple(map(_meaning, node.children))


def _members(owner: str) -> list[str]:
    members = [name.partition(".")[2] for name in VALUES if name.startswith(f"{owner}.")]
    functions = [each.name.partition(".")[2] for each in language.FUNCTIONS if each.side == owner]
    return [*members, *(f"{each}(…)" for each in functions)]


def _size(node: Node, loops: Mapping[str, Size]) -> Size:
    """Return the most that a part takes; *loops* has the elements of those around it, by variable."""
    if node.kind is Kind.LOOP:
        return _loop_size(node, loops)
    sizes = [_size(child, loops) for child in node.children]
    steps = 1 + sum(each.steps for each in sizes)
    if node.kind is Kind.CALL:
        return _call_size(node, sizes, steps=steps)
    if node.kind is Kind.CONSTANT:
        return Size(1, element_bytes=max(8, len(node.text.encode())))
    if node.kind is Kind.NAME:
        value = VALUES.get(node.text)
        if value is None:
            return loops.get(node.text, Size(1))
        # Files are made into maps first.
        return Size(value.count if value.type == FILES else 1, value.count, value.element_bytes)
    # A list that is written, or a member of a map.
    return Size(steps, max(1, len(sizes)), max((each.element_bytes for each in sizes), default=8))


def _loop_size(node: Node, loops: Mapping[str, Size]) -> Size:
    over, *asked = node.children
    among = _size(over, loops)
    # What is looped over may be files, of which each has so many members.
    element = Size(1, len(FILE_FIELDS), among.element_bytes)
    each = sum(_size(child, {**loops, node.text: element}).steps for child in asked)
    kept = (among.count, among.element_bytes) if node.macro == "filter" else (1, 8)
    return Size(among.steps + among.count * (each + LOOP_STEPS), *kept)


def _call_size(node: Node, sizes: list[Size], *, steps: int) -> Size:
    if node.text == language.FILE_FORMATS:
        return Size(FUNCTION_STEPS + LIMITS.files_count, FORMATS_COUNT, FIELD_BYTES)
    if node.text in _FUNCTIONS:
        return Size(steps + FUNCTION_STEPS, element_bytes=LIMITS.actor_characters)
    bytes_count = sum(each.count * each.element_bytes for each in sizes)
    if node.text == "matches":
        pattern = node.children[1].text
        states = len(pattern) + COUNTED_CHARACTERS * pattern.count("{")
        return Size(
            steps + bytes_count * max(states, PATTERN_CHARACTERS // BYTES_A_STEP) // PATTERN_CHARACTERS
        )
    if node.text == "_[_]":
        return Size(steps, len(FILE_FIELDS) if node.type == "map" else 1, sizes[0].element_bytes)
    if node.text == "_?_:_":
        chosen = sizes[1:]
        return Size(steps, max(each.count for each in chosen), max(each.element_bytes for each in chosen))
    return Size(steps + bytes_count // BYTES_A_STEP)


def _costliest(root: Node) -> Node:
    """Return the outermost loop, for that is what makes a check costly; the whole if there is none."""
    return next((each for each in root.walk() if each.kind is Kind.LOOP), root)
