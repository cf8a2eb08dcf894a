"""Denials as events: found, erasable, of nobody's scope but the registry's, and no state."""

from __future__ import annotations

import json
from typing import Any

import pytest

from steelyard_server.api.denials import BATCH_ROWS
from steelyard_server.core import denials, events, namespaces
from steelyard_server.core.denials import SEVERAL, TARGET_CHARACTERS_MAXIMUM, Denial
from steelyard_server.db.database import Database
from steelyard_server.history.caller import Caller
from tests.contracts.registry import act, everything
from tests.contracts.stored import folded, require_equal

ADA = Caller(
    "user:ada", kind="person", authenticated=True, method="oidc", issuer="https://login.bank.example"
)
NOBODY = Caller("anonymous")


def denial(caller: Caller = ADA, **more: Any) -> Denial:
    usual = {"method": "ModelService/CreateModel", "reason": "PERMISSION_MISSING", "time": 1}
    return Denial(caller, **usual | more)


async def told(database: Database, text: str = "", **wanted: Any) -> list[dict[str, Any]]:
    """Return what the events that pass a filter say, the oldest first."""
    found, _ = await database.read(events.page, filter=text, page_size=1000, **wanted)
    said = []
    for event in found:
        [change] = json.loads(event.content)["changes"]
        texts = {each.name.removeprefix("changes.0."): each.content for each in event.texts}
        fields = {name: texts.get(name, value) for name, value in change["after"].items()}
        said.append(fields | {"action": event.action, "actor": event.actor, "resource": change["resource"]})
    return said


async def test_they_say_who_was_refused_what_where_and_can_be_found(registry: Database) -> None:
    refused = denial(permission="write", target="default/fraud", peer="10.1.2.3")
    failed = denial(NOBODY, method="ServerService/WhoAmI", reason="TOKEN_REVOKED", token_uid="0" * 16)
    counted = denial(method=SEVERAL, reason="", count=12_345)

    await registry.write(denials.record, [refused, failed, counted])

    [one, rest] = await told(registry, 'action = "call.deny"')
    assert (one["resource"], one["permission"], one["count"]) == (
        "denial/ModelService/CreateModel",
        "write",
        "1",
    )
    assert (one["target"], one["peer"], one["time"]) == (
        "default/fraud",
        "10.1.2.3",
        "1970-01-01T00:00:00.000001Z",
    )
    assert (one["actor"]["id"], one["actor"]["issuer"]) == ("user:ada", "https://login.bank.example")
    assert (rest["resource"], rest["count"], "reason" in rest) == ("denial/several", "12345", False)
    [login] = await told(registry, 'action = "login.fail" AND actor = "anonymous"')
    assert (login["reason"], login["token_uid"], login["actor"]["kind"]) == (
        "TOKEN_REVOKED",
        "0" * 16,
        "stated",
    )


async def test_they_are_of_no_namespace_and_change_no_state(registry: Database) -> None:
    await registry.write(namespaces.create, act(), name="risk")
    before = await registry.read(everything)

    await registry.write(denials.record, [denial(target="risk/fraud"), denial(NOBODY, target="default")])

    for scope in ("risk", "default", "default/fraud"):
        assert "call.deny" not in {each["action"] for each in await told(registry, scope=scope)}
    after = await registry.read(everything)
    changed = {name for name, rows in after.items() if rows != before[name]}
    assert changed == {"events", "event_resources", "event_texts", "registry"}
    assert not (await registry.read(folded)).of_kind("denial")
    await registry.read(require_equal)


@pytest.mark.parametrize("text", ["'; DROP TABLE events; --", "a\u0000b", "😀" * 1000, "a" * 100_000, "{}"])
async def test_what_strangers_write_is_bounded_and_stays_text(registry: Database, text: str) -> None:
    await registry.write(denials.record, [denial(NOBODY, target=text)])

    [one] = await told(registry, 'action = "login.fail"')
    # PostgreSQL keeps no text with a NUL.
    assert one["target"] == text.replace("\u0000", "\ufffd")[:TARGET_CHARACTERS_MAXIMUM]
    await registry.read(require_equal)


async def test_as_many_as_are_written_at_once_come_in_their_order(registry: Database) -> None:
    batch = [denial(reason=f"R{place}") for place in range(BATCH_ROWS)]
    await registry.write(denials.record, batch)
    assert [each["reason"] for each in await told(registry, 'action = "call.deny"')] == [
        each.reason for each in batch
    ]
