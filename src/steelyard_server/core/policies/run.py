"""One run of a check: what its functions answer, and what they saw on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Any

from steelyard_server.core.policies import language, metric_keys, schemas
from steelyard_server.core.policies.findings import Measured, Observation, Reason
from steelyard_server.core.policies.language import CANDIDATE, INCUMBENT, SIDES
from steelyard_server.core.policies.metric_keys import MetricKey
from steelyard_server.core.policies.sentences import short

if TYPE_CHECKING:
    from datetime import datetime

    from steelyard_server.core.content import Metric
    from steelyard_server.core.policies.facts import Facts, Measurement, Side

HIGHER_IS_BETTER = "higher-is-better"
# What a finding has room for; a loop may look at more.
OBSERVATIONS_COUNT = 64
NOTES_COUNT = 16
LISTED_COUNT = 5

MEASURE_HINT = "record an evaluation that measures it"


class Undecided(Exception):
    """A function has no answer; the check fails for *reason*, unless it is true or false all the same."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class Found:
    """A metric of a side, with the measurement that it comes from."""

    key: MetricKey
    metric: Metric
    measurement: Measurement

    @property
    def digests(self) -> frozenset[str]:
        """The known digests of what it was measured on; several when a dataset has several roles."""
        named = (each for each in self.measurement.datasets if each.name == self.key.dataset)
        return frozenset(each.digest for each in named if each.digest)


class Run:
    """Answers the functions of a check from facts, and keeps what they looked at."""

    def __init__(self, facts: Facts) -> None:
        self.undecided: list[Undecided] = []
        self.notes: dict[str, None] = {}
        self._facts = facts
        self._observed: dict[tuple[str, float | None], Observation] = {}
        self._read: dict[tuple[str, str], Found] = {}
        self._formats: list[str] | None = None
        self._compatible: bool | None = None
        self._broken: Exception | None = None

    @property
    def observations(self) -> tuple[Observation, ...]:
        """What was looked at, in the order of the first look."""
        return tuple(self._observed.values())

    def call(self, method: str, *arguments: Any) -> Any:
        """Answer a call of the library, which makes of an exception what is neither true nor false."""
        try:
            return getattr(self, method)(*arguments)
        except Undecided as undecided:
            self.undecided.append(undecided)
            raise
        except Exception as error:
            self._broken = self._broken or error
            raise

    def raise_broken(self) -> None:
        """Raise what is a mistake of ours and no answer; the library would have hidden it."""
        if self._broken is not None:
            raise self._broken

    def metric(self, side: str, text: str) -> float:
        """Return the newest value of a metric; who reads it of both sides compares it."""
        found = self._found(side, text)
        self._observe(text, None, **{side: self._measured(side, found)})
        self._read[side, text] = found
        if all((each, text) in self._read for each in SIDES):
            self._require_same_dataset(text, *(self._read[each, text] for each in SIDES))
        return self._number(side, text, found)

    def has_metric(self, side: str, text: str) -> bool:
        """Return whether a side has a metric."""
        return self._look_up(self._side(side), text) is not None

    def evaluator(self, side: str, text: str) -> str:
        """Return who measured a metric."""
        return self._found(side, text).measurement.evaluator

    def measure_time(self, side: str, text: str) -> datetime:
        """Return when a metric was measured."""
        return language.moment(self._found(side, text).measurement.measure_time)

    def better(self, text: str, margin: float) -> bool:
        """Return whether the candidate's metric is better than the incumbent's by at least *margin*."""
        if not math.isfinite(margin):
            raise Undecided(Reason.FAILED, f"the margin of {text} is {margin}, which is no number")
        candidate = self._found(CANDIDATE, text)
        direction = self._facts.model.metric_directions.get(candidate.key.name, "")
        seen = {"direction": direction, CANDIDATE: self._measured(CANDIDATE, candidate)}
        self._observe(text, margin, **seen)
        if not direction:
            message = (
                f"the model states no direction for {candidate.key.name}, so nothing says which number is "
                "better; set its metric direction"
            )
            raise Undecided(Reason.NO_DIRECTION, message)
        incumbent = self._found(INCUMBENT, text)
        self._observe(text, margin, **{INCUMBENT: self._measured(INCUMBENT, incumbent)})
        self._require_same_dataset(text, candidate, incumbent)
        new, old = self._number(CANDIDATE, text, candidate), self._number(INCUMBENT, text, incumbent)
        return _gain(new, old, direction) >= Decimal(repr(margin))

    def schema_compatible(self, *_: Any) -> bool:
        """Return whether the candidate takes what the incumbent took, and gives what it gave."""
        new = self._side(CANDIDATE).content.schema
        if new is None:
            raise Undecided(Reason.ABSENT, f"{self._side(CANDIDATE).text} has no schema; push it with one")
        if self._compatible is None:
            old = self._side(INCUMBENT).content.schema
            if old is None:
                raise Undecided(Reason.ABSENT, f"the incumbent {self._side(INCUMBENT).text} has no schema")
            obstacles = list(schemas.obstacles(new, old))
            for each in obstacles:
                self._note(each)
            self._compatible = not obstacles
        return self._compatible

    def file_formats(self) -> list[str]:
        """Return the formats of the candidate's files, each once."""
        if self._formats is None:
            side = self._side(CANDIDATE)
            if not side.content.files:
                raise Undecided(Reason.ABSENT, f"{side.text} has no files")
            unknown = language.UNKNOWN_FORMAT
            self._formats = sorted({side.formats.get(each.digest, unknown) for each in side.content.files})
            self._note(f"formats of its files: {', '.join(self._formats)}")
        return self._formats

    def _side(self, name: str) -> Side:
        side = self._facts.candidate if name == CANDIDATE else self._facts.incumbent
        if side is None:
            raise Undecided(Reason.NO_INCUMBENT, "there is no incumbent to compare with")
        return side

    def _found(self, name: str, text: str) -> Found:
        side = self._side(name)
        found = self._look_up(side, text)
        if found is None:
            raise Undecided(Reason.ABSENT, f"{side.text} has no {text}{_measured_keys(side)}; {MEASURE_HINT}")
        return found

    def _look_up(self, side: Side, text: str) -> Found | None:
        """Find a metric; one that names no dataset is that of the only dataset it was measured on."""
        key = metric_keys.parse(text)
        if key is None:
            raise Undecided(Reason.ABSENT, f"{text!r} names no metric; write name@dataset")
        exact = (key.name, key.dataset, key.slice)
        keys = [exact] if exact in side.measured else []
        if not keys and not key.dataset:
            keys = side.whole.get(key.name, [])
        if len(keys) > 1:
            shown = ", ".join(str(MetricKey(*each)) for each in keys[:LISTED_COUNT])
            raise Undecided(Reason.ABSENT, f"{side.text} has {text} of several datasets; name one: {shown}")
        if not keys:
            return None
        return Found(MetricKey(*keys[0]), *side.measured[keys[0]])

    def _require_same_dataset(self, text: str, candidate: Found, incumbent: Found) -> None:
        for side, found in ((CANDIDATE, candidate), (INCUMBENT, incumbent)):
            if len(found.digests) != 1:
                dataset = found.key.dataset
                lacks = f"the digest of {dataset}" if dataset else "a dataset"
                message = (
                    f"{text}: the measurement of the {side} {self._side(side).text} does not say {lacks}, so "
                    "nothing shows that both were measured on the same; measure again and state it"
                )
                raise Undecided(Reason.DATASET_MISMATCH, message)
        if candidate.digests != incumbent.digests:
            (new,), (old,) = candidate.digests, incumbent.digests
            message = (
                f"{text}: the candidate was measured on {short(new)} and the incumbent on {short(old)}, "
                "which cannot be compared; measure both on the same dataset"
            )
            raise Undecided(Reason.DATASET_MISMATCH, message)

    def _number(self, side: str, text: str, found: Found) -> float:
        if math.isnan(found.metric.value):
            message = (
                f"{text} of {self._side(side).text} is no number, so it is neither more nor less than one"
            )
            raise Undecided(Reason.NOT_A_NUMBER, message)
        return found.metric.value

    def _measured(self, name: str, found: Found) -> Measured:
        digests = sorted(found.digests)
        return Measured(
            version=self._side(name).text,
            value=found.metric.value,
            dataset=found.key.dataset,
            dataset_digest=digests[0] if len(digests) == 1 else "",
            evaluation=found.measurement.evaluation,
            evaluator=found.measurement.evaluator,
            measure_time=found.measurement.measure_time,
        )

    def _observe(self, text: str, margin: float | None, **seen: Any) -> None:
        known = self._observed.get((text, margin))
        if known is not None or len(self._observed) < OBSERVATIONS_COUNT:
            self._observed[text, margin] = replace(known or Observation(text, margin=margin), **seen)

    def _note(self, text: str) -> None:
        if len(self.notes) < NOTES_COUNT:
            self.notes[text] = None


def _gain(new: float, old: float, direction: str) -> Decimal:
    """Return by how much *new* is better, in decimals: 0.94 is better than 0.93 by 0.01, not less."""
    if new == old:
        return Decimal(0)
    gain = Decimal(repr(new)) - Decimal(repr(old))
    return gain if direction == HIGHER_IS_BETTER else -gain


def _measured_keys(side: Side) -> str:
    keys = ", ".join(str(MetricKey(*each)) for each in islice(side.measured, LISTED_COUNT))
    more = ", …" if len(side.measured) > LISTED_COUNT else ""
    return f", only {keys}{more}" if keys else ""
