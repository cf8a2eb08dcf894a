"""Environments: places where models run. They are of the whole registry, and a scope of grants each."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NoReturn

import orjson
from sqlalchemy import bindparam, delete, select, update

from steelyard_server.core import access, grants, masks, names, pages, roles, scopes
from steelyard_server.db import tables
from steelyard_server.db.statements import any_of, insert_generated
from steelyard_server.delivery_errors import EnvironmentAlreadyExists, EnvironmentNotFound
from steelyard_server.history import canonical, events
from steelyard_server.history.events import Change, Scope, Text
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from steelyard_server.db.database import Row, Transaction
    from steelyard_server.history.act import Act
    from steelyard_server.history.caller import Caller
    from steelyard_server.history.canonical import Json

MUTABLE, IMMUTABLE = ("description", "labels", "accepts"), ("name",)

_E = tables.environments.c
_BY_NAME = select(tables.environments).where(_E.name == bindparam("name"))
_LOCKED = _BY_NAME.with_for_update()
_PAGE = (
    select(tables.environments)
    .where(_E.name > bindparam("after_name"))
    .order_by(_E.name)
    .limit(bindparam("limit"))
)
_PAGE_AMONG = _PAGE.where(any_of(_E.name, "among"))
_INSERT = insert_generated(tables.environments)
_UPDATE = (
    update(tables.environments)
    .where(_E.id == bindparam("environment"))
    .values({name: bindparam(name) for name in (*MUTABLE, "update_time", "sequence")})
)
_DELETE = delete(tables.environments).where(_E.id == bindparam("environment"))


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment as it stands; times are microseconds, `id` is the key of its row.

    Args:
        accepts: stages of which a version must stand in one, none for any.
    """

    id: int
    uid: str
    name: str
    description: str
    labels: Mapping[str, str]
    accepts: Sequence[str]
    creator: Mapping[str, Any]
    create_time: int
    update_time: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Draft:
    """What a caller says of an environment, unchecked."""

    description: str = ""
    labels: Mapping[str, str] | None = None
    accepts: Sequence[str] = ()

    def check(self, *, prefix: str = "") -> dict[str, Any]:
        """Return the checked values by name; *prefix* leads to them in the request."""
        return {
            "description": names.description(self.description, field=f"{prefix}description"),
            "labels": names.labels(self.labels or {}, field=f"{prefix}labels"),
            "accepts": _accepts(self.accepts, field=f"{prefix}accepts"),
        }


NOTHING_SAID: Final = Draft()


def create(tx: Transaction, act: Act, *, name: str, draft: Draft = NOTHING_SAID) -> Environment:
    """Create an environment.

    Raises:
        EnvironmentAlreadyExists: the name is taken.
    """
    names.environment(name, field="name")
    fields = draft.check()
    if tx.one(_BY_NAME, name=name) is not None:
        message = f"The environment {name} exists already; use it, or choose another name."
        raise EnvironmentAlreadyExists(message, environment=name)
    at = events.stamp(tx)
    environment = Environment(
        id=0,
        uid=str(uuid.uuid4()),
        name=name,
        creator=act.caller.as_json(),
        create_time=at.time,
        update_time=at.time,
        sequence=at.sequence,
        **fields,
    )
    tx.one(_INSERT, **_row(environment))
    events.append(tx, act, at, action="environment.create", changes=[_change(environment, previous=0)])
    return environment


def get(tx: Transaction, *, name: str) -> Environment:
    """Return the environment called *name*.

    Raises:
        EnvironmentNotFound: there is none.
    """
    names.environment(name, field="name")
    return _found(tx.one(_BY_NAME, name=name), name=name)


def page(
    tx: Transaction, *, after_name: str = "", page_size: int = 0, caller: Caller = access.UNLIMITED
) -> tuple[list[Environment], bool]:
    """Return the environments whose names follow *after_name*, and whether more follow.

    Args:
        caller: who gets only those that they may read.
    """
    among = access.environments_of(caller, roles.READ)
    rows, more = pages.take(
        tx,
        _PAGE if among is None else _PAGE_AMONG,
        after={"after_name": after_name},
        key=lambda row: {"after_name": row.name},
        size_bytes=lambda row: pages.utf8_bytes(row.description, row.labels, row.accepts, row.creator) + 256,
        rows_maximum=pages.page_size(page_size),
        values={} if among is None else {"among": among},
    )
    return [_value(row) for row in rows], more


def modify(
    tx: Transaction, act: Act, *, name: str, draft: Draft, mask: tuple[str, ...] | None, etag: str = ""
) -> Environment:
    """Change what *draft* says, as far as *mask* names it.

    Raises:
        EnvironmentNotFound: there is none of this name.
        EtagMismatch: it changed since *etag* was given out.
    """
    names.environment(name, field="environment.name")
    given = draft.check(prefix="environment.")
    wanted = masks.chosen(given, mask, mutable=MUTABLE, immutable=IMMUTABLE)
    before = _found(tx.one(_LOCKED, name=name), name=name)
    masks.check_etag(etag, before.sequence)
    at = events.stamp(tx)
    after = replace(before, **wanted, update_time=at.time, sequence=at.sequence)
    tx.run(_UPDATE, _row(after) | {"environment": after.id})
    change = _change(after, previous=before.sequence)
    events.append(tx, act, at, action="environment.update", changes=[change])
    return after


def remove(tx: Transaction, act: Act, *, name: str, etag: str = "") -> int:
    """Delete an environment with all grants on it, and return the sequence of the event.

    Raises:
        EnvironmentNotFound: there is none of this name.
        EtagMismatch: it changed since *etag* was given out.
    """
    names.environment(name, field="name")
    before = _found(tx.one(_LOCKED, name=name), name=name)
    masks.check_etag(etag, before.sequence)
    at = events.stamp(tx)
    tx.run(_DELETE, {"environment": before.id})
    grants.end_environment(tx, at, environment=name)
    change = Change(f"environment/{name}", before.uid, before.sequence, after=None, scope=Scope())
    return events.append(tx, act, at, action="environment.delete", changes=[change])


def refuse(tx: Transaction, caller: Caller, *, name: str) -> NoReturn:
    """Say why no version can go to an environment; of one that *caller* may not read, that there is none.

    Raises:
        EnvironmentNotFound: always, for there are no deployments yet.
    """
    may_read = access.allows(caller, roles.READ, scopes.of_environment(name))
    if may_read and tx.one(_BY_NAME, name=name) is not None:
        what = f"Nothing can go to the environment {name} yet: deployments come with a later version"
    else:
        what = f"There is no environment {name} that you may read, so nothing can go there"
    raise EnvironmentNotFound(f"{what}. Promote to a stage or an alias.", environment=name)


def _accepts(given: Sequence[str], *, field: str) -> list[str]:
    """Check a list of stages; which of them there are is said by each namespace."""
    names.at_most(len(given), LIMITS.stages_count, field=field)
    names.distinct(given, field=field)
    return [names.stage(each, field=f"{field}[{place}]") for place, each in enumerate(given)]


def _found(row: Row | None, *, name: str) -> Environment:
    if row is None:
        message = f"There is no environment {name}; create it, or correct the name."
        raise EnvironmentNotFound(message, environment=name)
    return _value(row)


def _value(row: Row) -> Environment:
    return Environment(
        id=row.id,
        uid=row.uid,
        name=row.name,
        description=row.description,
        labels=orjson.loads(row.labels),
        accepts=orjson.loads(row.accepts),
        creator=orjson.loads(row.creator),
        create_time=row.create_time,
        update_time=row.update_time,
        sequence=row.sequence,
    )


def _row(environment: Environment) -> dict[str, object]:
    return {
        "uid": environment.uid,
        "name": environment.name,
        "description": environment.description,
        "labels": canonical.text(environment.labels),
        "accepts": canonical.text(environment.accepts),
        "creator": canonical.text(environment.creator),
        "create_time": environment.create_time,
        "update_time": environment.update_time,
        "sequence": environment.sequence,
    }


def _change(environment: Environment, *, previous: int) -> Change:
    after: dict[str, Json | Text] = {
        "name": environment.name,
        "description": Text(environment.description),
        "labels": environment.labels,
        "accepts": environment.accepts,
        "creator": environment.creator,
        "create_time": events.time_text(environment.create_time),
        "update_time": events.time_text(environment.update_time),
    }
    return Change(f"environment/{environment.name}", environment.uid, previous, after, Scope())
