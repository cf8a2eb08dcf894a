"""Compile a check, and run it on facts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from steelyard_server.core import names
from steelyard_server.core.policies import bounds, engine, language, sentences
from steelyard_server.core.policies.fault import Fault
from steelyard_server.core.policies.findings import PASSING, Finding, Reason, WithoutIncumbent
from steelyard_server.core.policies.run import Run, Undecided
from steelyard_server.core.policies.tree import Kind
from steelyard_server.errors import FieldRequired, PolicyInvalid
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steelyard_server.core.policies.engine import Compiled
    from steelyard_server.core.policies.facts import Facts
    from steelyard_server.core.policies.tree import Node

# Of 4 KiB and more each.
PROGRAMS_KEPT = 1024

_NO_VALUE = re.compile(r'No value with name "(.+?)" found')
_NO_KEY = re.compile(r'Key not found in map : "?(.*?)"?(?: \[.*)?$', re.DOTALL)
_BUDGET = "Iteration budget exceeded"


class Need(StrEnum):
    """What is costly to gather; where no check wants it, facts may come without it."""

    FILES = "files"
    FORMATS = "formats"
    MEASUREMENTS = "measurements"
    INCUMBENT = "incumbent"


@dataclass(frozen=True, slots=True)
class Program:
    """A check that was compiled; it may be kept for as long as the server runs, and used by all threads.

    Args:
        needs: what `run` looks at beside what is always there. FORMATS comes with FILES.
        names: that the check reads, in full.
    """

    expression: str
    needs: frozenset[Need]
    names: frozenset[str]
    compiled: Compiled

    def run(self, facts: Facts, *, without_incumbent: WithoutIncumbent = WithoutIncumbent.FAIL) -> Finding:
        """Evaluate the check: some microseconds for most, about a second at most, not for the event loop.

        Without an incumbent, each of the parts that `&&` joins is looked at by itself: if one is false or
        has no answer for another reason, the check fails for that one, whatever *without_incumbent* says.
        """
        run = Run(facts)
        found = self._evaluate(self.compiled.expression, facts, run)
        if isinstance(found, Undecided) and found.reason is Reason.NO_INCUMBENT:
            found = self._without_incumbent(facts, run)
        if isinstance(found, bool):
            reason = Reason.PASSED if found else Reason.FALSE
            return _finding(reason, sentences.outcome(run, passed=found), run)
        if found.reason is not Reason.NO_INCUMBENT:
            return _finding(found.reason, sentences.failure(found.message), run)
        if without_incumbent is WithoutIncumbent.PASS:
            return _finding(Reason.PASSED_WITHOUT_INCUMBENT, sentences.PASSED_WITHOUT_INCUMBENT, run)
        return _finding(Reason.NO_INCUMBENT, sentences.NO_INCUMBENT, run)

    def _evaluate(self, expression: Any, facts: Facts, run: Run) -> bool | Undecided:
        values = {name: value for name in self.names if (value := _value(name, facts)) is not None}
        before = len(run.undecided)
        found = engine.evaluate(expression, values, run=run)
        run.raise_broken()
        if isinstance(found, bool):
            return found
        # The library names one of several parts without an answer.
        ours = run.undecided[before:]
        told = [] if any(each.message in found for each in ours) else [_told(found, self, facts)]
        return _worst([*told, *ours])

    def _without_incumbent(self, facts: Facts, run: Run) -> Undecided:
        # None of the parts is false, for then the whole would be.
        found = (self._evaluate(each, facts, run) for each in self.compiled.conjuncts)
        return _worst([each for each in found if isinstance(each, Undecided)])


def compile(expression: str, *, field: str) -> Program:  # noqa: A001 - what it does is called so
    """Read and type-check a check, which stands in the request at *field*.

    Raises:
        PolicyInvalid: it does not parse, has the wrong types, is not a bool, names what is not there, or
            may take more steps than `Limits.policy_steps_count`; metadata has the `column`, from 1.
        TooLong, ControlCharacters, FieldRequired: it is no text of a bearable length.
    """
    names.prose(expression, field=field, maximum_bytes=LIMITS.policy_expression_bytes)
    if not expression.strip():
        raise FieldRequired(f"`{field}` is empty; write an expression that is true or false.", field=field)
    try:
        return _compiled(expression)
    except Fault as fault:
        column = fault.position + 1
        message = f"`{field}`, column {column}: {fault.message}."
        raise PolicyInvalid(message, field=field, column=column) from None


def _worst(undecided: list[Undecided]) -> Undecided:
    """Return the first that no missing incumbent excuses, else the first."""
    return min(undecided, key=lambda each: each.reason is Reason.NO_INCUMBENT)


def _finding(reason: Reason, message: str, run: Run) -> Finding:
    return Finding(reason in PASSING, reason, message, run.observations)


@lru_cache(maxsize=PROGRAMS_KEPT)
def _compiled(expression: str) -> Program:
    compiled = engine.compile_checked(expression)
    bounds.check(compiled.root, expression=expression)
    if compiled.type != "bool":
        message = f"the check is of type {compiled.type}, and must be a bool; compare it with something"
        raise Fault(message, position=0)
    found = frozenset(each.text for each in compiled.root.walk() if each.kind is Kind.NAME)
    return Program(
        expression=expression,
        needs=frozenset(_needs(compiled.root)),
        names=found & {*language.VALUES, *language.SIDES, language.MODEL},
        compiled=compiled,
    )


def _needs(root: Node) -> Iterator[Need]:
    for node in root.walk():
        owner, _, member = node.text.partition(".")
        if node.kind is Kind.NAME and owner == language.INCUMBENT:
            yield Need.INCUMBENT
        if node.kind is Kind.NAME and member in {"files", "size_bytes"}:
            yield Need.FILES
        if node.kind is Kind.NAME and member == "files":
            yield Need.FORMATS
        if node.kind is Kind.CALL and node.text == language.FILE_FORMATS:
            yield from (Need.FILES, Need.FORMATS)
        if node.kind is Kind.CALL and node.text in language.OF_METRICS:
            yield Need.MEASUREMENTS
        if node.kind is Kind.CALL and (node.text == language.BETTER or owner == language.INCUMBENT):
            yield Need.INCUMBENT


def _value(name: str, facts: Facts) -> Any:
    # A side itself is handed to schema_compatible, which knows the two.
    return language.read(name, facts) if name in language.VALUES else {}


def _told(text: str, program: Program, facts: Facts) -> Undecided:
    """Turn what the library says of an evaluation into a reason and words of people."""
    if found := _NO_VALUE.search(text):
        owner, _, member = found[1].partition(".")
        if owner == language.INCUMBENT and facts.incumbent is None:
            return Undecided(Reason.NO_INCUMBENT, "there is no incumbent")
        return Undecided(Reason.ABSENT, f"{owner} has no {member}")
    if found := _NO_KEY.search(text):
        places = sorted(_places(program.compiled.root, found[1]))
        shown = names.quoted(found[1])
        return Undecided(
            Reason.ABSENT, f"there is no {shown} in {' or '.join(places) or 'what was looked up'}"
        )
    if _BUDGET in text:
        message = f"its loops go round more than {engine.ROUNDS_COUNT} times, all together; loop over less"
        return Undecided(Reason.BUDGET_EXCEEDED, message)
    return Undecided(Reason.FAILED, f"it cannot be computed: {engine.shown(engine.without_status(text))}")


def _places(root: Node, key: str) -> Iterator[str]:
    """Yield the maps in which a check looks up *key*."""
    for node in root.walk():
        if node.kind is Kind.SELECT and node.text == key:
            yield node.children[0].text
        if node.kind is Kind.CALL and node.text == "_[_]" and node.children[1].text == key:
            yield node.children[0].text
