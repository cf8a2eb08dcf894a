"""Calls about evaluations: what was measured on a version after it was made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from steelyard import content, pages, push, transfer, types
from steelyard.connection import new_request_id
from steelyard.download import Download
from steelyard.errors import InvalidArgument
from steelyard.reasons import EvaluationNotFound, FileNotFound
from steelyard.scan import scan
from steelyard.v1 import content_pb2, evaluation_pb2
from steelyard.v1 import version_service_pb2 as pb

if TYPE_CHECKING:
    from steelyard.connection import Connection
    from steelyard.content import Dataset
    from steelyard.digests import DigestCache
    from steelyard.refs import References
    from steelyard.types import Evaluation, Version


class Evaluations:
    """Record evaluations, list them, and read their reports."""

    def __init__(
        self, connection: Connection, *, references: References, cache: DigestCache, patience_seconds: float
    ) -> None:
        self._connection = connection
        self._references = references
        self._cache = cache
        self._patience_seconds = patience_seconds

    def record(
        self,
        ref: str | Version,
        metrics: Mapping[str, float],
        *,
        datasets: Iterable[Dataset] = (),
        evaluate_time: datetime | None = None,
        uri: str = "",
        report: str | Path | None = None,
        description: str = "",
        reason: str = "",
    ) -> Evaluation:
        """Append metrics that were measured on a version; what was recorded before stays.

        Of several measures of one metric the newest by *evaluate_time* counts.

        Args:
            metrics: by their text, for example `precision@newdata[region=EU]`.
            datasets: what it was measured on; metrics refer to their names.
            evaluate_time: when it was measured, with a time zone; now when it is None.
            uri: where more is to be seen.
            report: a file whose bytes the registry keeps.

        Raises:
            NotFound: no such model, version or alias.
            InvalidArgument: no metric refers to one of the datasets.
            LocalFileError: the report is no file that can be read.
        """
        reference = self._references.version(ref, exact=True)
        evaluation = evaluation_pb2.Evaluation(
            metrics=content.metric_messages(metrics),
            datasets=content.dataset_messages(datasets),
            uri=uri,
            description=description,
        )
        _require_measured(evaluation)
        if evaluate_time is not None:
            evaluation.evaluate_time.FromDatetime(_utc(evaluate_time))
        if report is not None:
            evaluation.report.CopyFrom(
                self._stored(Path(report), namespace=reference.model.partition("/")[0])
            )
        request = pb.RecordEvaluationRequest(
            version=reference, evaluation=evaluation, request_id=new_request_id(), reason=reason
        )
        answer = self._connection.ask("VersionService/RecordEvaluation", request, pb.RecordEvaluationResponse)
        return types.evaluation(answer.evaluation)

    def import_(self, ref: str | Version, evaluation: evaluation_pb2.Evaluation, *, reason: str = "") -> bool:
        """Append an evaluation with an origin, whose report is uploaded already; return whether it is new.

        Raises:
            EvaluationAlreadyExists: the version has it, and it measured something else.
            BlobMissing: the namespace does not hold its report.
        """
        request = pb.RecordEvaluationRequest(
            version=self._references.version(ref, exact=True),
            evaluation=evaluation,
            request_id=new_request_id(),
            reason=reason,
        )
        answer = self._connection.ask("VersionService/RecordEvaluation", request, pb.RecordEvaluationResponse)
        return answer.created

    def list(self, ref: str | Version) -> Iterator[Evaluation]:
        """Yield the evaluations of a version, the newest first."""

        def ask(request: pb.ListEvaluationsRequest) -> pb.ListEvaluationsResponse:
            return self._connection.ask("VersionService/ListEvaluations", request, pb.ListEvaluationsResponse)

        request = pb.ListEvaluationsRequest(version=self._references.version(ref))
        yield from map(types.evaluation, pages.entries(request, field="evaluations", ask=ask))

    def get(self, ref: str | Version, uid: str) -> Evaluation:
        """Return one evaluation of a version.

        Raises:
            EvaluationNotFound: the version has none with this uid.
        """
        for evaluation in self.list(ref):
            if evaluation.uid == uid:
                return evaluation
        raise EvaluationNotFound(f"{ref} has no evaluation {uid!r}; `steelyard evaluations ls` lists them.")

    def read_report(self, evaluation: Evaluation) -> bytes:
        """Return the report of an evaluation, verified.

        Raises:
            FileNotFound: it has none.
            DownloadCorrupt: the bytes that arrived are not those of its digest.
        """
        file = evaluation.report
        if file is None:
            raise FileNotFound(f"The evaluation {evaluation.uid} has no report.")
        with self._transfer() as ongoing:
            meter = ongoing.meter("read", total_bytes=file.size_bytes)
            download = Download(evaluation, meter, ongoing, evaluation=evaluation.uid)
            return b"".join(download.verified(file))

    def _stored(self, path: Path, *, namespace: str) -> content_pb2.File:
        """Make the server hold the bytes of one file."""
        if path.is_dir():
            raise InvalidArgument(f"The report {path} is a directory; name one file.")
        files = scan(path, roles={}).files
        with self._transfer() as ongoing:
            stored = push.store(files, namespace=namespace, cache=self._cache, transfer=ongoing)
        (file,) = content.stored_files(files, digests=stored.digests)
        return file

    def _transfer(self) -> AbstractContextManager[transfer.Transfer]:
        return transfer.begin(
            self._connection, report=None, stop=None, patience_seconds=self._patience_seconds
        )


def _require_measured(evaluation: evaluation_pb2.Evaluation) -> None:
    """Refuse a dataset that no metric refers to: one name is mistyped, and what is recorded stays.

    Raises:
        InvalidArgument: there is one.
    """
    measured = {metric.dataset for metric in evaluation.metrics} - {""}
    for dataset in evaluation.datasets:
        if dataset.name not in measured:
            near = get_close_matches(dataset.name, sorted(measured), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"write name@{dataset.name} for one that was."
            raise InvalidArgument(f"No metric was measured on {dataset.name!r}; {hint}")


def _utc(time: datetime) -> datetime:
    """Return a moment in UTC without its zone, as protobuf wants it.

    Raises:
        InvalidArgument: it has no time zone, so it may mean several moments.
    """
    if time.utcoffset() is None:
        raise InvalidArgument(
            f"The time {time.isoformat()} has no time zone; write for example {time.isoformat()}Z."
        )
    return time.astimezone(UTC).replace(tzinfo=None)
