"""What the game of governance is played with: policies, versions, promotions, logins."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Target = tuple[str, str]

DEVELOPMENT, ARCHIVED = "development", "archived"
USUAL = (DEVELOPMENT, "staging", "production", ARCHIVED)
OPEN, APPLIED, REFUSED, CANCELLED = "open", "applied", "refused", "cancelled"
SUPERSEDED, OVERRIDDEN, EXPIRED = "superseded", "overridden", "expired"
GROUP = "group:risk"
# How long a proposal waits, in seconds.
PATIENCE = 30 * 86_400
# Whose approval is meant when no policy asks anybody.
ANYBODY = ""


class Refused(Exception):
    """What the rules forbid."""


def demand(allowed: object, why: str) -> None:
    """Demand something.

    Raises:
        Refused: it is not so.
    """
    if not allowed:
        raise Refused(why)


@dataclass(frozen=True)
class Login:
    """A token: who logs in with it, and who made it, the token that it was made with, and so on."""

    key: str
    who: str
    makers: frozenset[str] = frozenset()

    @property
    def persons(self) -> frozenset[str]:
        """Return everybody who could be behind it."""
        return self.makers | {self.who}


@dataclass(frozen=True)
class Draft:
    """A policy as it is written.

    Attributes:
        models: name of the models for which it holds, or `*`.
        highest: number above which versions fail its check; 0 without a check.
        newer: whether a version must be newer than what is there; the first one need not.
        outside: whether a job reports something.
        count: of the persons who must approve, 0 for none.
        by_group: whether these must be in a group; otherwise whoever may review counts.
        lifetime: of an approval in seconds, 0 for ever.
    """

    target: Target
    models: str = "*"
    highest: int = 0
    newer: bool = False
    outside: bool = False
    count: int = 0
    by_group: bool = False
    lifetime: int = 0

    def fields(self) -> dict[str, Any]:
        """Write it for a request."""
        checks: list[dict[str, Any]] = []
        if self.highest:
            checks.append({"name": "low", "expression": f"candidate.number <= {self.highest}"})
        if self.newer:
            expression = "candidate.number > incumbent.number"
            checks.append({"name": "newer", "expression": expression, "passes_without_incumbent": True})
        written: dict[str, Any] = {"models": [self.models], "target": dict([self.target]), "checks": checks}
        written |= {"outside_checks": ["bias"]} if self.outside else {}
        groups = {"groups": [GROUP]} if self.by_group else {}
        groups |= {"lifetime_seconds": self.lifetime} if self.lifetime else {}
        return written | ({"approvals": {"count": self.count, **groups}} if self.count else {})

    def passes(self, number: int, incumbent: int) -> bool:
        """Return whether its checks let a version pass; an *incumbent* of 0 is none."""
        low = not self.highest or number <= self.highest
        return low and (not self.newer or number > incumbent)


Policies = dict[str, tuple[int, Draft]]


@dataclass
class Model:
    """A line of versions, with all names that it has or had; *last* is the highest number ever."""

    names: set[str]
    last: int = 0
    deleted: bool = False
    purged: bool = False


@dataclass
class Version:
    """A version as it stands; *revoked* tells its revocation from others, 0 for none."""

    model: str
    number: int
    content: str
    maker: str
    stage: str = DEVELOPMENT
    deleted: bool = False
    revoked: int = 0
    overridden: bool = False
    measured_by: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Ask:
    """Whose approvals are wanted: *revision* is that of the policy, which approvals must have been for."""

    count: int
    by_group: bool = False
    lifetime: int = 0
    revision: int = 0


ANY_SECOND = Ask(1)


@dataclass(frozen=True)
class Approval:
    """An approval: when it was given, and for which policies in which revision."""

    who: str
    time: int
    met: dict[str, int]


@dataclass
class Proposal:
    """A promotion of a version, or of what a policy is to be.

    Attributes:
        version: number of a version, 0 for a policy.
        revisions: of the policies that decide of it, by name, as they were when it was proposed.
        reinstates: the revocation that it undoes, 0 for none.
        reports: by policy, whether a job reported, and what.
        state: what was decided of it.
        ended: what ended it without a word of its own.
    """

    scope: str
    number: int
    author: str
    target: Target
    revisions: dict[str, int]
    version: int = 0
    content: str = ""
    draft: Draft | None = None
    archives: bool = False
    reinstates: int = 0
    expires: int = 0
    reports: dict[str, bool | None] = field(default_factory=dict)
    approvals: list[Approval] = field(default_factory=list)
    state: str = OPEN
    ended: str = ""

    @property
    def place(self) -> tuple[str, int]:
        """Return what names it."""
        return self.scope, self.number
