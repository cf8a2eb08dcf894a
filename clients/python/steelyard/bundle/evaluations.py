"""The evaluations of a bundle come into a registry: each once, and those of one version in their order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from steelyard.bundle import targets
from steelyard.errors import SteelyardError
from steelyard.v1 import evaluation_pb2, version_pb2

if TYPE_CHECKING:
    from steelyard.bundle.contents import Contents
    from steelyard.bundle.targets import Target
    from steelyard.client import Client
    from steelyard.progress import Meter
    from steelyard.transfer import Transfer

# An evaluation, and how many bytes it has in the bundle.
Sized = tuple[evaluation_pb2.Evaluation, int]
# The uid of an evaluation where it was recorded first, and what it measured: with other measures it is
# not the one that is there, and for the server to refuse.
Key = tuple[str, bytes]

# Lines that are held at once.
PORTION_BYTES = 1024 * 1024
THREADS = 8


@dataclass(frozen=True, slots=True)
class Recording:
    """Evaluations on their way; *found* has the models here by their names in the bundle."""

    client: Client
    transfer: Transfer
    contents: Contents
    found: Mapping[str, Target]
    reason: str
    meter: Meter

    def run(self) -> None:
        """Record what is not there, several versions at once."""
        for portion in _portions(self.contents.evaluations()):
            groups = [list(group) for _, group in groupby(portion, key=_version_of)]
            self.transfer.run(self._record, groups, threads=THREADS)

    def _record(self, group: list[Sized]) -> None:
        """Record the evaluations of one version."""
        first, _ = group[0]
        target = self.found[first.model]
        reference = f"{target.name}:{target.numbers[first.number]}"
        there = self._there(reference, group) if first.digest in target.here else set()
        for message, size_bytes in group:
            is_new = self._key(message) not in there and self._import(reference, message, target=target)
            target.recorded.append(is_new)
            self.meter.add(size_bytes, file=f"evaluation of {reference}")

    def _there(self, reference: str, group: list[Sized]) -> set[Key]:
        """Return what the version has already under the uids of some evaluations."""
        wanted = {self._origin(message).uid for message, _ in group}
        return {
            (uid, _measured(evaluation.message))
            for evaluation in self.client.evaluations.list(reference)
            for uid in (evaluation.uid, evaluation.message.origin.uid)
            if uid in wanted
        }

    def _key(self, message: evaluation_pb2.Evaluation) -> Key:
        return self._origin(message).uid, _measured(message)

    def _import(self, reference: str, message: evaluation_pb2.Evaluation, *, target: Target) -> bool:
        """Record one evaluation, and return whether it is new."""
        evaluation = _bare(message)
        evaluation.origin.CopyFrom(self._origin(message))
        try:
            return self.client.evaluations.import_(reference, evaluation, reason=self.reason)
        except SteelyardError as error:
            raise target.halted(error, at=f"Evaluations of version {message.number}") from None

    def _origin(self, message: evaluation_pb2.Evaluation) -> version_pb2.Origin:
        return targets.evaluation_origin(message, about=self.contents.about)


def _portions(evaluations: Iterator[Sized]) -> Iterator[list[Sized]]:
    """Yield so many at once that they take little memory."""
    portion: list[Sized] = []
    portion_bytes = 0
    for message, size_bytes in evaluations:
        portion.append((message, size_bytes))
        portion_bytes += size_bytes
        if portion_bytes >= PORTION_BYTES:
            yield portion
            portion, portion_bytes = [], 0
    if portion:
        yield portion


def _bare(message: evaluation_pb2.Evaluation) -> evaluation_pb2.Evaluation:
    """Return what an evaluation says of itself, and nothing of who recorded it."""
    return evaluation_pb2.Evaluation(
        metrics=message.metrics,
        datasets=message.datasets,
        evaluate_time=message.evaluate_time,
        uri=message.uri,
        report=message.report if message.HasField("report") else None,
        description=message.description,
    )


def _measured(message: evaluation_pb2.Evaluation) -> bytes:
    """Return what an evaluation says as bytes, in which NaN equals NaN."""
    return _bare(message).SerializeToString(deterministic=True)


def _version_of(sized: Sized) -> tuple[str, int]:
    return sized[0].model, sized[0].number
