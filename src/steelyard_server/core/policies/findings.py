"""What a check found: passed or not, why, and the numbers it looked at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a check passed or did not; a closed list, the word is what goes over the wire."""

    PASSED = "PASSED"
    # It passed because it says so of the case that there is no incumbent.
    PASSED_WITHOUT_INCUMBENT = "PASSED_WITHOUT_INCUMBENT"
    FALSE = "FALSE"
    NO_INCUMBENT = "NO_INCUMBENT"
    DATASET_MISMATCH = "DATASET_MISMATCH"
    ABSENT = "ABSENT"
    NO_DIRECTION = "NO_DIRECTION"
    NOT_A_NUMBER = "NOT_A_NUMBER"
    BUDGET_EXCEEDED = "BUDGET_EXCEEDED"
    # It could not be computed: a division by zero, a time that does not parse.
    FAILED = "FAILED"


PASSING = frozenset({Reason.PASSED, Reason.PASSED_WITHOUT_INCUMBENT})


class WithoutIncumbent(StrEnum):
    """What a check does where it depends on an incumbent and there is none."""

    FAIL = "fail"
    PASS = "pass"  # noqa: S105 - as in `without_incumbent: pass`


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric of one side.

    Args:
        dataset: that it was measured on, also where the check names none; empty when not stated.
        dataset_digest: of that dataset; empty when not known.
        evaluation: uid of the evaluation that measured it; empty for a training metric.
    """

    version: str
    value: float
    dataset: str = ""
    dataset_digest: str = ""
    evaluation: str = ""
    evaluator: str = ""
    measure_time: int = 0


@dataclass(frozen=True, slots=True)
class Observation:
    """A metric that a check looked at; a side is None where it has none or was not looked at.

    Args:
        metric: as the check writes it, `precision@holdout[region=EU]`.
        margin: by which the candidate must be better; None when the numbers were not compared.
        direction: `higher-is-better` or `lower-is-better`; empty when the model states none.
    """

    metric: str
    candidate: Measured | None = None
    incumbent: Measured | None = None
    margin: float | None = None
    direction: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check; *message* is a sentence for people with the numbers and what to do."""

    passed: bool
    reason: Reason
    message: str
    observations: tuple[Observation, ...] = ()
