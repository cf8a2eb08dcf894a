"""What checks look at: frozen values, gathered before any check runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from steelyard_server.core.content import Content, Dataset, Metric

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Measurement:
    """Metrics that were measured together, on *datasets*, whose digests say what they were measured on.

    Args:
        evaluation: uid of the evaluation; empty for the training metrics of the version itself.
        evaluator: principal that recorded it; for training metrics the creator of the version.
        measure_time: in microseconds; for training metrics when the version was created.
    """

    metrics: tuple[Metric, ...]
    datasets: tuple[Dataset, ...]
    evaluator: str
    measure_time: int
    evaluation: str = ""


@dataclass(frozen=True)
class Side:
    """One version: the candidate, or the incumbent.

    Whoever gathers the facts decides which measurements count: they stand in `measurements`, the newest
    first, the training metrics last if they count at all. The `metrics` of *content* are not looked at.

    Args:
        text: how people call it, `risk/fraud:7`.
        create_time: in microseconds.
        content: its files only if a check wants them, see ``Program.needs``.
        formats: of its files by digest, from ``formats.recognise``; only if a check wants them. A file
            that is missing here counts as `unknown`.
    """

    text: str
    number: int
    digest: str
    creator: str
    create_time: int
    content: Content
    measurements: tuple[Measurement, ...] = ()
    description: str = ""
    semantic_version: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    formats: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def measured(self) -> Mapping[Key, tuple[Metric, Measurement]]:
        """The newest measure of each metric by name, dataset and slice."""
        found: dict[Key, tuple[Metric, Measurement]] = {}
        for measurement in self.measurements:
            for metric in measurement.metrics:
                found.setdefault((metric.name, metric.dataset, metric.slice), (metric, measurement))
        return found

    @cached_property
    def whole(self) -> Mapping[str, list[Key]]:
        """The metrics that are not of a slice, by name."""
        found: dict[str, list[Key]] = {}
        for key in self.measured:
            if not key[2]:
                found.setdefault(key[0], []).append(key)
        return found


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The model of both sides."""

    name: str
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    owners: tuple[str, ...] = ()
    metric_directions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that a check may look at; *now* is in microseconds."""

    candidate: Side
    incumbent: Side | None
    model: ModelFacts
    now: int
