"""Calls about promotions: the way of a version to a stage or a protected alias."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from steelyard import enums, pages, types
from steelyard.connection import new_request_id
from steelyard.errors import DeadlineExceeded, InvalidArgument, SteelyardError, Stopped
from steelyard.v1 import policy_pb2, promotion_pb2
from steelyard.v1 import promotion_service_pb2 as pb
from steelyard.workers import Patience, Stop

if TYPE_CHECKING:
    from datetime import datetime

    from steelyard.connection import Connection
    from steelyard.refs import References
    from steelyard.types import Actor, Version

# Between two looks at a promotion that is watched: soon after a change, then ever more rarely.
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Check:
    """A check of a promotion and what it found.

    Args:
        state: `waiting`, `passed` or `failed`.
        message: why, with the numbers; of a check from outside what was reported.
        uri: where more is, as it was reported.
        reporter: who reported it, None for a check that the server runs.
    """

    policy: str
    name: str
    state: str
    reason: str
    message: str
    uri: str = ""
    reporter: Actor | None = None
    report_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Promotion:
    """A request to move a version or to change a policy.

    Args:
        scope: `namespace/model`; a namespace where it is about a policy.
        state: `open`, `applied`, `refused`, `cancelled`, `expired`, `superseded` or `overridden`.
        target: as `stage production`, `alias champion` or `policy careful`.
        version: 0 where it is about a policy.
        evaluations: those of the version that were there when the checks ran, by uid, the newest first.
        incumbent_evaluations: the same of the incumbent.
        actions: what you may do with it now.
        closed_because: why it is not open any more, for people; empty while it is.
    """

    scope: str
    number: int
    state: str
    target: str
    version: int
    incumbent: int
    evaluations: tuple[str, ...]
    incumbent_evaluations: tuple[str, ...]
    checks: tuple[Check, ...]
    actions: tuple[str, ...]
    author: Actor
    reason: str
    closed_because: str
    message: promotion_pb2.Promotion = field(repr=False, compare=False)

    def __str__(self) -> str:
        """Write it as `risk/fraud#7`."""
        return f"{self.scope}#{self.number}"


class Promotions:
    """Promote versions, and say what you think of promotions of others."""

    def __init__(self, connection: Connection, *, references: References, patience_seconds: float) -> None:
        self._connection = connection
        self._references = references
        self._patience_seconds = patience_seconds

    def create(
        self,
        ref: str | Version,
        *,
        stage: str = "",
        alias: str = "",
        environment: str = "",
        archive_incumbent: bool = False,
        validate_only: bool = False,
        reason: str = "",
    ) -> Promotion:
        """Propose to move a version to a stage or an alias; its `state` says whether it has moved.

        Args:
            environment: another kind of target; servers that have no deployments refuse it.
            archive_incumbent: whether the version that is in the stage goes to `archived` with it.
            validate_only: say what would happen, and change nothing.

        Raises:
            InvalidArgument: not one of *stage*, *alias* and *environment* is given.
            StageUnknown: the namespace has no such stage, or no `archived` for the incumbent.
            AlreadyAtTarget: the version is there.
            EnvironmentNotFound: there is no such environment, or nothing can go there yet.
        """
        targets = {"stage": stage, "alias": alias, "environment": environment}
        given = {kind: name for kind, name in targets.items() if name}
        if len(given) != 1:
            raise InvalidArgument("Name one target: a stage, an alias or an environment.")
        request = pb.CreatePromotionRequest(
            version=self._references.version(ref, exact=True),
            target=policy_pb2.Target(**given),
            archive_incumbent=archive_incumbent,
            validate_only=validate_only,
            request_id=new_request_id(),
            reason=reason,
        )
        method = "PromotionService/CreatePromotion"
        return promotion(self._connection.ask(method, request, pb.CreatePromotionResponse).promotion)

    def get(self, scope: str, number: int) -> Promotion:
        """Return a promotion.

        Raises:
            PromotionNotFound: the scope has none of this number.
        """
        request = pb.GetPromotionRequest(scope=scope, number=number)
        method = "PromotionService/GetPromotion"
        return promotion(self._connection.ask(method, request, pb.GetPromotionResponse).promotion)

    def list(
        self,
        scope: str,
        *,
        open_only: bool = False,
        filter: str = "",  # noqa: A002 - as the request calls it
        order_by: str = "",
        waits_for_me: bool = False,
    ) -> Iterator[Promotion]:
        """Yield the promotions of a model or a namespace, the newest first; `risk/-` has all in it.

        Args:
            open_only: as the filter `state = open`.
            filter: as docs/filters.md describes it.
            order_by: fields, as `expire_time, number desc`.
            waits_for_me: only those of which your approval or report is wanted.

        Raises:
            FilterInvalid, OrderByInvalid: with the column.
        """
        wanted = [f"({filter})"] if filter.strip() else []
        wanted += ["state = open"] if open_only else []

        def ask(request: pb.ListPromotionsRequest) -> pb.ListPromotionsResponse:
            method = "PromotionService/ListPromotions"
            return self._connection.ask(method, request, pb.ListPromotionsResponse)

        request = pb.ListPromotionsRequest(
            scope=scope,
            filter=" AND ".join(wanted) if open_only else filter,
            order_by=order_by,
            waits_for_caller=waits_for_me,
        )
        yield from map(promotion, pages.entries(request, field="promotions", ask=ask))

    def review(self, scope: str, number: int, verdict: str, *, reason: str = "") -> Promotion:
        """Say what you think of a promotion; the approval that was still wanted applies it.

        Args:
            verdict: `approve`, `reject`, `withdraw` or `comment`; a comment is its *reason*.

        Raises:
            PromotionClosed: it is not open any more.
            ReviewerNotPerson, ReviewerNotIndependent, ReviewerNotAsked, ReviewGiven: yours does not count.
        """
        request = pb.ReviewPromotionRequest(
            scope=scope,
            number=number,
            verdict=enums.number(promotion_pb2.Verdict, verdict),
            request_id=new_request_id(),
            reason=reason,
        )
        method = "PromotionService/ReviewPromotion"
        return promotion(self._connection.ask(method, request, pb.ReviewPromotionResponse).promotion)

    def report(
        self, scope: str, number: int, check: str, *, passed: bool, uri: str = "", message: str = ""
    ) -> Promotion:
        """Report what a check from outside found; one that failed ends the promotion.

        Raises:
            CheckNotFound, CheckReported: it waits for no such check.
        """
        request = pb.ReportCheckRequest(
            scope=scope,
            number=number,
            check=check,
            passed=passed,
            uri=uri,
            message=message,
            request_id=new_request_id(),
        )
        method = "PromotionService/ReportCheck"
        return promotion(self._connection.ask(method, request, pb.ReportCheckResponse).promotion)

    def cancel(self, scope: str, number: int, *, reason: str = "") -> Promotion:
        """Withdraw an open promotion."""
        request = pb.CancelPromotionRequest(
            scope=scope, number=number, request_id=new_request_id(), reason=reason
        )
        method = "PromotionService/CancelPromotion"
        return promotion(self._connection.ask(method, request, pb.CancelPromotionResponse).promotion)

    def override(self, scope: str, number: int, *, reason: str) -> Promotion:
        """Apply a promotion although a policy does not allow it; this stays visible."""
        request = pb.OverridePromotionRequest(
            scope=scope, number=number, request_id=new_request_id(), reason=reason
        )
        method = "PromotionService/OverridePromotion"
        return promotion(self._connection.ask(method, request, pb.OverridePromotionResponse).promotion)

    def revoke(self, ref: str | Version, *, reason: str) -> Version:
        """Stop the use of a version until a promotion puts it into use again."""
        request = pb.RevokeVersionRequest(
            version=self._references.version(ref, exact=True), request_id=new_request_id(), reason=reason
        )
        answer = self._connection.ask("PromotionService/RevokeVersion", request, pb.RevokeVersionResponse)
        return types.version(answer.version)

    def watch(
        self, scope: str, number: int, *, timeout_seconds: float, stop: Stop | None = None
    ) -> Iterator[Promotion]:
        """Yield a promotion as it stands, and again when it has changed; the last one is open no more.

        It asks again and again, every 5 seconds at last, and goes on across restarts of the server. When
        nobody answers for the client's `patience_seconds`, it ends with the error.

        Args:
            timeout_seconds: how long the promotion may stay open.
            stop: ends the iteration when another thread sets it.

        Raises:
            PromotionNotFound: the scope has none of this number.
            DeadlineExceeded: it is open still; it stays so.
        """
        stop = stop or Stop()
        deadline = time.monotonic() + timeout_seconds
        patience = Patience(self._patience_seconds, stop=stop)
        seen, pause_seconds = None, FIRST_PAUSE_SECONDS
        while not stop.is_set:
            found = self._found(scope, number, patience=patience)
            if found is not None and found.message != seen:
                seen, pause_seconds = found.message, FIRST_PAUSE_SECONDS
                yield found
                if found.state != "open":
                    return
            left_seconds = deadline - time.monotonic()
            if left_seconds <= 0:
                raise DeadlineExceeded(f"{scope}#{number} is open still after {timeout_seconds:g} seconds.")
            stop.pause(min(pause_seconds, left_seconds))
            pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)

    def _found(self, scope: str, number: int, *, patience: Patience) -> Promotion | None:
        """Return a promotion; None when nobody answered just now, or the watch is to end."""
        try:
            found = self.get(scope, number)
        except SteelyardError as error:
            with suppress(Stopped):
                patience.wait(error)
            return None
        patience.moved()
        return found


def promotion(message: promotion_pb2.Promotion) -> Promotion:
    """Read a message."""
    kind = message.target.WhichOneof("kind")
    return Promotion(
        scope=message.scope,
        number=message.number,
        state=enums.word(promotion_pb2.PromotionState, message.state),
        target=f"{kind} {getattr(message.target, kind)}" if kind else "",
        version=message.version,
        incumbent=message.incumbent,
        evaluations=tuple(message.evaluations),
        incumbent_evaluations=tuple(message.incumbent_evaluations),
        checks=tuple(map(_check, message.checks)),
        actions=tuple(enums.word(promotion_pb2.PromotionAction, each) for each in message.available_actions),
        author=types.actor(message.author),
        reason=message.reason,
        closed_because=message.closed_because,
        message=message,
    )


def _check(message: promotion_pb2.PromotionCheck) -> Check:
    state = enums.word(promotion_pb2.CheckState, message.state)
    reported = message.HasField("reporter")
    return Check(
        policy=message.policy,
        name=message.name,
        state=state,
        reason=message.reason,
        message=message.message,
        uri=message.uri,
        reporter=types.actor(message.reporter) if reported else None,
        report_time=types.time(message.report_time) if reported else None,
    )
