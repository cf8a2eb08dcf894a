"""What filters and orders mean, said a second time over plain values: the reference of the search tests.

Nothing here knows the grammar, the fields or SQL of the server. A term is drawn as a pair: its text,
and a function that says of a record whether it passes.
"""

from __future__ import annotations

import math
import operator
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cmp_to_key, reduce
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

Compare = Callable[[Any, Any], bool]

OPERATORS: Mapping[str, Compare] = {
    "=": operator.eq, ":": operator.eq, "!=": operator.ne,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
EQUALITIES = ("=", ":", "!=")
LONG = "Größe" + "x" * 130
TEXTS = (
    "",
    "risk",
    "Risk",
    "risk team",
    "it's",
    'a"b',
    "a\\b",
    "%_",
    "100%",
    "é",
    "日本",
    "🦉",
    LONG,
    LONG + "y",
)
REALS = (0.0, -0.0, 0.1, 0.5, -1.5, 5e-324, 1e308, math.inf, -math.inf, math.nan)
INTEGERS = (0, 1, -1, 7, 2**53, 2**53 + 1, 2**63 - 1, -(2**63))
METRICS = ("auc", "loss", "val/f1-score")
MEASURED = (("", ""), ("holdout", ""), ("holdout", "region=EU"), ("test", 'a"]b'))
SEMANTIC_VERSIONS = ("1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-2", "1.0.0-11", "1.0.0",
                     "1.9.0",
                     "1.10.0", "1.10.0+build.1", "2.0.0-rc.1", "10.0.0", "0.0.1")  # fmt: skip
WORDS = ("fraud", "Größe", "churn_model", "old", "v2")
MOMENT = ("2099-12-31T23:59:59.999999Z", 4_102_444_799_999_999)
CUT_CHARACTERS = 128


@dataclass(frozen=True)
class Record:
    """A version as its creator knows it; metrics by name, dataset and slice, evaluated with a time."""

    number: int
    model: str
    digest: str = ""
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[tuple[str, str, str], float] = field(default_factory=dict)
    evaluations: Mapping[tuple[str, str, str], tuple[int, float]] = field(default_factory=dict)
    parameters: Mapping[str, str | float | bool] = field(default_factory=dict)
    datasets: tuple[Mapping[str, str], ...] = ()
    relations: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    framework: str = ""
    dirty: bool | None = None
    semantic_version: str = ""
    creator: str = ""
    create_time: int = 0
    size_bytes: int = 0
    aliases: frozenset[str] = frozenset()
    origin: str = ""
    origin_time: int | None = None
    import_time: int | None = None
    delete_time: int | None = None

    def measures(self, group: str) -> Mapping[tuple[str, str, str], float]:
        """Return `metrics` or the newest of `evaluations`."""
        newest = {key: value for key, (_, value) in self.evaluations.items()}
        return self.metrics if group == "metrics" else newest


@dataclass(frozen=True)
class Term:
    """A part of a filter and what it means."""

    text: str
    passes: Callable[[Record], bool]

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Order:
    """A field to order by: what it is written as, and its value in a record, None when absent."""

    text: str
    value: Callable[[Record], Any]
    descending: bool = False

    def __repr__(self) -> str:
        return f"{self.text}{' desc' * self.descending}"


def quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("*", "\\*")
    return f'"{escaped}"'


def utf8(text: str) -> bytes:
    return text.encode()


def held(values: Iterable[Any], passes: Callable[[Any], bool]) -> bool:
    """Hold when some value that is there passes."""
    return any(passes(value) for value in values if value is not None)


def term(
    text: str, comparator: str, shown: str, values: Callable[[Record], Iterable[Any]], literal: Any
) -> Term:
    compare = OPERATORS[comparator]
    return Term(
        f"{text}{comparator}{shown}", lambda record: held(values(record), lambda each: compare(each, literal))
    )


def texts(path: str, get: Callable[[Record], Iterable[str | None]], literals: tuple[str, ...], *,
          empty: bool = False) -> SearchStrategy[Term]:  # fmt: skip
    """Draw comparisons of a text; an empty one counts as absent unless *empty*."""

    def values(record: Record) -> Iterable[str]:
        return [each for each in get(record) if each is not None and (each or empty)]

    wanted = [each for each in literals if each or empty]
    exact = st.builds(
        lambda comparator, literal: term(
            path, comparator, quoted(literal), lambda record: map(utf8, values(record)), utf8(literal)
        ),
        st.sampled_from(sorted(OPERATORS)),
        st.sampled_from(wanted),
    )
    parts = [each for each in literals if each]

    def pattern(comparator: str, part: str, start: str, end: str) -> Term:
        shown = quoted(part)
        found = {"*": operator.contains, "": str.endswith}[end] if start else str.startswith
        found = found if start or end else operator.eq
        negative = comparator == "!="
        return Term(
            f"{path} {comparator} {shown[0]}{start}{shown[1:-1]}{end}{shown[-1]}",
            lambda record: held(values(record), lambda each: bool(found(each, part)) != negative),
        )

    patterns = st.builds(
        pattern, st.sampled_from(EQUALITIES), st.sampled_from(parts), st.sampled_from(["", "*"]),
        st.sampled_from(["", "*"]),
    )  # fmt: skip
    there = st.just(Term(f"{path}:*", lambda record: bool(values(record))))
    return exact | patterns | there


def numbers(
    path: str, get: Callable[[Record], float | None], literals: tuple[float, ...]
) -> SearchStrategy[Term]:
    def values(record: Record) -> Iterable[float]:
        value = get(record)
        return [] if value is None or is_nan(value) else [value]

    return st.builds(
        lambda comparator, literal: term(path, comparator, f" {literal!r}", values, literal),
        st.sampled_from(sorted(OPERATORS)),
        st.sampled_from([each for each in literals if not is_nan(each)]),
    )


def metrics(group: str) -> SearchStrategy[Term]:
    def of(name: str, measured: tuple[str, str]) -> SearchStrategy[Term]:
        key, path = (name, *measured), metric_path(group, name, measured)
        there = st.just(Term(f"{path}:*", lambda record: key in record.measures(group)))
        named = st.just(
            Term(
                f"{group}:{quoted(name)}",
                lambda record: any(each[0] == name for each in record.measures(group)),
            )
        )
        return numbers(path, lambda record: record.measures(group).get(key), REALS) | there | named

    return st.sampled_from(METRICS).flatmap(
        lambda name: st.sampled_from(MEASURED).flatmap(lambda at: of(name, at))
    )


def metric_path(group: str, name: str, measured: tuple[str, str]) -> str:
    """Write a metric; one without a dataset is meant by its name alone, for each is measured so too."""
    dataset, slice_ = measured
    at = f"@{dataset}" if dataset else ""
    shown = f"[{slice_}]" if slice_ and '"' not in slice_ else f"[{quoted(slice_)}]" if slice_ else ""
    return f"{group}.{quoted(name) if '/' in name else name}{at}{shown}"


def parameters() -> SearchStrategy[Term]:
    """Draw comparisons with a text, a number or a truth value, which compare only with their kind."""

    def compared(name: str, comparator: str, literal: Any) -> Term:
        shown = quoted(literal) if isinstance(literal, str) else str(literal).lower()

        def passes(record: Record) -> bool:
            value = record.parameters.get(name)
            if value is None or is_nan(value):
                return False
            if rank(value) != rank(literal):
                return comparator == "!="
            pair = (utf8(value), utf8(literal)) if isinstance(value, str) else (value, literal)
            return OPERATORS[comparator](*pair)

        return Term(f"parameters.{name} {comparator} {shown}", passes)

    literals = [*TEXTS, *INTEGERS, *(each for each in REALS if not is_nan(each))]
    truths = st.builds(compared, st.just("x"), st.sampled_from(EQUALITIES), st.booleans())
    there = st.just(Term("parameters.x:*", lambda record: "x" in record.parameters))
    rest = st.builds(compared, st.just("x"), st.sampled_from(sorted(OPERATORS)), st.sampled_from(literals))
    prefixes = texts(
        "parameters.x",
        lambda record: [value if isinstance(value := record.parameters.get("x"), str) else None],
        ("risk", LONG),
        empty=True,
    ).filter(lambda each: "*" in each.text and "!=" not in each.text and ":*" not in each.text)
    return truths | there | rest | prefixes


def moments(path: str, get: Callable[[Record], int | None]) -> SearchStrategy[Term]:
    """Draw comparisons with a time long after all that are there."""
    there = st.just(Term(f"{path}:*", lambda record: get(record) is not None))
    shown, literal = MOMENT
    return there | st.sampled_from(sorted(OPERATORS)).map(
        lambda comparator: term(path, comparator, shown, lambda record: [get(record)], literal)
    )


def is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def rank(value: Any) -> int:
    return 0 if isinstance(value, bool) else 2 if isinstance(value, str) else 1


def semantic_versions() -> SearchStrategy[Term]:
    def compared(comparator: str, literal: str) -> Term:
        def passes(record: Record) -> bool:
            value = record.semantic_version
            if not value:
                return False
            if comparator in EQUALITIES:
                return OPERATORS[comparator](value, literal)
            return OPERATORS[comparator](precedence(value), precedence(literal))

        return Term(f"semantic_version {comparator} {literal}", passes)

    return st.builds(compared, st.sampled_from(sorted(OPERATORS)), st.sampled_from(SEMANTIC_VERSIONS))


def precedence(text: str) -> tuple[Any, ...] | None:
    """Return what semver.org orders by, as Python orders it; None for an empty text."""
    if not text:
        return None
    core, _, before = text.partition("+")[0].partition("-")
    identifiers = [
        (0, int(each), "") if each.isdigit() else (1, 0, each) for each in before.split(".") if each
    ]
    return (*map(int, core.split(".")), not before, identifiers)


def words() -> SearchStrategy[Term]:
    def of(text: str, *, prefix: bool) -> Term:
        wanted = split(text)
        shown = f"{text[:3]}*" if prefix else quoted(text)

        def passes(record: Record) -> bool:
            there = {*split(record.description), *split(record.model)}
            if prefix:
                return any(word.startswith(split(text[:3])[0]) for word in there)
            return set(wanted) <= there or all(word in there for word in wanted)

        return Term(shown, passes)

    return st.builds(of, st.sampled_from([*WORDS, "FRAUD", "GRÖSSE", "fraud old"]), prefix=st.booleans())


def split(text: str) -> list[str]:
    folded = unicodedata.normalize("NFC", text.casefold())
    return [word for word in re.split(r"[\W_]+", folded) if word]


def leaves() -> SearchStrategy[Term]:
    latest = st.just(Term("alias = latest", lambda record: "latest" in record.aliases))
    named = texts("alias", lambda record: sorted(record.aliases - {"latest"}), ("champion", "challenger"))
    label = texts("labels.team", lambda record: [record.labels.get("team")], TEXTS, empty=True)
    has_label = st.just(Term("labels:team", lambda record: "team" in record.labels))
    dirty = st.builds(
        lambda wanted: Term(f"source.dirty={wanted}".lower(), lambda record: record.dirty is wanted),
        st.booleans(),
    )
    datasets = st.sampled_from(["name", "role", "uri"]).flatmap(
        lambda member: texts(
            f"datasets.{member}", lambda record: [each.get(member) for each in record.datasets],
            ("train", "holdout", "s3://a"),
        )
    )  # fmt: skip
    return st.one_of(
        metrics("metrics"), metrics("metrics"), metrics("evaluations"), metrics("evaluations"), parameters(),
        semantic_versions(), words(), latest, named, label,
        has_label, dirty, datasets,
        numbers("number", lambda record: record.number, (1, 2.5, 7, 2**63, -(2**64), math.inf)),
        numbers("size_bytes", lambda record: record.size_bytes, (*INTEGERS, 13.5, 14, -math.inf)),
        numbers("file_count", lambda record: len(record.files), (1, 1.5, 2)),
        texts("description", lambda record: [record.description], (*WORDS, LONG)),
        texts("model", lambda record: [record.model], ("fraud", "churn", "f")),
        texts("creator", lambda record: [record.creator], ("ada", "grace")),
        texts("parents.relation", lambda record: record.relations, ("fine-tuned-from", "quantized-from")),
        texts("files.path", lambda record: record.files, ("model.onnx", "data/a", ".onnx")),
        texts("inputs.name", lambda record: record.inputs, ("age", "amount", "a")),
        texts("outputs.type", lambda record: record.outputs, ("int64", "float")),
        st.just(Term("inputs:age", lambda record: "age" in record.inputs)),
        st.just(Term("outputs:*", lambda record: bool(record.outputs))),
        texts("files.role", lambda record: record.files.values(), ("weights", "other")),
        texts("framework.name", lambda record: [record.framework], ("onnx", "sklearn")),
        texts("origin.version", lambda record: [record.origin], ("default/fraud:1", "default/f", ":2")),
        moments("origin.create_time", lambda record: record.origin_time),
        moments("import_time", lambda record: record.import_time),
        moments("delete_time", lambda record: record.delete_time),
        texts("stage", lambda _: ["development"], ("development", "production")),
    )  # fmt: skip


def filters() -> SearchStrategy[Term]:
    def every(parts: list[Term], *, joint: str) -> Term:
        return Term(
            f"({joint.join(map(repr, parts))})", lambda record: all(part.passes(record) for part in parts)
        )

    def some(parts: list[Term]) -> Term:
        return Term(
            f"({' OR '.join(map(repr, parts))})", lambda record: any(part.passes(record) for part in parts)
        )

    def no(part: Term, sign: str) -> Term:
        return Term(f"{sign}({part})", lambda record: not part.passes(record))

    def joined(part: SearchStrategy[Term]) -> SearchStrategy[Term]:
        several = st.lists(part, min_size=2, max_size=3)
        both = st.builds(every, several, joint=st.sampled_from([" AND ", " "]))
        return both | st.builds(some, several) | st.builds(no, part, st.sampled_from(["NOT ", "-", "NOT"]))

    return st.just(Term("", lambda _: True)) | st.recursive(leaves(), joined, max_leaves=6)


ORDERS = (
    Order("number", lambda record: record.number),
    Order("model", lambda record: utf8(record.model)),
    Order("size_bytes", lambda record: record.size_bytes),
    Order("create_time", lambda record: record.create_time),
    Order("digest", lambda record: record.digest),
    Order("creator", lambda record: record.creator),
    Order("metrics.auc", lambda record: comparable(record.metrics.get(("auc", "", "")))),
    Order("metrics.loss@holdout", lambda record: comparable(record.metrics.get(("loss", "holdout", "")))),
    Order("evaluations.auc", lambda record: measured(record, ("auc", "", ""))),
    Order("evaluations.loss@holdout[region=EU]", lambda record: measured(record, ("loss", *MEASURED[2]))),
    Order("origin.version", lambda record: cut(record.origin or None)),
    Order("import_time", lambda record: record.import_time),
    Order("delete_time", lambda record: record.delete_time),
    Order("labels.team", lambda record: cut(record.labels.get("team"))),
    Order("description", lambda record: cut(record.description or None)),
    Order("framework.name", lambda record: record.framework or None),
    Order("semantic_version", lambda record: precedence(record.semantic_version)),
    Order("parameters.x", lambda record: parameter(record.parameters.get("x"))),
)  # fmt: skip


def comparable(value: float | None) -> float | None:
    return None if value is None or is_nan(value) else value


def measured(record: Record, key: tuple[str, str, str]) -> float | None:
    return comparable(record.measures("evaluations").get(key))


def cut(text: str | None) -> bytes | None:
    return None if text is None else utf8(text[:CUT_CHARACTERS])


def parameter(value: Any) -> tuple[int, Any] | None:
    if value is None or is_nan(value):
        return None
    return rank(value), cut(value) if isinstance(value, str) else value


def orders() -> SearchStrategy[list[Order]]:
    one = st.builds(
        lambda order, descending: Order(order.text, order.value, descending),
        st.sampled_from(ORDERS),
        st.booleans(),
    )
    return st.lists(one, max_size=3, unique_by=lambda order: order.text)


def ordered(records: Iterable[Record], by: list[Order]) -> list[Record]:
    """Order records: absent values last, ties by model and number in the direction of the last field."""
    descending = by[-1].descending if by else False
    named = {order.text for order in by}
    ties = [
        Order(order.text, order.value, descending)
        for order in (ORDERS[1], ORDERS[0])
        if order.text not in named
    ]

    def compare(left: Record, right: Record) -> int:
        return reduce(lambda found, order: found or against(order, left, right), [*by, *ties], 0)

    return sorted(records, key=cmp_to_key(compare))


def against(order: Order, left: Record, right: Record) -> int:
    one, other = order.value(left), order.value(right)
    if one is None or other is None:
        return (one is None) - (other is None)
    return ((one > other) - (one < other)) * (-1 if order.descending else 1)
