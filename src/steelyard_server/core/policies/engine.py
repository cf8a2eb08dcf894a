"""The CEL library: the only module that knows it, loaded when the first check is compiled."""

from __future__ import annotations

import re
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from steelyard_server.core.policies import language, tree
from steelyard_server.core.policies.fault import Fault
from steelyard_server.core.policies.language import FUNCTIONS, MODEL, SIDES, VALUES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from steelyard_server.core.policies.run import Run
    from steelyard_server.core.policies.tree import Node

# In this library an expression nests at most so deep; it is not to be changed.
DEPTH = 32
# And its loops end after so many rounds, all together.
ROUNDS_COUNT = 10_000
SHOWN_CHARACTERS = 300

_ERROR = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*)")
_OVERLOAD = re.compile(r"found no matching overload for '(.+?)' applied to '\((.*)\)'")
_UNDECLARED = re.compile(r"undeclared reference to '(.+?)'")
_NAME_BEFORE = re.compile(r"[\w.]*$")
_STATUS = re.compile(r"^[A-Z_]+: | \[[A-Z_]+\]$")
# Constants of these functions are tried when a check is compiled.
_TRIALS = {
    "timestamp": "timestamp(text) == timestamp(text)",
    "duration": "duration(text) == duration(text)",
    "matches": '"".matches(text) == "".matches(text)',
}


@dataclass(frozen=True, slots=True)
class Compiled:
    """An expression as the library holds it, with its tree, and what `&&` joins in it."""

    expression: Any
    conjuncts: tuple[Any, ...]
    root: Node
    type: str


@dataclass(frozen=True, slots=True)
class Engine:
    """What expressions are compiled against, and the run that functions called now belong to."""

    environment: Any
    run: ContextVar[Run]


def compile_checked(expression: str) -> Compiled:
    """Parse an expression and check its types.

    Raises:
        Fault: it does not parse, or has wrong types.
    """
    try:
        environment = _engine().environment
        compiled = environment.compile(expression)
    except RuntimeError as error:
        raise _fault(str(error), expression) from None
    serialized = compiled.serialize()
    return Compiled(
        compiled,
        conjuncts=tuple(map(environment.deserialize, tree.conjuncts(serialized))),
        root=tree.read(serialized),
        type=compiled.return_type().name().lower(),
    )


def evaluate(expression: Any, values: Mapping[str, Any], *, run: Run) -> bool | str:
    """Return the truth of an expression, or the text of what kept it from having one.

    The thread gives other threads way meanwhile, but for the functions of *run*.
    """
    engine = _engine()
    token = engine.run.set(run)
    try:
        found = expression.eval(data=values).value()
    except RuntimeError as error:
        return str(error)
    finally:
        engine.run.reset(token)
    return found if isinstance(found, bool) else str(found)


def rejected_constant(function: str, text: str) -> str:
    """Say why *function* takes no such text; empty when it does, or when only a run can tell."""
    if function not in _TRIALS:
        return ""
    found = _trials().compile(_TRIALS[function]).eval(data={"text": text}).value()
    return "" if found is True else shown(without_status(str(found)))


def without_status(text: str) -> str:
    """Take the name of a status off the beginning of a text of the library, and its code off the end."""
    return _STATUS.sub("", text)


def shown(text: str) -> str:
    """Cut a text of the library, and escape what could not be seen."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text[:SHOWN_CHARACTERS])


@cache
def _engine() -> Engine:
    from cel_expr_python import cel

    run: ContextVar[Run] = ContextVar("run")
    overloads: dict[str, list[Any]] = {}
    for each in FUNCTIONS:
        overloads.setdefault(each.name, []).append(
            cel.Overload(
                id=each.overload,
                return_type=_type(each.result),
                parameters=[_type(parameter) for parameter in each.parameters],
                impl=_implementation(each, run),
            )
        )
    environment = cel.NewEnv(
        variables={
            **{name: _type(value.type) for name, value in VALUES.items()},
            **dict.fromkeys((*SIDES, MODEL), _type(language.ANYTHING)),
        },
        functions=[cel.FunctionDecl(name, each) for name, each in overloads.items()],
    )
    return Engine(environment, run)


@cache
def _trials() -> Any:
    from cel_expr_python import cel

    return cel.NewEnv(variables={"text": cel.Type.STRING})


def _implementation(function: language.Function, run: ContextVar[Run]) -> Callable[..., Any]:
    """Return what calls a function in the run of the thread that evaluates."""
    first = (function.side,) if function.side else ()

    def call(*arguments: Any) -> Any:
        return run.get().call(function.method, *first, *arguments)

    return call


def _type(text: str) -> Any:
    from cel_expr_python import cel

    kind = cel.Type
    return {
        "bool": kind.BOOL,
        "int": kind.INT,
        "double": kind.DOUBLE,
        "string": kind.STRING,
        "timestamp": kind.TIMESTAMP,
        "list(string)": kind.List(kind.STRING),
        language.STRINGS: kind.Map(kind.STRING, kind.STRING),
        language.ANYTHING: kind.Map(kind.STRING, kind.DYN),
        language.FILES: kind.List(kind.Map(kind.STRING, kind.DYN)),
    }[text]


def _fault(text: str, expression: str) -> Fault:
    """Turn what the library says into words of people; it counts lines and columns from 1."""
    found = _ERROR.search(text)
    if "recursion" in text:
        return Fault(f"it is nested more than {DEPTH} deep; split it into several checks", position=0)
    if found is None:
        return Fault(shown(text), position=0)
    line, column = max(int(found[1]), 1), max(int(found[2]), 1)
    before = sum(len(each) for each in expression.splitlines(keepends=True)[: line - 1])
    position = min(before + column - 1, len(expression))
    if found[3].startswith("undeclared reference") and expression[position : position + 1] == ".":
        position = _begin(expression, position)
    return Fault(_words(found[3]), position=call_start(expression, position))


def call_start(expression: str, position: int) -> int:
    """Return where a call begins whose parenthesis stands at *position*; else that itself."""
    return _begin(expression, position) if expression[position : position + 1] == "(" else position


def _begin(expression: str, position: int) -> int:
    """Return where the name begins that ends before *position*."""
    name = _NAME_BEFORE.search(expression[:position])
    return name.start() if name else position


def _words(message: str) -> str:
    if found := _OVERLOAD.search(message):
        name = found[1].replace("@", "").replace("_", "") or found[1]
        written = found[1] if found[1].isidentifier() or "." in found[1] else name
        hint = (
            "; write 1.0 instead of 1 for a double"
            if {"int", "double"} <= set(re.split(r"\W+", found[2]))
            else ""
        )
        return shown(f"`{written}` does not take ({found[2]}){hint}")
    if found := _UNDECLARED.search(message):
        calls = [f"{each.name}({', '.join(each.parameters)})" for each in FUNCTIONS if each.name == found[1]]
        return f"write {' or '.join(calls)}" if calls else shown(f"`{found[1]}` is not known here")
    return shown(message.split(" expecting {", maxsplit=1)[0].replace("Syntax error: ", ""))
