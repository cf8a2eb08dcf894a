"""The names and functions that a check may use, with their types and how large their values get."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from steelyard_server.core.policies.facts import Facts, Side

CANDIDATE, INCUMBENT, MODEL, NOW = "candidate", "incumbent", "model", "now"
SIDES = (CANDIDATE, INCUMBENT)
UNKNOWN_FORMAT = "unknown"
FILE_FIELDS = ("path", "role", "format", "digest", "size_bytes", "external")
STRINGS, ANYTHING, FILES = "map(string, string)", "map(string, dyn)", "list(map(string, dyn))"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DIGEST_BYTES = 71
_WORD_BYTES = 64


@dataclass(frozen=True, slots=True)
class Value:
    """One name.

    Args:
        type: in the words of CEL.
        read: takes it from the side or model; None where it is absent.
        element_bytes: at most in it, or in each of its elements.
        count: most elements that it has.
    """

    type: str
    read: Callable[[Any], Any]
    element_bytes: int = 8
    count: int = 1


@dataclass(frozen=True, slots=True)
class Function:
    """One function, by its name in full; *method* is that of ``run.Run``, *side* its first argument."""

    name: str
    parameters: tuple[str, ...]
    result: str
    method: str
    side: str = ""

    @property
    def overload(self) -> str:
        """What the library calls it."""
        return "_".join((self.name.replace(".", "_"), *(each.partition("(")[0] for each in self.parameters)))


def moment(microseconds: int) -> datetime:
    """Return a time as CEL takes it."""
    return _EPOCH + timedelta(microseconds=microseconds)


def files(side: Side) -> list[dict[str, str | int | bool]]:
    """Return the files of a version as maps."""
    return [
        {
            "path": each.path,
            "role": each.role,
            "format": side.formats.get(each.digest, UNKNOWN_FORMAT),
            "digest": each.digest,
            "size_bytes": each.size_bytes,
            "external": bool(each.uri),
        }
        for each in side.content.files
    ]


# What the maps of a side have that do not take any key.
MEMBERS: Mapping[str, tuple[str, ...]] = {
    "framework": ("name", "version"),
    "source": ("repository", "commit", "dirty", "run", "pipeline", "user"),
}


def _part(name: str) -> Callable[[Side], dict[str, Any]]:
    """Return what reads a part of the content as a map of what it states."""

    def read(side: Side) -> dict[str, Any]:
        part = getattr(side.content, name)
        stated = {member: getattr(part, member, None) for member in MEMBERS[name]}
        return {member: value for member, value in stated.items() if value not in {None, ""}}

    return read


SIDE_VALUES: Mapping[str, Value] = {
    "number": Value("int", lambda side: side.number),
    "digest": Value("string", lambda side: side.digest, _DIGEST_BYTES),
    "creator": Value("string", lambda side: side.creator, LIMITS.actor_characters),
    "create_time": Value("timestamp", lambda side: moment(side.create_time)),
    "description": Value("string", lambda side: side.description, LIMITS.description_bytes),
    "semantic_version": Value(
        "string", lambda side: side.semantic_version or None, LIMITS.semantic_version_characters
    ),
    "labels": Value(STRINGS, lambda side: dict(side.labels), LIMITS.label_value_bytes, LIMITS.labels_count),
    "parameters": Value(
        ANYTHING,
        lambda side: {each.name: each.value for each in side.content.parameters},
        LIMITS.parameter_bytes,
        LIMITS.parameters_count,
    ),
    "framework": Value(STRINGS, _part("framework"), LIMITS.text_bytes, len(MEMBERS["framework"])),
    "source": Value(ANYTHING, _part("source"), LIMITS.text_bytes, len(MEMBERS["source"])),
    "files": Value(FILES, files, LIMITS.text_bytes, LIMITS.files_count),
    "size_bytes": Value("int", lambda side: sum(each.size_bytes for each in side.content.files)),
}
MODEL_VALUES: Mapping[str, Value] = {
    "name": Value("string", lambda model: model.name, LIMITS.text_bytes),
    "description": Value("string", lambda model: model.description, LIMITS.description_bytes),
    "labels": Value(STRINGS, lambda model: dict(model.labels), LIMITS.label_value_bytes, LIMITS.labels_count),
    "owners": Value("list(string)", lambda model: list(model.owners), _WORD_BYTES * 4, LIMITS.owners_count),
    "metric_directions": Value(
        STRINGS, lambda model: dict(model.metric_directions), _WORD_BYTES, LIMITS.directions_count
    ),
}
VALUES: Mapping[str, Value] = {
    **{f"{side}.{name}": value for side in SIDES for name, value in SIDE_VALUES.items()},
    **{f"{MODEL}.{name}": value for name, value in MODEL_VALUES.items()},
    NOW: Value("timestamp", moment),
}
FUNCTIONS = (
    Function("better", ("string", "double"), "bool", "better"),
    Function("better", ("string", "int"), "bool", "better"),
    Function("schema_compatible", (ANYTHING, ANYTHING), "bool", "schema_compatible"),
    Function("file_formats", (), "list(string)", "file_formats"),
    *(
        Function(f"{side}.{name}", ("string",), result, name, side)
        for side in SIDES
        for name, result in (
            ("metric", "double"),
            ("has_metric", "bool"),
            ("evaluator", "string"),
            ("measure_time", "timestamp"),
        )
    ),
)
OF_METRICS = frozenset(each.name for each in FUNCTIONS if "string" in each.parameters)
BETTER, SCHEMA_COMPATIBLE, FILE_FORMATS = "better", "schema_compatible", "file_formats"
# Of CEL's own: what reads, compares and joins truths. Nothing that builds texts, lists or maps.
OPERATORS = frozenset(
    {"_&&_", "_||_", "!_", "_?_:_", "_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "@in", "_[_]"}
    | {"_+_", "_-_", "_*_", "_/_", "_%_", "-_", "@not_strictly_false"}
)
STANDARD = frozenset(
    {"size", "contains", "startsWith", "endsWith", "matches", "timestamp", "duration", "int", "double"}
    | {f"get{part}" for part in ("FullYear", "Month", "Date", "DayOfMonth", "DayOfYear", "DayOfWeek")}
    | {f"get{part}" for part in ("Hours", "Minutes", "Seconds", "Milliseconds")}
)


def read(name: str, facts: Facts) -> Any:
    """Return the value of a name; None where it is absent, as all of an incumbent that is not there."""
    owner = getattr(facts, name.partition(".")[0])
    return None if owner is None else VALUES[name].read(owner)
