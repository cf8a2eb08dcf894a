"""A comparison as sections of rows with a cell for each version: what table and page have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from steelyard.cli import output, values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from steelyard import Comparison, Version
    from steelyard.comparison import FileComparison, MetricComparison
    from steelyard.content import Dataset, SchemaField, Source
    from steelyard.types import File

Item = TypeVar("Item")
Mark = Literal["", "best", "added", "removed", "changed", "missing"]

ARROWS = {"higher-is-better": "↑", "lower-is-better": "↓", "": ""}
MISSING = "-"


@dataclass(frozen=True)
class Cell:
    """What one version has.

    Args:
        text: for people.
        exact: for programs, where that differs.
        mark: why it stands out.
    """

    text: str
    exact: str = ""
    mark: Mark = ""


@dataclass(frozen=True)
class Row:
    """One thing that is compared.

    Args:
        note: what a reader must know beside the cells.
        values: numbers to draw, None where there is none.
        implied: whether title and heads of columns say the same.
    """

    name: str
    cells: tuple[Cell, ...]
    note: str = ""
    values: tuple[float | None, ...] = ()
    implied: bool = False


@dataclass(frozen=True)
class Section:
    """Rows of one kind; `kind` begins their lines in a pipe, `omitted` counts those that are not there."""

    kind: str
    title: str
    rows: tuple[Row, ...]
    omitted: int = 0


def sections(comparison: Comparison) -> list[Section]:
    """Return all sections, the versions first; one without rows is left out."""
    omitted = comparison.omitted
    evaluated = [each for each in comparison.metrics if each.evaluated]
    trained = [each for each in comparison.metrics if not each.evaluated]
    # The last are left out first, and evaluations come last: where there are some, all before them is there.
    cut = omitted.get("metrics", 0)
    fields = [(each.output, each.name, each.fields) for each in comparison.schema_fields]
    found = [
        Section("version", f"Versions{_of_model(comparison)}", tuple(_facts(comparison))),
        Section("metric", "Metrics", tuple(map(_metric, trained)), 0 if evaluated else cut),
        Section("evaluation", "Newest evaluations", tuple(map(_metric, evaluated)), cut if evaluated else 0),
        Section(
            "parameter",
            "Parameters that differ",
            tuple(Row(each.name, _cells(each.values, _parameter)) for each in comparison.parameters),
            omitted.get("parameters", 0),
        ),
        Section(
            "file",
            "Files that differ",
            tuple(Row(each.path, tuple(_files(each)), each.change) for each in comparison.files),
            omitted.get("files", 0),
        ),
        Section(
            "dataset",
            "Datasets that differ",
            tuple(
                Row(f"{each.role} {each.name}".strip(), _cells(each.datasets, _dataset))
                for each in comparison.datasets
            ),
            omitted.get("datasets", 0),
        ),
        Section(
            "schema",
            "Inputs and outputs that differ",
            tuple(
                Row(f"{'output' if is_output else 'input'} {name}", _cells(each, _field))
                for is_output, name, each in fields
            ),
            omitted.get("schema_fields", 0),
        ),
        Section(
            "ancestor",
            "Ancestors in common",
            tuple(
                Row(each.uri or each.digest, _descends(each.descendants, count=len(comparison.versions)))
                for each in comparison.shared_ancestors
            ),
            omitted.get("shared_ancestors", 0),
        ),
    ]
    return [each for each in found if each.rows or each.omitted]


def _of_model(comparison: Comparison) -> str:
    """Name the model, if it is one."""
    models = {version.model for version in comparison.versions}
    return f" of {models.pop()}" if len(models) == 1 else ""


def _facts(comparison: Comparison) -> Iterator[Row]:
    """Yield what stands around the versions, where one of them has it."""
    facts = [_stated(version) for version in comparison.versions]
    for name in facts[0]:
        texts = [stated[name] for stated in facts]
        if any(texts):
            cells = tuple(Cell(text or MISSING, mark="" if text else "missing") for text in texts)
            yield Row(name, cells, implied=name == "reference" and bool(_of_model(comparison)))
    # Not how long ago: a page is read later.
    times = (f"{each.create_time:%Y-%m-%d %H:%M}" for each in comparison.versions)
    yield Row("created (UTC)", tuple(map(Cell, times)))
    yield Row("by", tuple(Cell(output.actor(each.creator)) for each in comparison.versions))
    sizes = [f"{each.file_count:,}, {output.size(each.size_bytes)}" for each in comparison.versions]
    yield Row("files", tuple(map(Cell, sizes)))
    if any(each.added_count + each.removed_count + each.changed_count for each in comparison.file_totals):
        yield Row("against the first", tuple(map(Cell, _changes(comparison))))


def _stated(version: Version) -> dict[str, str]:
    framework = version.framework
    return {
        "reference": str(version),
        "semantic version": version.semantic_version,
        "aliases": ", ".join(version.aliases),
        "stage": version.stage,
        "labels": ", ".join(f"{key}={value}" for key, value in version.labels.items()),
        "framework": f"{framework.name} {framework.version}".strip() if framework else "",
        **_source(version.source),
    }


def _source(source: Source | None) -> dict[str, str]:
    if source is None:
        return dict.fromkeys(("repository", "commit", "run", "pipeline"), "")
    return {
        "repository": source.repository,
        "commit": source.commit[:12] + (" with changes" if source.dirty else ""),
        "run": source.run,
        "pipeline": source.pipeline,
    }


def _changes(comparison: Comparison) -> Iterator[str]:
    for each in comparison.file_totals:
        counts = (("+", each.added_count), ("-", each.removed_count), ("~", each.changed_count))
        texts = [f"{sign}{count:,}" for sign, count in counts if count]
        new_bytes = each.added_bytes + each.changed_bytes
        yield " ".join(texts) + (f", {output.size(new_bytes)} new" if new_bytes else "") if texts else "same"


def _metric(each: MetricComparison) -> Row:
    texts = iter(output.numbers([value for value in each.values if value is not None]))
    cells = tuple(
        Cell(MISSING, mark="missing")
        if value is None
        else Cell(next(texts), repr(value), mark="best" if best else "")
        for value, best in zip(each.values, each.best, strict=True)
    )
    note = "measured on different data" if each.dataset_mismatch else ARROWS[each.direction]
    return Row(each.metric, cells, note, each.values)


def _cells(values: Sequence[Item | None], write: Callable[[Item], str]) -> tuple[Cell, ...]:
    """Write one thing of each version; what is not as in the first stands out."""
    texts = [None if value is None else write(value) for value in values]
    return tuple(_cell(text, first=texts[0]) for text in texts)


def _cell(text: str | None, *, first: str | None) -> Cell:
    if text is None:
        return Cell(MISSING, mark="missing")
    return Cell(text, mark="" if text == first else "changed")


def _parameter(value: object) -> str:
    """Write a parameter as `-p` takes it: a text that would be read as something else is in quotes."""
    if isinstance(value, str):
        return value if values.is_text(value) else f'"{value}"'
    return str(value).lower() if isinstance(value, bool) else str(value)


def _dataset(dataset: Dataset) -> str:
    texts = (dataset.version, output.short(dataset.digest), dataset.uri)
    return " ".join(text for text in texts if text) or "named only"


def _field(field: SchemaField) -> str:
    shape = str(list(field.shape)) if field.shape else ""
    return f"{field.type}{shape}{' optional' if field.optional else ''}"


def _files(each: FileComparison) -> Iterator[Cell]:
    first = each.files[0]
    for file in each.files:
        if file is None:
            yield Cell(MISSING, mark="missing" if first is None else "removed")
            continue
        mark: Mark = "added" if first is None else "" if _alike(file, first) else "changed"
        text = f"{output.size(file.size_bytes)} {output.short(file.digest)[7:] or file.uri}"
        yield Cell(text, f"{file.size_bytes} {file.digest or file.uri}", mark)


def _alike(file: File, first: File) -> bool:
    sides = ((each.role, each.size_bytes, each.digest or each.uri) for each in (file, first))
    return len(set(sides)) == 1


def _descends(places: Sequence[int], *, count: int) -> tuple[Cell, ...]:
    return tuple(Cell("yes") if place in places else Cell(MISSING, mark="missing") for place in range(count))
