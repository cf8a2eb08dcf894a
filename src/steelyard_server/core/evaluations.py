"""Evaluations: what was measured on a version after it was made. They are appended, never edited.

Of several measures of one metric the newest counts. ``evaluated_metrics`` has it, kept by the
transaction that records an evaluation: the one with the latest time, of those the last recorded.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import BigInteger, bindparam, func, select, tuple_
from sqlalchemy.dialects.postgresql import insert as insert_or_update

from steelyard_server.core import blobs, content, files, manifest, names, pages, paths, references
from steelyard_server.core.content import Dataset, File, Metric
from steelyard_server.db import tables
from steelyard_server.db.statements import any_of, insert_generated
from steelyard_server.errors import (
    EvaluationAlreadyExists,
    EvaluationNotFound,
    FieldRequired,
    FileNotFound,
    InvalidText,
    LimitExceeded,
    TimestampInvalid,
)
from steelyard_server.history import canonical, events
from steelyard_server.history.events import Change, Text
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from steelyard_server.core.models import Model
    from steelyard_server.core.origins import Origin
    from steelyard_server.core.references import Reference
    from steelyard_server.db.database import Row, Transaction
    from steelyard_server.history.act import Act
    from steelyard_server.history.canonical import Json
    from steelyard_server.history.events import Stamp

_E, _M = tables.evaluations.c, tables.evaluated_metrics.c
_BY_UID = select(tables.evaluations).where(_E.version_id == bindparam("version"), _E.uid == bindparam("uid"))
_NAMED = (
    select(tables.evaluations)
    .where(_E.version_id == bindparam("version"), any_of(_E.uid, "uids"))
    .order_by(_E.evaluate_time.desc(), _E.sequence.desc())
)
_BY_ORIGIN = select(tables.evaluations).where(
    _E.version_id == bindparam("version"), _E.origin_uid == bindparam("uid")
)
# What an evaluation says of itself, and never of who recorded it.
_MEASURED_FIELDS = ("metrics", "datasets", "evaluate_time", "uri", "report", "description")
_PAGE = (
    select(tables.evaluations)
    .where(
        _E.version_id == bindparam("version"),
        tuple_(_E.evaluate_time, _E.sequence)
        < tuple_(bindparam("before_time", type_=BigInteger), bindparam("before_sequence", type_=BigInteger)),
    )
    .order_by(_E.evaluate_time.desc(), _E.sequence.desc())
    .limit(bindparam("limit"))
)
_COUNTING = select(_M.evaluation_id, _M.name, _M.dataset, _M.slice).where(
    _M.version_id == bindparam("version"), any_of(_M.evaluation_id, "evaluations")
)
_COUNT = (
    select(func.count().label("count"))
    .select_from(tables.evaluated_metrics)
    .where(_M.version_id == bindparam("version"))
)
_INSERT = insert_generated(tables.evaluations)
_MEASURED = insert_or_update(tables.evaluated_metrics)
_MEASURE = _MEASURED.on_conflict_do_update(
    index_elements=[_M.version_id, _M.name, _M.dataset, _M.slice],
    set_={
        name: _MEASURED.excluded[name] for name in ("value", "value_text", "evaluation_id", "evaluate_time")
    },
    # Of two with one time this is the later recorded: sequences are given out in the order of commits.
    where=_MEASURED.excluded.evaluate_time >= _M.evaluate_time,
)


@dataclass(frozen=True, slots=True)
class Draft:
    """What a caller measured, or says that it was measured at *origin*.

    *evaluate_time* is in microseconds, None for now.
    """

    metrics: tuple[Metric, ...]
    datasets: tuple[Dataset, ...] = ()
    evaluate_time: int | None = None
    uri: str = ""
    report: File | None = None
    description: str = ""
    origin: Origin | None = None

    def check(self) -> None:
        """Check every rule that needs no look-up.

        Raises:
            InvalidArgument: in the subclass that fits, with the path of the field.
        """
        if not self.metrics:
            raise FieldRequired("An evaluation needs at least one metric.", field="evaluation.metrics")
        content.check_metrics(self.metrics, field="evaluation.metrics")
        content.check_datasets(self.datasets, field="evaluation.datasets")
        names.text(self.uri, field="evaluation.uri", maximum_bytes=LIMITS.text_bytes)
        names.description(self.description, field="evaluation.description")
        if self.report is not None:
            _check_report(self.report)
        if self.origin is not None:
            self.origin.check(field="evaluation.origin")
            self._check_stated()

    def _check_stated(self) -> None:
        """Demand what tells an imported evaluation from others, and when it was made."""
        if self.origin is not None and not self.origin.uid:
            message = "An imported evaluation needs the uid that it had, so that it is not imported twice."
            raise FieldRequired(message, field="evaluation.origin.uid")
        if self.evaluate_time is None:
            message = "An imported evaluation needs the time at which it was made."
            raise FieldRequired(message, field="evaluation.evaluate_time")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An evaluation as it stands; times are microseconds, `id` is the key of its row.

    `superseded` has the places in `metrics` of the measures that no longer count.
    """

    id: int
    uid: str
    model: str
    number: int
    digest: str
    metrics: tuple[Metric, ...]
    datasets: tuple[Dataset, ...]
    evaluate_time: int
    uri: str
    report: File | None
    description: str
    evaluator: Mapping[str, Any]
    create_time: int
    sequence: int
    origin: Mapping[str, str] | None = None
    superseded: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a record did; `sequence` is that of its event, or of the last one when it made none."""

    evaluation: Evaluation
    sequence: int
    created: bool


def record(tx: Transaction, act: Act, *, reference: Reference, draft: Draft) -> Recorded:
    """Append an evaluation to a version, unless it is an import and the version has it.

    Raises:
        ModelNotFound, VersionNotFound, AliasNotFound: no such version.
        TimestampInvalid: it is said to have been made in the future.
        LimitExceeded: too many metrics, in it or in all evaluations of the version.
        BlobMissing, SizeMismatch: the namespace does not hold the report, or holds it otherwise.
        EvaluationAlreadyExists: the version has the one of this origin, with other measures.
    """
    draft.check()
    model, version = references.resolve(tx, reference, lock=True)
    known = _imported(tx, draft, model=model, version=version) if draft.origin else None
    if known is not None:
        return Recorded(known, sequence=events.seen(tx), created=False)
    if draft.report is not None:
        blobs.require(
            tx,
            namespace_id=model.namespace_id,
            namespace=model.namespace,
            files=(draft.report,),
            field="evaluation.report",
        )
    at = events.stamp(tx)
    evaluation = _new(act, at, draft, model=model, version=version)
    evaluation = _insert(tx, evaluation, model=model, version=version)
    action = "evaluation.import" if draft.origin else "evaluation.record"
    events.append(tx, act, at, action=action, changes=[_change(evaluation, model=model, version=version)])
    return Recorded(evaluation, sequence=at.sequence, created=True)


def page(
    tx: Transaction, *, reference: Reference, before: tuple[int, int] | None = None, page_size: int = 0
) -> tuple[list[Evaluation], bool, int]:
    """Return evaluations of a version, the newest first, whether more follow, and its number.

    Args:
        before: time and sequence of the last one of the page before.
    """
    model, version = references.resolve(tx, reference)
    time, sequence = before or (names.INT64_MAXIMUM, names.INT64_MAXIMUM)
    rows, more = pages.take(
        tx,
        _PAGE,
        after={"before_time": time, "before_sequence": sequence},
        key=lambda row: {"before_time": row.evaluate_time, "before_sequence": row.sequence},
        size_bytes=lambda row: _listed_bytes(row) + pages.utf8_bytes(model.text),
        rows_maximum=pages.page_size(page_size),
        values={"version": version.id},
    )
    listed = [_value(row, model=model, version=version) for row in rows]
    return _with_superseded(tx, listed, version_id=version.id), more, version.number


def newest(tx: Transaction, *, model: Model, version: Row, count: int) -> list[Evaluation]:
    """Return the newest evaluations of a version, at most *count*."""
    highest = {"before_time": names.INT64_MAXIMUM, "before_sequence": names.INT64_MAXIMUM}
    rows = tx.all(_PAGE, version=version.id, limit=count, **highest)
    return [_value(row, model=model, version=version) for row in rows]


def named(tx: Transaction, *, model: Model, version: Row, uids: Sequence[str]) -> list[Evaluation]:
    """Return the evaluations of a version that have these uids, the newest first."""
    rows = tx.all(_NAMED, version=version.id, uids=list(uids))
    return [_value(row, model=model, version=version) for row in rows]


def find_report(
    tx: Transaction, *, reference: Reference, evaluation: str, offset: int = 0
) -> tuple[File, int, str]:
    """Return the report of an evaluation, with number and digest of the version.

    Raises:
        EvaluationNotFound: the version has no evaluation with the uid *evaluation*.
        FileNotFound: it has no report.
        OffsetOutOfRange: *offset* lies behind the end of the report.
    """
    names.number(offset, field="offset")
    names.text(evaluation, field="evaluation", maximum_bytes=LIMITS.text_bytes)
    model, version = references.resolve(tx, reference)
    facts = {"model": model.text, "number": version.number}
    row = tx.one(_BY_UID, version=version.id, uid=evaluation)
    if row is None:
        shown = names.quoted(evaluation)
        message = f"{model.text}:{version.number} has no evaluation {shown}; list its evaluations."
        raise EvaluationNotFound(message, evaluation=shown, **facts)
    report = _report(row)
    if report is None:
        message = f"The evaluation {evaluation} of {model.text}:{version.number} has no report."
        raise FileNotFound(message, path="", **facts)
    files.require_offset(report, offset)
    return report, version.number, version.digest


def _check_report(report: File) -> None:
    field = "evaluation.report"
    paths.check(report.path, field=f"{field}.path")
    if report.uri:
        message = "A report is kept by the registry; upload it, or name its address in `evaluation.uri`."
        raise InvalidText(message, field=f"{field}.uri")
    names.digest(report.digest, field=f"{field}.digest")
    names.number(report.size_bytes, field=f"{field}.size_bytes", maximum=LIMITS.file_bytes)


def _new(act: Act, at: Stamp, draft: Draft, *, model: Model, version: Row) -> Evaluation:
    return Evaluation(
        id=0,
        uid=str(uuid.uuid4()),
        model=model.text,
        number=version.number,
        digest=version.digest,
        metrics=draft.metrics,
        datasets=draft.datasets,
        evaluate_time=_evaluate_time(draft, now=at.time),
        uri=draft.uri,
        report=draft.report,
        description=draft.description,
        evaluator=act.caller.as_json(),
        create_time=at.time,
        sequence=at.sequence,
        origin=draft.origin.as_json() if draft.origin else None,
    )


def _imported(tx: Transaction, draft: Draft, *, model: Model, version: Row) -> Evaluation | None:
    """Return the evaluation of a version that was recorded under the uid of an origin, here or there.

    Raises:
        EvaluationAlreadyExists: it measured something else than *draft* says.
    """
    if draft.origin is None:
        return None
    wanted = {"version": version.id, "uid": draft.origin.uid}
    row = tx.one(_BY_ORIGIN, **wanted) or tx.one(_BY_UID, **wanted)
    if row is None:
        return None
    found = _value(row, model=model, version=version)
    stated = replace(found, **{name: getattr(draft, name) for name in _MEASURED_FIELDS})
    if _row(stated, version_id=version.id) != _row(found, version_id=version.id):
        message = f"{model.text}:{version.number} has this evaluation as {row.uid}, with other measures."
        facts = {"model": model.text, "number": version.number, "evaluation": row.uid}
        raise EvaluationAlreadyExists(message, **facts)
    (found,) = _with_superseded(tx, [found], version_id=version.id)
    return found


def _evaluate_time(draft: Draft, *, now: int) -> int:
    """Return when it was measured; a time ahead of ours for ever would count for ever."""
    if draft.evaluate_time is None:
        return now
    if draft.evaluate_time > now + LIMITS.clock_seconds * 1_000_000:
        stated, ours = events.time_text(draft.evaluate_time), events.time_text(now)
        message = (
            f"`evaluation.evaluate_time` is {stated}, and here it is {ours}; state when it was measured."
        )
        raise TimestampInvalid(message, field="evaluation.evaluate_time")
    return draft.evaluate_time


def _insert(tx: Transaction, evaluation: Evaluation, *, model: Model, version: Row) -> Evaluation:
    """Store an evaluation and let its measures count where they are the newest."""
    inserted = tx.one(_INSERT, **_row(evaluation, version_id=version.id))
    if inserted is None:
        raise RuntimeError("An insert returned no key.")
    evaluation = replace(evaluation, id=inserted.id)
    tx.run(
        _MEASURE, [_metric_row(each, evaluation, model=model, version=version) for each in evaluation.metrics]
    )
    counted = tx.one(_COUNT, version=version.id)
    if counted is not None and counted.count > LIMITS.evaluated_metrics_count:
        message = (
            f"The evaluations of {evaluation.model}:{evaluation.number} would have {counted.count} different "
            f"metrics; at most {LIMITS.evaluated_metrics_count} are allowed. Use the same names again."
        )
        facts = {"limit": LIMITS.evaluated_metrics_count, "actual": counted.count}
        raise LimitExceeded(message, field="evaluation.metrics", **facts)
    (evaluation,) = _with_superseded(tx, [evaluation], version_id=version.id)
    return evaluation


def _row(evaluation: Evaluation, *, version_id: int) -> dict[str, object]:
    metrics = canonical.text(manifest.metrics_json(evaluation.metrics))
    datasets = canonical.text(manifest.datasets_json(evaluation.datasets))
    size_bytes = pages.utf8_bytes(metrics, datasets)
    names.at_most(size_bytes, LIMITS.content_bytes, field="evaluation.metrics", unit="bytes with datasets")
    report = evaluation.report
    return {
        "uid": evaluation.uid,
        "version_id": version_id,
        "metrics": metrics,
        "datasets": datasets,
        "evaluate_time": evaluation.evaluate_time,
        "uri": evaluation.uri,
        "report_path": report.path if report else None,
        "report_digest": report.digest if report else None,
        "report_size_bytes": report.size_bytes if report else None,
        "report_role": report.role if report else None,
        "description": evaluation.description,
        "evaluator": canonical.text(evaluation.evaluator),
        "origin": canonical.text(evaluation.origin) if evaluation.origin else None,
        "origin_uid": evaluation.origin["uid"] if evaluation.origin else None,
        "create_time": evaluation.create_time,
        "sequence": evaluation.sequence,
    }


def _metric_row(metric: Metric, evaluation: Evaluation, *, model: Model, version: Row) -> dict[str, object]:
    return {
        "version_id": version.id,
        "model_id": model.id,
        "number": version.number,
        "name": metric.name,
        "dataset": metric.dataset,
        "slice": metric.slice,
        "value": tables.comparable(metric.value),
        "value_text": canonical.double(metric.value),
        "evaluation_id": evaluation.id,
        "evaluate_time": evaluation.evaluate_time,
    }


def _with_superseded(
    tx: Transaction, evaluations: Sequence[Evaluation], *, version_id: int
) -> list[Evaluation]:
    """Fill in which measures no longer count."""
    rows = tx.all(_COUNTING, version=version_id, evaluations=[each.id for each in evaluations])
    counting = {tuple(row) for row in rows}
    return [replace(each, superseded=tuple(_superseded(each, counting=counting))) for each in evaluations]


def _superseded(evaluation: Evaluation, *, counting: set[tuple[Any, ...]]) -> Iterable[int]:
    for place, metric in enumerate(evaluation.metrics):
        if (evaluation.id, metric.name, metric.dataset, metric.slice) not in counting:
            yield place


def _listed_bytes(row: Row) -> int:
    texts = (row.metrics, row.datasets, row.uri, row.report_path, row.description, row.evaluator, row.origin)
    return pages.utf8_bytes(*texts) + 512


def _value(row: Row, *, model: Model, version: Row) -> Evaluation:
    return Evaluation(
        id=row.id,
        uid=row.uid,
        model=model.text,
        number=version.number,
        digest=version.digest,
        metrics=manifest.parse_metrics(orjson.loads(row.metrics)),
        datasets=manifest.parse_datasets(orjson.loads(row.datasets)),
        evaluate_time=row.evaluate_time,
        uri=row.uri,
        report=_report(row),
        description=row.description,
        evaluator=orjson.loads(row.evaluator),
        create_time=row.create_time,
        sequence=row.sequence,
        origin=orjson.loads(row.origin) if row.origin else None,
    )


def _report(row: Row) -> File | None:
    if row.report_digest is None:
        return None
    return File(row.report_path, row.report_digest, size_bytes=row.report_size_bytes, role=row.report_role)


def _change(evaluation: Evaluation, *, model: Model, version: Row) -> Change:
    report = evaluation.report
    after: dict[str, Json | Text] = {
        "model": model.uid,
        "version": version.uid,
        "number": str(evaluation.number),
        "digest": evaluation.digest,
        "metrics": manifest.metrics_json(evaluation.metrics),
        "datasets": manifest.datasets_json(evaluation.datasets),
        "evaluate_time": events.time_text(evaluation.evaluate_time),
        "uri": evaluation.uri,
        "report": manifest.file_json(report) if report else {},
        "description": Text(evaluation.description),
        "evaluator": evaluation.evaluator,
        "origin": evaluation.origin or {},
        "create_time": events.time_text(evaluation.create_time),
    }
    name = f"evaluation/{evaluation.model}:{evaluation.number}"
    # No answer about the model tells of evaluations, so none of those remembered is out of date.
    return Change(name, evaluation.uid, previous=0, after=after, scope=model.scope, answered=False)
