"""Policies and promotions as messages, and what requests say of them as values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

from steelyard.v1 import policy_pb2, promotion_pb2
from steelyard_server.api import convert
from steelyard_server.api.enums import (
    ACCESS_ROLES,
    CHECK_STATES,
    PROMOTION_ACTIONS,
    PROMOTION_STATES,
    VERDICTS,
)
from steelyard_server.core import promoting
from steelyard_server.core.policy_drafts import Approvals, Check, Draft, Evaluations
from steelyard_server.core.targets import Target
from steelyard_server.errors import OneofRequired

if TYPE_CHECKING:
    from steelyard_server.core.governance import Policy
    from steelyard_server.core.promotions import CheckResult, Review
    from steelyard_server.core.reviews import View


def target(message: policy_pb2.Target, *, field: str = "target") -> Target:
    """Read a target.

    Raises:
        OneofRequired: it names nothing.
    """
    kind = message.WhichOneof("kind")
    if kind is None:
        allowed = "stage, alias, environment"
        raise OneofRequired(f"`{field}` is empty; set one of {allowed}.", field=field, allowed=allowed)
    return Target(kind, getattr(message, kind))


def draft(message: policy_pb2.Policy) -> Draft:
    """Read what a policy is to be, unchecked."""
    approvals, evaluations = message.approvals, message.evaluations
    return Draft(
        target=target(message.target, field="policy.target"),
        models=tuple(message.models),
        checks=tuple(
            Check(each.name, each.expression, each.passes_without_incumbent) for each in message.checks
        ),
        outside_checks=tuple(message.outside_checks),
        approvals=_approvals(approvals) if message.HasField("approvals") else None,
        evaluations=(
            Evaluations(evaluations.independent, evaluations.age_seconds)
            if message.HasField("evaluations")
            else None
        ),
        description=message.description,
    )


def policy(value: Policy) -> policy_pb2.Policy:
    """Turn a policy into a message."""
    message = _drafted(value.draft, namespace=value.namespace, name=value.name)
    message.uid = value.uid
    message.revision = value.revision
    message.creator.CopyFrom(convert.actor(value.creator))
    message.create_time.CopyFrom(convert.timestamp(value.create_time))
    message.update_time.CopyFrom(convert.timestamp(value.update_time))
    message.etag = str(value.sequence)
    return message


def promotion(value: View) -> promotion_pb2.Promotion:
    """Turn a promotion into a message."""
    of = value.promotion
    proposed = promoting.proposed(of)
    reviews = zip(of.reviews, value.comments, strict=True)
    return promotion_pb2.Promotion(
        scope=of.scope.text,
        number=of.number,
        uid=of.uid,
        target=_target(of.target),
        state=PROMOTION_STATES.number(value.state),
        version=of.version,
        digest=of.digest,
        incumbent=of.incumbent,
        archive_incumbent=of.archive_incumbent,
        policy=_drafted(proposed, namespace=of.scope.text, name=of.target.name) if proposed else None,
        policies=[
            promotion_pb2.PolicyRevision(name=each.name, uid=each.uid, revision=int(each.revision))
            for each in of.policies
        ],
        evaluations=of.evaluations,
        incumbent_evaluations=of.incumbent_evaluations,
        checks=[_check(each) for each in of.checks],
        approvals=[
            promotion_pb2.Approvals(policy=demand.policy, wanted=demand.rule.count, given=given)
            for demand, given in value.approvals
        ],
        reviews=[_review(each, comment) for each, comment in reviews],
        author=convert.actor(of.author),
        reason=value.reason,
        create_time=convert.timestamp(of.create_time),
        update_time=convert.timestamp(of.update_time),
        expire_time=convert.timestamp(of.expire_time),
        etag=str(of.sequence),
        available_actions=[PROMOTION_ACTIONS.number(each) for each in value.actions],
        closed_because=value.why,
    )


def _target(value: Target) -> policy_pb2.Target:
    return policy_pb2.Target(**{value.kind: value.name})


def _approvals(message: policy_pb2.ApprovalRule) -> Approvals:
    words = (
        ACCESS_ROLES.word(role, field=f"policy.approvals.roles[{place}]")
        for place, role in enumerate(message.roles)
    )
    return Approvals(message.count, tuple(words), tuple(message.groups), message.lifetime_seconds)


def _drafted(value: Draft, *, namespace: str, name: str) -> policy_pb2.Policy:
    message = policy_pb2.Policy(
        namespace=namespace,
        name=name,
        description=value.description,
        models=value.models,
        target=_target(value.target),
        outside_checks=value.outside_checks,
    )
    for check in value.checks:
        message.checks.add(
            name=check.name,
            expression=check.expression,
            passes_without_incumbent=check.passes_without_incumbent,
        )
    if value.approvals is not None:
        message.approvals.count = value.approvals.count
        message.approvals.roles.extend(ACCESS_ROLES.number(role) for role in value.approvals.roles)
        message.approvals.groups.extend(value.approvals.groups)
        message.approvals.lifetime_seconds = value.approvals.lifetime_seconds
    if value.evaluations is not None:
        message.evaluations.independent = value.evaluations.independent
        message.evaluations.age_seconds = value.evaluations.age_seconds
        message.evaluations.SetInParent()
    return message


def _check(value: CheckResult) -> promotion_pb2.PromotionCheck:
    return promotion_pb2.PromotionCheck(
        policy=value.policy,
        name=value.name,
        outside=value.outside,
        state=CHECK_STATES.number(value.state),
        reason=value.reason,
        message=value.message,
        uri=value.uri,
        reporter=convert.actor(value.reporter) if value.reporter else None,
        report_time=_time(value.report_time) if value.report_time else None,
    )


def _review(value: Review, comment: str) -> promotion_pb2.Review:
    return promotion_pb2.Review(
        reviewer=convert.actor(value.reviewer),
        verdict=VERDICTS.number(value.verdict),
        comment=comment,
        create_time=_time(value.create_time),
        counts=value.approves,
    )


def _time(text: str) -> Timestamp:
    message = Timestamp()
    message.FromJsonString(text)
    return message
