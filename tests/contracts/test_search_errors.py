"""A filter or order that is wrong says where and what was expected, and nothing that is hostile gets further."""

# ruff: noqa: E501  one row of a table on one line

from __future__ import annotations

from typing import Any

import pytest

from steelyard_server import errors
from steelyard_server.core import manifest, models, versions
from steelyard_server.core.content import Content, File, Metric
from steelyard_server.db.database import Database
from steelyard_server.limits import LIMITS
from tests.contracts.registry import BLOB, FRAUD, act, create, everything

FILTERS = [
    # what does not parse
    ("number =", 9, "a text in quotes or a value"),
    ("number = 1 AND", 15, "a field or word"),
    ("= 3", 1, "a field or word"),
    ("number == 3", 9, "a text in quotes or a value"),
    ("number = 1 = 2", 12, "AND or OR"),
    ("number 3 <", 11, "a value"),
    ("(number = 1", 12, "a closing parenthesis"),
    ("((number = 1)", 14, "a closing parenthesis"),
    ("number = 1)", 11, "an opening parenthesis"),
    ('description = "risk', 15, 'a closing "'),
    ("labels..team = 1", 8, "a field or word"),
    ("a AND OR b", 7, "a field, or a word in quotes"),
    ("a and b", 3, "AND, or the word in quotes"),
    ("NOT NOT a", 5, "a field, or a word in quotes"),
    ("a*b", 2, "a star only at the beginning or end"),
    ('description = "a*b"', 15, "the character itself"),
    ('description = "\\q"', 15, "a back-slash only before"),
    ("number = (1)", 10, "a value"),
    ("duration(number) > 1", 1, "a field"),
    ("create_time > now()", 15, "a field"),
    ("number,digest", 7, "AND or OR"),
    ("a\x00b", 2, "visible text"),
    ("a\x1b[31m", 2, "visible text"),
    ("é = 🦉 AND (", 12, "a closing parenthesis"),
    # what has no such field
    ("nmber = 3", 1, "perhaps number"),
    ("metrcs.auc > 1", 1, "perhaps metrics.auc"),
    ("metrcs.auc@holdout > 1", 1, "perhaps metrics.auc"),
    ("label.team = a", 1, "perhaps labels.team"),
    ("team = a", 1, "labels.NAME, parameters.NAME, metrics.NAME"),
    ("dataset.digest = a", 1, "perhaps datasets.digest"),
    ("size > 10", 1, "perhaps size_bytes"),
    ("xyzzy = 3", 1, "one of number, model"),
    ("xyzzy = 4", 1, "origin.…, labels.NAME"),
    ("number = 1 AND datasets.colour = red", 16, "perhaps datasets."),
    ("name = fraud", 1, "one of number"),
    ("labels.team", 1, "a comparator behind it"),
    ("labels = a", 1, "a dot and the name of a part"),
    ("parents:x", 1, ":* behind it"),
    ("labels.team@holdout = a", 1, "no @"),
    # what does not compare so
    ("number = x", 10, "a number"),
    ("number = 0x10", 10, "a number"),
    ("number = 1_000", 10, "a number"),
    ("number = ١", 10, "a number"),
    ("number = 1*", 10, "a number"),
    ("metrics.auc > high", 15, "a number"),
    ("metrics.auc = NaN", 15, "finds NaN too"),
    ("create_time > yesterday", 15, "a time such as"),
    ("create_time > 2026-13-01", 15, "a time such as"),
    ("create_time > 2026-02-30T00:00:00Z", 15, "a time such as"),
    ("create_time > 2026-01-01T00:00:00", 15, "a time such as"),
    ("create_time > 0000-01-01", 15, "a time such as"),
    ("source.dirty = maybe", 16, "true or false"),
    ("source.dirty > true", 16, "= or != before it"),
    ("parameters.x < true", 16, "= or != before it"),
    ("semantic_version > 1.4", 20, "a semantic version"),
    ('description = ""', 15, "NOT and the field with :*"),
    ("description < fra*", 15, "a text without stars"),
    ("model = default/fraud", 9, "without its namespace"),
    ('"!!!"', 1, "letters or digits"),
]
ORDERS = [
    ("nmber", 1, "perhaps number"),
    ("number,", 8, "a field or word"),
    ("number, , digest", 9, "a field or word"),
    ("number descending", 8, "asc, desc, a comma or the end"),
    ("number DESC", 8, "asc, desc, a comma or the end"),
    ("number desc desc", 13, "a comma or the end"),
    ("number, digest, uid, stage, creator", 29, "the end"),
    ("number, digest, number desc", 17, "another field"),
    ("alias", 1, "a field with one value"),
    ("number, datasets.digest", 9, "a field with one value"),
    ("labels", 1, "a dot behind labels"),
    ("number; DROP TABLE versions", 7, "a comma or the end"),
    ("-number", 1, "a field or word"),
]  # fmt: skip


async def search(database: Database, filter_: str = "", order_by: str = "", **options: Any) -> list[int]:
    page = (
        await database.read(versions.page, model=FRAUD, filter=filter_, order_by=order_by, **options)
    ).entries
    return [version.number for version in page]


@pytest.mark.parametrize(("text", "column", "expected"), FILTERS, ids=[ascii(row[0]) for row in FILTERS])
async def test_a_wrong_filter_is_refused_where_it_is_wrong(
    sqlite: Database, text: str, column: int, expected: str
) -> None:
    with pytest.raises(errors.FilterInvalid) as refused:
        await search(sqlite, text)
    assert refused.value.field == "filter"
    assert refused.value.metadata["column"] == str(column), refused.value.message
    assert expected in refused.value.metadata["expected"]
    assert refused.value.message.startswith(f"Column {column} of `filter`: ")


@pytest.mark.parametrize(("text", "column", "expected"), ORDERS, ids=[ascii(row[0]) for row in ORDERS])
async def test_a_wrong_order_is_refused_where_it_is_wrong(
    sqlite: Database, text: str, column: int, expected: str
) -> None:
    with pytest.raises(errors.OrderByInvalid) as refused:
        await search(sqlite, "", text)
    assert refused.value.field == "order_by"
    assert refused.value.metadata["column"] == str(column), refused.value.message
    assert expected in refused.value.metadata["expected"]
    assert "number, model" in refused.value.metadata["allowed"]


@pytest.fixture
async def sqlite(sqlite_path: Any, opened: Any) -> Database:
    """Make a registry on one database: what does not parse never reaches it."""
    from tests.contracts.registry import found

    database: Database = await opened(sqlite_path)
    await found(database)
    return database


DEEP = LIMITS.filter_depth
LARGE = [
    ("1 MB of a word", "a" * (1 << 20), errors.TooLong),
    ("1 MB of quotes", '"' * (1 << 20), errors.TooLong),
    ("deep by one", "(" * (DEEP + 1) + "a" + ")" * (DEEP + 1), errors.FilterInvalid),
    ("8 KB of open parentheses", "(" * LIMITS.filter_bytes, errors.FilterInvalid),
    ("8 KB of closed parentheses", ")" * LIMITS.filter_bytes, errors.FilterInvalid),
    ("8 KB of NOT", "NOT " * (LIMITS.filter_bytes // 4), errors.FilterInvalid),
    ("8 KB of minus", "-" * LIMITS.filter_bytes, errors.FilterInvalid),
    ("8 KB of quotes", '"' * LIMITS.filter_bytes, errors.FilterInvalid),
    ("8 KB of brackets", "[" * LIMITS.filter_bytes, errors.FilterInvalid),
    ("8 KB of dots", "a" + "." * (LIMITS.filter_bytes - 1), errors.FilterInvalid),
    ("8 KB of back-slashes", '"' + "\\" * (LIMITS.filter_bytes - 2) + '"', errors.FilterInvalid),
    ("8 KB of empty parentheses", "()" * (LIMITS.filter_bytes // 2), errors.FilterInvalid),
    ("too many terms", " ".join("a" for _ in range(LIMITS.filter_terms_count + 1)), errors.FilterInvalid),
    ("too many words in quotes", '"' + " ".join(map(str, range(LIMITS.filter_terms_count + 1))) + '"', errors.FilterInvalid),
    ("8 KB of words in quotes", '"' + "a " * (LIMITS.filter_bytes // 2 - 1) + '"', errors.FilterInvalid),
    ("too many digits", "number = " + "9" * 8000 + "x", errors.FilterInvalid),
]  # fmt: skip


@pytest.mark.parametrize(("text", "error"), [row[1:] for row in LARGE], ids=[row[0] for row in LARGE])
async def test_what_is_too_large_or_too_deep_is_refused_at_once(
    sqlite: Database, text: str, error: type[errors.RegistryError]
) -> None:
    with pytest.raises(error) as refused:
        await search(sqlite, text)
    assert len(refused.value.message) < 400


def nested(depth: int, *, negated: int) -> str:
    """Make a filter that changes between AND and OR at each of its parentheses, and negates every so often."""
    text = "labels.a = x files.path = y alias = latest"
    for level in range(depth):
        joint = "number > 0 AND" if level % 2 else "number = 2 OR"
        text = f"{joint} {'NOT ' * (level % negated == 0)}({text})"
    return text


async def test_a_filter_of_the_greatest_depth_and_size_is_answered(registry: Database) -> None:
    await create(registry, 1)
    terms = LIMITS.filter_terms_count
    assert await search(registry, "(" * DEEP + "number = 1" + ")" * DEEP) == [1]
    assert await search(registry, "NOT (" * DEEP + "number = 1" + ")" * DEEP) == [1]
    for negated in (1, 2, 3, DEEP + 1):
        assert await search(registry, nested(DEEP, negated=negated)) in ([], [1])
    for joint in (" AND ", " OR ", " "):
        assert await search(registry, joint.join(f"NOT labels.a{each} = x" for each in range(terms))) == [1]
    assert (
        await search(
            registry, " OR ".join(f"metrics.a{each}@b > 0 files.path=c" for each in range(terms // 2))
        )
        == []
    )
    assert await search(registry, '"' + " ".join(f"w{each}" for each in range(terms)) + '"') == []
    assert await search(registry, "number < " + "9" * 8000) == [1]
    assert await search(registry, "metrics.a:* OR number < 1e999999999") == [1]


HOSTILE = [
    "'",
    "';--",
    "' OR '1'='1",
    "x'); DROP TABLE versions; --",
    "%(name)s",
    ":name",
    "%",
    "%s",
    "{}",
    "\\",
    "$1",
    "?",
    "\u2028",
    "\U0010ffff",
    "\ue000",
    "a" * 5000,
]


async def test_what_looks_like_sql_is_a_text_like_any_other(registry: Database) -> None:
    for text in HOSTILE:
        draft = models.Draft(description=text, labels={"team": text[:4000], "x'y": "z"})
        await registry.write(models.modify, act(), name=FRAUD, draft=draft, mask=None)
    for seed, text in enumerate(HOSTILE):
        await create(registry, seed, description=text, labels={"team": text[:4000]})
    before = await registry.read(everything)
    for seed, text in enumerate(HOSTILE, start=1):
        shown = text.replace("\\", "\\\\").replace('"', '\\"')
        assert await search(registry, f'description = "{shown}"') == [seed]
        assert await search(registry, f'labels.team = "{shown[:4000]}"') == [seed]
        assert seed in await search(registry, f'description = "{shown}*"')
        assert seed in await search(registry, f'description = "*{shown}*"', "labels.team, description desc")
        assert await search(registry, f'labels."{shown[:200]}" = x OR metrics."{shown[:200]}" > 1') == []
        assert await search(registry, "", f'labels."{shown[:200]}", metrics."{shown[:200]}"@"{shown[:200]}"')
    assert await registry.read(everything) == before


def positions() -> list[Any]:
    """List what whoever computes a checksum may put into a page token."""
    values: list[Any] = [None, "1", 1.5, True, -(2**63) - 1, 2**63, [], {}, float("nan")]
    return [
        [], [[]], [[], 0], [[], 1, 1], [[], -1, 1], [[], True, 1], [[], "0", 1], [0, 0, 1], [None, 0, 1],
        *([[], 0, value] for value in values), [[], 0, 1, 1],
    ]  # fmt: skip


async def test_a_forged_position_is_refused(registry: Database) -> None:
    await create(registry, 1, description="a")
    for position in positions():
        with pytest.raises(errors.PageTokenInvalid):
            await search(registry, after=position)
    for text in ("\0", "\ud800", 1, None):
        with pytest.raises(errors.PageTokenInvalid):
            await search(registry, "", "description", after=[[], 0, text, 1])
    for choice in ([], [["a"]], [["a", 1]], ["ab"], [["\0", ""]], [["\udfff", ""]], [None]):
        with pytest.raises(errors.PageTokenInvalid):
            await search(registry, "metrics.auc > 1", after=[choice, 0, 1])


async def measure(database: Database, *metrics: Metric, seed: int) -> None:
    content = Content(files=(File(f"f{seed}", *BLOB),), metrics=metrics)
    await database.write(
        versions.create, act(), model=FRAUD, built=manifest.build(content), draft=versions.Draft()
    )


async def test_a_metric_without_a_dataset_means_the_only_one_or_is_refused_with_the_choices(
    registry: Database,
) -> None:
    for order in ("", "metrics.auc desc"):
        assert await search(registry, "metrics.auc > 0", order) == []
    await measure(registry, Metric("auc", "holdout", "region=EU", 0.5), seed=1)
    for order in ("", "metrics.auc desc"):
        assert await search(registry, "metrics.auc > 0", order) == [1]
    await measure(registry, Metric("auc", "test set", 'a"]b', 0.6), Metric("f1", "holdout", "", 1), seed=2)
    for filter_, order, field in (
        ("number > 0 metrics.auc > 0", "", "filter"),
        ("", "number, metrics.auc", "order_by"),
    ):
        with pytest.raises(errors.MetricAmbiguous) as refused:
            await search(registry, filter_, order)
        choices = 'metrics.auc@holdout[region=EU], metrics.auc@"test set"["a\\"]b"]'
        assert refused.value.metadata == {
            "column": str((filter_ or order).index("metrics") + 1),
            "choices": choices,
        }
        assert refused.value.field == field
        for number, choice in enumerate(choices.split(", "), start=1):
            assert await search(registry, f"{choice} > 0", f"{choice} desc") == [number]
    assert await search(registry, "metrics.f1 > 0") == [2]
    await measure(registry, Metric("auc", "", "", 0.7), seed=3)
    assert await search(registry, "metrics.auc > 0", "metrics.auc") == [3]


async def test_many_choices_are_cut(registry: Database) -> None:
    await measure(registry, *(Metric("auc", f"d{each:02}", "", 1) for each in range(30)), seed=1)
    with pytest.raises(errors.MetricAmbiguous) as refused:
        await search(registry, "metrics.auc > 0")
    assert refused.value.metadata["choices"].count("@") == 10
    assert refused.value.message.endswith("metrics.auc@d09 …")


async def test_the_next_pages_mean_the_metric_that_the_first_one_meant(registry: Database) -> None:
    """Another dataset that comes in between must neither end the list nor change what it is about."""
    for seed in range(4):
        await measure(registry, Metric("auc", "holdout", "", seed), seed=seed)
    listed: list[int] = []
    after: Any = None
    while after is not None or not listed:
        answer = await registry.read(
            versions.page,
            model=FRAUD,
            filter="metrics.auc >= 0",
            order_by="metrics.auc desc",
            after=after,
            page_size=1,
        )
        page, after = answer.entries, answer.position
        listed += [version.number for version in page]
        await measure(
            registry,
            Metric("auc", f"other {len(listed)}", "", 9),
            Metric("auc", "", "", 9),
            seed=9 + len(listed),
        )
    assert listed == [4, 3, 2, 1]
