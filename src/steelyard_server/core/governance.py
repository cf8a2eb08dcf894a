"""Policies as they stand: which of them protect a target, and writing them."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import bindparam, delete, func, or_, select, update

from steelyard_server.core import names, namespaces, policy_drafts
from steelyard_server.core.targets import ENVIRONMENT, Target
from steelyard_server.db import tables
from steelyard_server.db.statements import insert_generated
from steelyard_server.errors import LimitExceeded, PolicyNotFound, PolicyRequiresPromotion
from steelyard_server.history import canonical, events
from steelyard_server.history.events import Change, Scope, Text
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from steelyard_server.core.models import Model
    from steelyard_server.core.namespaces import Namespace
    from steelyard_server.core.policy_drafts import Draft
    from steelyard_server.db.database import Row, Transaction
    from steelyard_server.history.canonical import Json
    from steelyard_server.history.events import Stamp

_P, _N = tables.policies.c, tables.model_names.c
_OF_NAMESPACE = select(tables.policies).where(_P.namespace_id == bindparam("namespace")).order_by(_P.name)
_BY_NAME = _OF_NAMESPACE.where(_P.name == bindparam("name"))
# Names of environments may be patterns.
_OF_TARGET = _OF_NAMESPACE.where(
    _P.target_kind == bindparam("kind"),
    or_(_P.target_name == bindparam("target"), bindparam("kind") == ENVIRONMENT),
)
_KEYS = select(_N.name_key).where(_N.model_id == bindparam("model"))
_COUNT = (
    select(func.count().label("policies"))
    .select_from(tables.policies)
    .where(_P.namespace_id == bindparam("namespace"))
)
_INSERT = insert_generated(tables.policies)
_CHANGING = (
    "revision", "target_kind", "target_name", "description", "content", "update_time", "sequence",
)  # fmt: skip
_UPDATE = (
    update(tables.policies)
    .where(_P.id == bindparam("policy"))
    .values({name: bindparam(name) for name in _CHANGING})
)
_DELETE = delete(tables.policies).where(_P.id == bindparam("policy"))


@dataclass(frozen=True, slots=True)
class Revision:
    """A policy as it was when checks ran."""

    name: str
    uid: str
    revision: str


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy as it stands; times are microseconds, `id` is the key of its row."""

    id: int
    uid: str
    namespace: str
    name: str
    revision: int
    draft: Draft
    creator: Mapping[str, Any]
    create_time: int
    update_time: int
    sequence: int

    @property
    def text(self) -> str:
        """Write the policy as `namespace/policy`."""
        return f"{self.namespace}/{self.name}"


def get(tx: Transaction, *, namespace: str, name: str) -> Policy:
    """Return one policy.

    Raises:
        NamespaceNotFound, PolicyNotFound: there is none.
    """
    names.namespace(namespace)
    names.policy(name, field="name")
    space = namespaces.find(tx, name=namespace)
    return found(find(tx, namespace=space, name=name), namespace=space, name=name)


def page(tx: Transaction, *, namespace: str) -> list[Policy]:
    """Return all policies of a namespace, at most `Limits.policies_count`."""
    names.namespace(namespace)
    space = namespaces.find(tx, name=namespace)
    return [_value(row, namespace=namespace) for row in tx.all(_OF_NAMESPACE, namespace=space.id)]


def find(tx: Transaction, *, namespace: Namespace, name: str) -> Policy | None:
    """Return the policy of this name, or None."""
    row = tx.one(_BY_NAME, namespace=namespace.id, name=name)
    return None if row is None else _value(row, namespace=namespace.name)


def found(policy: Policy | None, *, namespace: Namespace, name: str) -> Policy:
    """Demand that there is a policy.

    Raises:
        PolicyNotFound: there is none.
    """
    if policy is None:
        message = f"{namespace.name} has no policy {name}; list its policies."
        raise PolicyNotFound(message, namespace=namespace.name, policy=name)
    return policy


def protecting(tx: Transaction, *, model: Model, target: Target) -> list[Policy]:
    """Return the policies that protect *target* in *model*, in the order of their names."""
    rows = tx.all(_OF_TARGET, namespace=model.namespace_id, kind=target.kind, target=target.name)
    policies = [_value(row, namespace=model.namespace) for row in rows]
    return _of_model(tx, [each for each in policies if each.draft.target.covers(target)], model=model)


def holding(tx: Transaction, *, model: Model) -> list[Policy]:
    """Return the policies that protect any target in *model*, in the order of their names."""
    rows = tx.all(_OF_NAMESPACE, namespace=model.namespace_id)
    return _of_model(tx, [_value(row, namespace=model.namespace) for row in rows], model=model)


def _of_model(tx: Transaction, policies: list[Policy], *, model: Model) -> list[Policy]:
    if not any(each.draft.models for each in policies):
        return policies
    # A rename must not lead out of a policy, so former names count too.
    keys = [row.name_key for row in tx.all(_KEYS, model=model.id)]
    return [each for each in policies if _holds_for(each.draft.models, keys)]


def revisions(policies: Iterable[Policy]) -> tuple[Revision, ...]:
    """Say which policies in which revision."""
    return tuple(Revision(each.name, each.uid, str(each.revision)) for each in policies)


def revisions_text(listed: Iterable[Revision]) -> str:
    """Write revisions as one text, which is the same for the same."""
    return canonical.text([asdict(each) for each in listed])


def require_unprotected(tx: Transaction, *, model: Model, target: Target) -> None:
    """Demand that no policy protects *target* in *model*.

    Raises:
        PolicyRequiresPromotion: one does.
    """
    policies = protecting(tx, model=model, target=target)
    if policies:
        shown = ", ".join(each.text for each in policies)
        message = f"The {target.text} of {model.text} is protected by {shown}; create a promotion to move it."
        facts = {"policies": shown, "model": model.text, "target": target.text}
        raise PolicyRequiresPromotion(message, **facts)


def require_room(tx: Transaction, *, namespace: Namespace) -> None:
    """Demand that a namespace may have one policy more.

    Raises:
        LimitExceeded: it has `Limits.policies_count`.
    """
    row = tx.one(_COUNT, namespace=namespace.id)
    if row is not None and row.policies >= LIMITS.policies_count:
        message = f"{namespace.name} has {row.policies} policies; remove one, or change one of them."
        raise LimitExceeded(message, field="policy.name", limit=LIMITS.policies_count, actual=row.policies)


def put(
    tx: Transaction,
    at: Stamp,
    *,
    namespace: Namespace,
    name: str,
    draft: Draft,
    creator: Mapping[str, Any],
) -> Change:
    """Write a policy in place of what has its name; return the change for the event of *at*."""
    before = find(tx, namespace=namespace, name=name)
    if before is None:
        require_room(tx, namespace=namespace)
    after = Policy(
        id=before.id if before else 0,
        uid=before.uid if before else str(uuid.uuid4()),
        namespace=namespace.name,
        name=name,
        revision=before.revision + 1 if before else 1,
        draft=draft,
        creator=before.creator if before else creator,
        create_time=before.create_time if before else at.time,
        update_time=at.time,
        sequence=at.sequence,
    )
    row = _row(after, namespace=namespace)
    if before is None:
        tx.one(_INSERT, **row)
    else:
        tx.run(_UPDATE, {each: row[each] for each in _CHANGING} | {"policy": before.id})
    return _change(after, namespace=namespace, previous=before.sequence if before else 0)


def remove(tx: Transaction, *, namespace: Namespace, policy: Policy) -> Change:
    """Remove a policy; return the change for the event."""
    tx.run(_DELETE, {"policy": policy.id})
    scope = Scope(namespace.uid)
    return Change(f"policy/{policy.text}", policy.uid, policy.sequence, after=None, scope=scope)


def _holds_for(patterns: Sequence[str], keys: Sequence[str]) -> bool:
    return not patterns or any(policy_drafts.matches(each, key) for each in patterns for key in keys)


def _value(row: Row, *, namespace: str) -> Policy:
    target = Target(row.target_kind, row.target_name)
    content = orjson.loads(row.content)
    return Policy(
        id=row.id,
        uid=row.uid,
        namespace=namespace,
        name=row.name,
        revision=row.revision,
        draft=policy_drafts.read(content, target=target, description=row.description),
        creator=orjson.loads(row.creator),
        create_time=row.create_time,
        update_time=row.update_time,
        sequence=row.sequence,
    )


def _row(policy: Policy, *, namespace: Namespace) -> dict[str, object]:
    return {
        "uid": policy.uid,
        "namespace_id": namespace.id,
        "name": policy.name,
        "revision": policy.revision,
        "target_kind": policy.draft.target.kind,
        "target_name": policy.draft.target.name,
        "description": policy.draft.description,
        "content": canonical.text(policy.draft.as_json()),
        "creator": canonical.text(policy.creator),
        "create_time": policy.create_time,
        "update_time": policy.update_time,
        "sequence": policy.sequence,
    }


def _change(policy: Policy, *, namespace: Namespace, previous: int) -> Change:
    after: dict[str, Json | Text] = {
        "namespace": namespace.uid,
        "name": policy.name,
        "revision": str(policy.revision),
        "target_kind": policy.draft.target.kind,
        "target_name": policy.draft.target.name,
        "description": Text(policy.draft.description),
        "content": policy.draft.as_json(),
        "creator": policy.creator,
        "create_time": events.time_text(policy.create_time),
        "update_time": events.time_text(policy.update_time),
    }
    return Change(f"policy/{policy.text}", policy.uid, previous, after, Scope(namespace.uid))
