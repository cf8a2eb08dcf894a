"""Comparisons say what a plain reading of the same versions says, on both databases."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steelyard_server import errors
from steelyard_server.core import comparisons, evaluations, manifest, models, namespaces, versions
from steelyard_server.core.comparisons import Comparison, MetricSelector
from steelyard_server.core.content import (
    Content,
    Dataset,
    File,
    Metric,
    Parameter,
    Schema,
    SchemaField,
)
from steelyard_server.core.file_differences import FileTotals
from steelyard_server.core.references import Reference
from steelyard_server.db.database import Database
from steelyard_server.limits import LIMITS
from tests.contracts.registry import BLOB, FRAUD, act, create, number

HIGHER, LOWER = "higher-is-better", "lower-is-better"
DIGESTS = ("", "sha256:" + "a" * 64, "sha256:" + "b" * 64)
NUMBERS = st.sampled_from((0.0, -0.0, 1.0, 2.5, math.nan, math.inf, -math.inf))
NAMES = st.sampled_from(("a", "b", "c"))
KEYS = st.tuples(NAMES, st.sampled_from((("", ""), ("x", ""), ("x", "s"), ("y", ""))))
METRICS = st.dictionaries(KEYS, NUMBERS, max_size=5).map(
    lambda found: tuple(Metric(name, *place, value) for (name, place), value in found.items())
)
DATASETS = st.dictionaries(
    st.tuples(st.sampled_from(("x", "y")), st.sampled_from(("", "test"))),
    st.sampled_from(DIGESTS),
    max_size=3,
).map(lambda found: tuple(Dataset(name, role=role, digest=each) for (name, role), each in found.items()))
PARAMETERS = st.dictionaries(
    NAMES, st.sampled_from((1, 1.0, True, "1", 0, False, math.nan, -0.0, 0.0)), max_size=3
).map(lambda found: tuple(Parameter(name, value) for name, value in found.items()))
# All external: any digest and size will do, also none.
FILES = st.dictionaries(
    st.sampled_from(("a", "a.bin", "d/é", "z")),
    st.tuples(
        st.sampled_from(DIGESTS),
        st.sampled_from((0, 5)),
        st.sampled_from(("other", "doc")),
        st.sampled_from(("u", "v")),
    ),
    min_size=1,
    max_size=4,
).map(
    lambda found: tuple(
        File(path, digest, size_bytes=size, role=role, uri=uri)
        for path, (digest, size, role, uri) in found.items()
    )
)
FIELDS = st.dictionaries(NAMES, st.sampled_from((("f", ()), ("f", (-1,)), ("i", ()))), max_size=2).map(
    lambda found: tuple(SchemaField(name, kind, shape=shape) for name, (kind, shape) in found.items())
)
SCHEMAS = st.none() | st.builds(Schema, FIELDS, FIELDS)
CONTENTS = st.builds(
    Content, files=FILES, parameters=PARAMETERS, metrics=METRICS, datasets=DATASETS, schema=SCHEMAS
)
EVALUATED = st.lists(st.tuples(METRICS.filter(bool), DATASETS), max_size=2)


@dataclass(frozen=True)
class Made:
    """A version as a test made it, with what was measured on it later, oldest first."""

    content: Content
    evaluated: Sequence[tuple[tuple[Metric, ...], tuple[Dataset, ...]]] = ()


async def make(
    database: Database, model: str, *made: Made, directions: Mapping[str, str] | None = None
) -> None:
    """Create a model with these versions."""
    draft = models.Draft(metric_directions=directions)
    await database.write(models.create, act(), name=model, draft=draft)
    for place, each in enumerate(made, start=1):
        built = manifest.build(each.content)
        await database.write(versions.create, act(), model=model, built=built, draft=versions.Draft())
        for metrics, datasets in each.evaluated:
            drafted = evaluations.Draft(metrics, datasets)
            reference = number(place, model=model)
            await database.write(evaluations.record, act(), reference=reference, draft=drafted)


async def compare(database: Database, *wanted: Reference, **options: Any) -> Comparison:
    return await database.read(comparisons.compare, namespace="default", wanted=wanted, **options)


async def compare_all(database: Database, model: str, count: int, **options: Any) -> Comparison:
    references = (number(place, model=model) for place in range(1, count + 1))
    return await compare(database, *references, **options)


def unlike(values: Sequence[object]) -> bool:
    return len({repr(value) for value in values}) > 1


def expected_metrics(made: Sequence[Made], *, directions: Mapping[str, str]) -> list[tuple[object, ...]]:
    """Compare metrics as a reader of the definition would."""
    found = []
    for evaluated in (False, True):
        sides = [side_of(each, evaluated=evaluated) for each in made]
        for key in sorted({key for side in sides for key in side}):
            entries = [side.get(key) for side in sides]
            known = {digests for each in entries if each and (digests := each[1])}
            numbers = [each[0] for each in entries if each and not math.isnan(each[0])]
            best: set[float] = set()
            if key[0] in directions and len(numbers) >= 2 and len(known) <= 1:
                best = {max(numbers) if directions[key[0]] == HIGHER else min(numbers)}
            values = [each[0] if each else None for each in entries]
            marks = [value in best if value is not None else False for value in values]
            found.append((evaluated, *key, repr(values), marks, len(known) > 1))
    return found


def side_of(made: Made, *, evaluated: bool) -> dict[tuple[str, str, str], tuple[float, tuple[str, ...]]]:
    """Return value and known digests of each metric of one version; what comes later supersedes."""
    measured = made.evaluated if evaluated else [(made.content.metrics, made.content.datasets)]
    return {
        (each.name, each.dataset, each.slice): (
            each.value,
            tuple(sorted({set_.digest for set_ in datasets if set_.name == each.dataset and set_.digest})),
        )
        for metrics, datasets in measured
        for each in metrics
    }


def expected_parameters(made: Sequence[Made]) -> list[tuple[str, str]]:
    sides = [{each.name: each for each in one.content.parameters} for one in made]
    rows = [
        (name, [side.get(name) for side in sides])
        for name in sorted({name for side in sides for name in side})
    ]
    return [(name, repr(values)) for name, values in rows if unlike(values)]


def file_identity(file: File | None) -> object:
    return file and (file.role, file.size_bytes, file.digest or file.uri)


def expected_files(made: Sequence[Made]) -> list[tuple[object, ...]]:
    sides = [{each.path: each for each in one.content.files} for one in made]
    found = []
    for path in sorted({path for side in sides for path in side}, key=str.encode):
        files = [side.get(path) for side in sides]
        if unlike([file_identity(each) for each in files]):
            first, last = files[0], files[-1]
            same = file_identity(first) == file_identity(last)
            change = "" if same else "added" if first is None else "removed" if last is None else "changed"
            found.append((path, tuple(files), change))
    return found


def expected_totals(made: Sequence[Made]) -> list[FileTotals]:
    base = {each.path: each for each in made[0].content.files}
    totals = []
    for one in made:
        side = {each.path: each for each in one.content.files}
        added = [each.size_bytes for path, each in side.items() if path not in base]
        removed = [each.size_bytes for path, each in base.items() if path not in side]
        changed = [
            each.size_bytes
            for path, each in side.items()
            if path in base and file_identity(each) != file_identity(base[path])
        ]
        counts = (len(added), sum(added), len(removed), sum(removed), len(changed), sum(changed))
        totals.append(FileTotals(*counts))
    return totals


def expected_datasets(made: Sequence[Made]) -> list[tuple[object, ...]]:
    sides = [{(each.role, each.name): each for each in one.content.datasets} for one in made]
    rows = [
        (key, tuple(side.get(key) for side in sides))
        for key in sorted({key for side in sides for key in side})
    ]
    return [(*key, values) for key, values in rows if unlike(values)]


def expected_fields(made: Sequence[Made]) -> set[tuple[object, ...]]:
    found = set()
    for output in (False, True):
        schemas = [one.content.schema or Schema() for one in made]
        sides = [{each.name: each for each in (one.outputs if output else one.inputs)} for one in schemas]
        for name in {name for side in sides for name in side}:
            values = tuple(side.get(name) for side in sides)
            if unlike(values):
                found.add((output, name, values))
    return found


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    made=st.lists(
        st.builds(Made, CONTENTS, EVALUATED),
        min_size=2,
        max_size=4,
        unique_by=lambda each: manifest.build(each.content).digest,
    ),
    directions=st.dictionaries(NAMES, st.sampled_from((HIGHER, LOWER))),
)
async def test_a_comparison_is_what_a_plain_reading_gives(
    registry: Database, made: list[Made], directions: dict[str, str]
) -> None:
    model = f"default/{uuid.uuid4().hex}"
    await make(registry, model, *made, directions=directions)
    found = await compare_all(registry, model, len(made))

    assert [
        (
            each.evaluated,
            each.name,
            each.dataset,
            each.slice,
            repr(list(each.values)),
            list(each.best),
            each.dataset_mismatch,
        )
        for each in found.metrics
    ] == expected_metrics(made, directions=directions)
    assert all(each.direction == directions.get(each.name, "") for each in found.metrics)
    assert [(each.name, repr(list(each.parameters))) for each in found.parameters] == expected_parameters(
        made
    )
    assert [(each.path, each.files, each.change) for each in found.files.files] == expected_files(made)
    assert found.files.count == len(expected_files(made))
    assert list(found.files.totals) == expected_totals(made)
    assert [(each.role, each.name, each.datasets) for each in found.datasets] == expected_datasets(made)
    fields = [(each.output, each.name, each.fields) for each in found.schema_fields]
    assert set(fields) == expected_fields(made)
    assert [each[0] for each in fields] == sorted(each[0] for each in fields)
    assert [version.number for version in found.versions] == list(range(1, len(made) + 1))


def measured(*values: float, name: str = "f1", digests: Sequence[str] = ()) -> list[Made]:
    """Make versions that have one metric on the dataset `x`, with these digests of it."""
    digests = digests or [""] * len(values)
    return [
        Made(
            Content(
                files=(File("a", BLOB[0], BLOB[1]),),
                parameters=(Parameter("seed", seed),),
                metrics=(Metric(name, "x", "", value),),
                datasets=(Dataset("x", digest=digest),),
            )
        )
        for seed, (value, digest) in enumerate(zip(values, digests, strict=True))
    ]


A, B = DIGESTS[1:]
BEST: list[tuple[str, list[Made], dict[str, str], list[bool]]] = [
    ("the highest", measured(1, 3, 2), {"f1": HIGHER}, [False, True, False]),
    ("the lowest", measured(1, 3, 2), {"f1": LOWER}, [True, False, False]),
    ("no direction", measured(1, 3), {}, [False, False]),
    ("the direction of another", measured(1, 3), {"f": HIGHER, "f1@x": HIGHER}, [False, False]),
    ("equal ones", measured(3, 3, 2), {"f1": HIGHER}, [True, True, False]),
    ("zero and minus zero", measured(0.0, -0.0), {"f1": HIGHER}, [True, True]),
    ("NaN is none", measured(1, math.nan), {"f1": HIGHER}, [False, False]),
    ("NaN beside two", measured(1, math.nan, 2), {"f1": HIGHER}, [False, False, True]),
    ("infinity is a number", measured(1, math.inf), {"f1": HIGHER}, [False, True]),
    ("other data", measured(1, 3, digests=(A, B)), {"f1": HIGHER}, [False, False]),
    ("the same data", measured(1, 3, digests=(A, A)), {"f1": HIGHER}, [False, True]),
    ("data of one is not known", measured(1, 3, digests=(A, "")), {"f1": HIGHER}, [False, True]),
]


@pytest.mark.parametrize(
    ("made", "directions", "best"), [each[1:] for each in BEST], ids=[each[0] for each in BEST]
)
async def test_the_best_is_marked(
    registry: Database, made: list[Made], directions: dict[str, str], best: list[bool]
) -> None:
    await make(registry, "default/best", *made, directions=directions)
    (metric,) = (await compare_all(registry, "default/best", len(made))).metrics
    assert list(metric.best) == best


async def test_models_that_disagree_on_a_direction_leave_nothing_best_and_silent_ones_follow(
    registry: Database,
) -> None:
    for name, direction in (("up", HIGHER), ("down", LOWER), ("silent", None)):
        directions = {"f1": direction} if direction else {}
        await make(registry, f"default/{name}", *measured(1, 2), directions=directions)
    up, down, silent = (number(1, model=f"default/{name}") for name in ("up", "down", "silent"))
    for wanted, expected in (
        ((up, silent), HIGHER),
        ((silent, down), LOWER),
        ((up, down), ""),
        ((up, down, silent), ""),
    ):
        (metric,) = (await compare(registry, *wanted)).metrics
        assert metric.direction == expected
        assert any(metric.best) == bool(expected)


async def test_evaluations_on_other_data_of_one_name_do_not_compare(registry: Database) -> None:
    made = measured(1, 2, digests=(A, A))
    later = [(Metric("f1", "x", "", 3.0),), (Metric("f1", "x", "", 4.0),)]
    stated = [
        replace(each, evaluated=[(metrics, (Dataset("x", digest=digest),))])
        for each, metrics, digest in zip(made, later, (A, B), strict=True)
    ]
    await make(registry, "default/later", *stated, directions={"f1": HIGHER})
    trained, evaluated = (await compare_all(registry, "default/later", 2)).metrics
    assert (trained.dataset_mismatch, trained.best) == (False, (False, True))
    assert (evaluated.dataset_mismatch, evaluated.best, evaluated.values) == (
        True,
        (False, False),
        (3.0, 4.0),
    )
    # Measured again, on the same data: the digests are those of the measures that count.
    again = evaluations.Draft(later[1], (Dataset("x", digest=A),))
    await registry.write(evaluations.record, act(), reference=number(2, model="default/later"), draft=again)
    evaluated = (await compare_all(registry, "default/later", 2)).metrics[1]
    assert (evaluated.dataset_mismatch, evaluated.best) == (False, (False, True))


async def test_only_selected_metrics_are_compared(registry: Database) -> None:
    keys = [("a", "", ""), ("a", "x", ""), ("a", "x", "s"), ("a", "y", ""), ("b", "x", "")]
    metrics = tuple(Metric(*key, 1.0) for key in keys)
    await make(
        registry,
        "default/many",
        *(Made(replace(each.content, metrics=metrics), [(metrics, ())]) for each in measured(1, 2)),
    )
    for selector, expected in (
        (MetricSelector("a"), keys[:4]),
        (MetricSelector("a", "x"), keys[1:3]),
        (MetricSelector("a", "x", "s"), keys[2:3]),
        (MetricSelector("none"), []),
    ):
        found = await compare_all(registry, "default/many", 2, selectors=[selector])
        assert [(each.name, each.dataset, each.slice) for each in found.metrics] == expected * 2
    both = [MetricSelector("b"), MetricSelector("a", "y")]
    found = await compare_all(registry, "default/many", 2, selectors=both)
    assert [each.name for each in found.metrics] == ["a", "b"] * 2


async def test_parameters_of_another_type_differ_and_nan_is_like_itself(registry: Database) -> None:
    pairs = {
        "bool": (1, True),
        "real": (1, 1.0),
        "text": ("1", 1.0),
        "zero": (0.0, -0.0),
        "nan": (math.nan, math.nan),
    }
    file = File("a", BLOB[0], BLOB[1])
    sides = [
        Content(files=(file,), parameters=tuple(Parameter(name, pair[side]) for name, pair in pairs.items()))
        for side in (0, 1)
    ]
    await make(registry, "default/types", *map(Made, sides))
    found = await compare_all(registry, "default/types", 2)
    assert [each.name for each in found.parameters] == ["bool", "real", "text", "zero"]


FILE = File("a", "", size_bytes=5, uri="s3://u")
ALIKE: list[tuple[str, File, File, bool]] = [
    ("bytes", replace(FILE, digest=A), replace(FILE, digest=B), False),
    ("role", FILE, replace(FILE, role="doc"), False),
    ("size", FILE, replace(FILE, size_bytes=6), False),
    ("address, and no digest", FILE, replace(FILE, uri="s3://v"), False),
    ("digest known of one", FILE, replace(FILE, digest=A), False),
    ("address, of one digest", replace(FILE, digest=A), replace(FILE, digest=A, uri="s3://v"), True),
    ("place of one digest", replace(FILE, digest=BLOB[0], size_bytes=BLOB[1]), File("a", *BLOB), True),
]


@pytest.mark.parametrize(
    ("first", "second", "alike"), [each[1:] for each in ALIKE], ids=[each[0] for each in ALIKE]
)
async def test_files_are_alike_by_bytes_and_role(
    registry: Database, first: File, second: File, *, alike: bool
) -> None:
    sides = ((first, 1), (second, 2))
    made = (Made(Content(files=(file,), parameters=(Parameter("seed", seed),))) for file, seed in sides)
    await make(registry, "default/alike", *made)
    found = (await compare_all(registry, "default/alike", 2)).files
    assert [each.change for each in found.files] == ([] if alike else ["changed"])
    assert found.totals[1].changed_count == found.count == (0 if alike else 1)
    assert found.totals[1].changed_bytes == (0 if alike else second.size_bytes)


async def test_a_bounded_number_of_files_is_listed_and_all_are_counted(
    registry: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LIMITS, "compared_files_count", 3)
    sides = [
        tuple(File(f"{side}{n:02}", uri=f"s3://{n}", digest="", size_bytes=n) for n in range(9))
        for side in "ab"
    ]
    await make(registry, "default/files", *(Made(Content(files=side)) for side in sides))
    found = (await compare_all(registry, "default/files", 2)).files
    assert [(each.path, each.change) for each in found.files] == [
        ("a00", "removed"),
        ("a01", "removed"),
        ("a02", "removed"),
    ]
    assert found.count == 18
    assert found.totals[1] == FileTotals(9, 36, 9, 36, 0, 0)


async def test_what_cannot_be_compared_is_refused_for_its_reason(registry: Database) -> None:
    for seed in range(3):
        await create(registry, seed)
    await registry.write(namespaces.create, act(), name="other")
    latest = Reference(FRAUD, "alias", "latest", "versions[1]")
    refused: list[tuple[list[Reference], type[errors.RegistryError], str]] = [
        ([], errors.OutOfBounds, "versions"),
        ([number(1)], errors.OutOfBounds, "versions"),
        ([number(1)] * 21, errors.LimitExceeded, "versions"),
        ([number(3), latest], errors.DuplicateKey, "versions[1]"),
        ([number(1), number(1, model="other/fraud")], errors.ResourceMismatch, "version.model"),
        ([number(1), number(9)], errors.VersionNotFound, ""),
    ]
    for wanted, error, field in refused:
        with pytest.raises(error) as raised:
            await compare(registry, *wanted)
        assert raised.value.field == field
    with pytest.raises(errors.FieldRequired):
        await compare(registry, number(1), number(2), selectors=[MetricSelector("")])
