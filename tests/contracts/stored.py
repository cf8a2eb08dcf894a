"""What the tables say, compared with what the fold of the events says."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from sqlalchemy import select

from steelyard_server.db import tables
from steelyard_server.db.database import Row, Transaction
from steelyard_server.history import events
from tests.contracts.fold import Fold, State, fold, folded_scope

MODEL_STATE = ("name", "description", "labels", "owners", "metric_directions", "creator")
EVALUATION_STATE = ("metrics", "datasets", "uri", "description", "evaluator", "sequence")
EVALUATION_READ = ("create_time", "evaluate_time", "version", "report", "origin")
VERSION_STATE = ("digest", "description", "labels", "stage", "origin", "creator")
NUMBERED = ("quota", "retention")
POLICY_STATE = ("name", "revision", "target_kind", "target_name", "description", "content", "creator")
PROMOTION_STATE = ("number", "target_kind", "target_name", "state", "author", "expire_time")
OPTIONAL_TIMES = ("import_time", "delete_time")


def folded(tx: Transaction) -> Fold:
    """Fold all that is stored of the history."""
    texts = {
        (row.sequence, row.name): (bytes(row.salt), row.content) for row in select_all(tx, "event_texts")
    }
    appended = [bytes(row.content) for row in select_all(tx, "events")]
    return fold(appended, texts=texts)


def select_all(tx: Transaction, name: str) -> list[Row]:
    table = tables.Base.metadata.tables[name]
    return tx.all(select(table).order_by(*table.primary_key.columns))


def written(value: Any) -> Any:
    """Read a column as events write it: JSON parsed, an absent text empty."""
    if isinstance(value, str) and value[:1] in {"{", "["}:
        return json.loads(value)
    return "" if value is None else value


def time_of(microseconds: int) -> str:
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")


def state_of(row: Row, names: tuple[str, ...]) -> dict[str, Any]:
    times = {name: time_of(getattr(row, name)) for name in ("create_time", "update_time")}
    given = {name: time for name in OPTIONAL_TIMES if (time := getattr(row, name, None)) is not None}
    times |= {name: time_of(time) for name, time in given.items()}
    return {name: written(getattr(row, name)) for name in names} | times | {"sequence": row.sequence}


def part(states: dict[str, State], *names: str) -> dict[str, State]:
    """Take from states what `state_of` takes from rows."""
    always = (*names, "create_time", "update_time", "sequence")
    return {
        uid: {name: state[name] for name in always}
        | {name: state[name] for name in OPTIONAL_TIMES if name in state}
        for uid, state in states.items()
    }


def require_equal(tx: Transaction) -> None:
    """Demand that all tables of registry state say what the fold of the events says."""
    history = folded(tx)
    (head,) = select_all(tx, "registry")
    assert (head.sequence, head.uid) == (history.sequence, history.registry)
    assert head.access_sequence <= head.sequence
    assert time_of(head.event_time) == history.time
    restores = sorted((state["sequence"], uid) for uid, state in history.of_kind("epoch").items())
    # The first epoch is not in the history: it came with the registry.
    assert not restores or head.epoch == restores[-1][1]
    scopes = [(row.namespace_uid, row.model_uid) for row in select_all(tx, "events")]
    assert scopes == history.scopes
    assert [(row.actor, row.action) for row in select_all(tx, "events")] == history.acts
    assert {(row.sequence, row.resource) for row in select_all(tx, "event_resources")} == history.changed
    checks = (
        *(require_namespaces, require_models, require_versions, require_tombstones),
        *(require_aliases, require_evaluations, require_garbage, require_requests),
        *(require_tokens, require_groups, require_grants),
        *(require_policies, require_promotions, require_environments),
    )
    require_usages(tx)
    for check in checks:
        check(tx, history)


def require_usages(tx: Transaction) -> None:
    """Demand that what is counted of each namespace is what counting again finds."""
    size_bytes: Counter[int] = Counter()
    for row in select_all(tx, "holdings"):
        size_bytes[row.namespace_id] += row.size_bytes
    spaces = {row.id: row.namespace_id for row in select_all(tx, "models")}
    versions = Counter(spaces[row.model_id] for row in select_all(tx, "versions"))
    counted = {
        row.namespace_id: (row.size_bytes, row.versions_count) for row in select_all(tx, "namespace_usages")
    }
    assert counted == {row.id: (size_bytes[row.id], versions[row.id]) for row in select_all(tx, "namespaces")}


def require_namespaces(tx: Transaction, history: Fold) -> None:
    names = ("name", "description", "labels", "stages")
    stored = {
        row.uid: state_of(row, names) | {name: numbers_of(row, name) for name in NUMBERED}
        for row in select_all(tx, "namespaces")
    }
    # Events from before there were quotas, retention and stages say nothing of them.
    nothing: State = {"stages": []} | {name: {} for name in NUMBERED}
    told = {uid: nothing | state for uid, state in history.of_kind("namespace").items()}
    assert stored
    assert stored == part(told, *names, *NUMBERED)


def numbers_of(row: Row, name: str) -> dict[str, str]:
    """Read the columns that begin with *name*, as events write them."""
    columns = [each for each in row._fields if each.startswith(f"{name}_")]  # type: ignore[attr-defined]
    return {each.removeprefix(f"{name}_"): str(number) for each in columns if (number := getattr(row, each))}


def require_models(tx: Transaction, history: Fold) -> None:
    space = {row.id: row.name for row in select_all(tx, "namespaces")}
    names: dict[int, set[str]] = {}
    for row in select_all(tx, "model_names"):
        names.setdefault(row.model_id, set()).add(f"{space[row.namespace_id]}/{row.name}")
    rows = select_all(tx, "models")
    stored = {
        row.uid: state_of(row, MODEL_STATE)
        | {
            "namespace": space[row.namespace_id],
            "former_names": sorted(names[row.id] - {f"{space[row.namespace_id]}/{row.name}"}),
        }
        for row in rows
        if row.purge_time is None
    }
    assert stored == part(history.of_kind("model"), *MODEL_STATE, "namespace", "former_names")
    live = [
        (each["model"], int(each["number"]))
        for each in history.of_kind("version").values()
        if "delete_time" not in each
    ]
    for row in rows:
        assert row.last_number == history.last_numbers.get(row.uid, 0)
        assert row.latest_number == max((number for uid, number in live if uid == row.uid), default=0)
    purged = {row.uid: (time_of(row.purge_time), names[row.id]) for row in rows if row.purge_time is not None}
    assert purged == {
        uid: (each["purge_time"], {*each["former_names"], f"{each['namespace']}/{each['name']}"})
        for uid, each in history.retired.items()
    }


def require_versions(tx: Transaction, history: Fold) -> None:
    uids = {row.id: row.uid for row in select_all(tx, "models")}
    stored = {
        row.uid: state_of(row, (*VERSION_STATE, "semantic_version", "idempotency_key"))
        | {"model": uids[row.model_id], "number": str(row.number), "origin": written(row.origin) or {}}
        | {"marks": json.loads(row.marks or "{}")}
        for row in select_all(tx, "versions")
    }
    names = (*VERSION_STATE, "semantic_version", "idempotency_key", "model", "number", "marks")
    # Few versions have marks.
    told = {uid: {"marks": {}} | state for uid, state in history.of_kind("version").items()}
    assert stored == part(told, *names)
    digests = {each["digest"] for each in history.of_kind("version").values()}
    assert {row.digest for row in select_all(tx, "manifests")} == digests


def require_tombstones(tx: Transaction, history: Fold) -> None:
    uids = {row.id: row.uid for row in select_all(tx, "models")}
    times = ("create_time", "delete_time", "purge_time")
    stored = {
        (uids[row.model_id], str(row.number)): (
            row.digest,
            row.idempotency_key or "",
            *(time_of(getattr(row, name)) for name in times),
        )
        for row in select_all(tx, "tombstones")
    }
    assert stored == {
        key: tuple(each[name] for name in ("digest", "idempotency_key", *times))
        for key, each in history.tombstones.items()
    }
    spans = [
        (uids[row.model_id], str(row.number), time_of(row.delete_time), time_of(row.undelete_time))
        for row in select_all(tx, "undeletions")
    ]
    assert sorted(spans) == sorted(history.undeletions)


def require_aliases(tx: Transaction, history: Fold) -> None:
    uids = {row.id: row.uid for row in select_all(tx, "models")}
    stored = {
        row.uid: state_of(row, ("name",)) | {"model": uids[row.model_id], "number": str(row.number)}
        for row in select_all(tx, "aliases")
    }
    assert stored == part(history.of_kind("alias"), "name", "model", "number")
    digests = {
        (each["model"], each["number"]): each["digest"] for each in history.of_kind("version").values()
    }
    for each in history.of_kind("alias").values():
        assert each["digest"] == digests[each["model"], each["number"]]
    moves = [
        (row.sequence, uids[row.model_id], row.name, row.action, row.to_number)
        for row in select_all(tx, "alias_moves")
    ]
    assert sorted(moves) == history.moves


def require_evaluations(tx: Transaction, history: Fold) -> None:
    """Evaluations are those of the events, and of the measures of one metric the newest counts."""
    uids = {row.id: (row.uid, row.model_id, row.number) for row in select_all(tx, "versions")}
    rows = select_all(tx, "evaluations")
    stored = {row.uid: evaluation_of(row, version=uids[row.version_id][0]) for row in rows}
    told = history.of_kind("evaluation").items()
    kept = (*EVALUATION_STATE, *EVALUATION_READ)
    assert stored == {uid: {name: each[name] for name in kept} for uid, each in told}
    newest: dict[tuple[str, ...], tuple[tuple[str, int], str, str]] = {}
    for uid, each in told:
        for metric in each["metrics"]:
            key = (each["version"], metric["name"], metric.get("dataset", ""), metric.get("slice", ""))
            measure = ((each["evaluate_time"], each["sequence"]), metric["value"], uid)
            newest[key] = max(newest.get(key, measure), measure)
    by_id = {row.id: row.uid for row in rows}
    counting = {}
    for row in select_all(tx, "evaluated_metrics"):
        version, *place = uids[row.version_id]
        assert place == [row.model_id, row.number]
        key = (version, row.name, row.dataset, row.slice)
        counting[key] = (time_of(row.evaluate_time), row.value_text, by_id[row.evaluation_id])
    assert counting == {key: (time, value, uid) for key, ((time, _), value, uid) in newest.items()}


def evaluation_of(row: Row, *, version: str) -> dict[str, Any]:
    state = {name: written(getattr(row, name)) for name in EVALUATION_STATE}
    report = {
        "path": row.report_path,
        "digest": row.report_digest,
        "size_bytes": str(row.report_size_bytes),
        "role": row.report_role,
    }
    times = {name: time_of(getattr(row, name)) for name in ("create_time", "evaluate_time")}
    origin = written(row.origin) or {}
    assert row.origin_uid == origin.get("uid")
    told = {"version": version, "report": report if row.report_digest else {}, "origin": origin}
    return state | times | told


def require_garbage(_: Transaction, history: Fold) -> None:
    """A collection leaves no state: each is a fact by itself, never changed afterwards."""
    for uid, each in history.of_kind("garbage").items():
        assert each["condemned_blobs"] == "1"
        assert history.last[uid] == each["sequence"]


def require_requests(tx: Transaction, history: Fold) -> None:
    """A remembered request that changed something is in the event of that change."""
    stored = {(row.principal, row.method, row.request_id): row.digest for row in select_all(tx, "requests")}
    assert history.requests.items() <= stored.items()


def require_tokens(tx: Transaction, history: Fold) -> None:
    names = ("principal", "description", "creator", "create_time", "expire_time", "revoke_time")
    assert access_rows(tx, "tokens", names) == told_of(history, "token", names)


def require_groups(tx: Transaction, history: Fold) -> None:
    names = ("name", "description", "create_time", "update_time")
    groups = {row.id: row.uid for row in select_all(tx, "groups")}
    assert access_rows(tx, "groups", names) == told_of(history, "group", names)
    members = {(groups[row.group_id], row.principal) for row in select_all(tx, "group_members")}
    told = history.of_kind("group").items()
    assert members == {(uid, member) for uid, each in told for member in each["members"]}


def require_grants(tx: Transaction, history: Fold) -> None:
    names = ("subject", "role", "scope", "creator", "create_time")
    assert access_rows(tx, "grants", names) == told_of(history, "grant", names)
    for row in select_all(tx, "grants"):
        space, _, model = row.scope.partition("/")
        space = "" if space.startswith("environment:") else space
        assert row.scope_key == folded_scope(row.scope)
        assert (row.namespace, row.model_key) == (space, folded_scope(f"x/{model}")[2:])


def require_policies(tx: Transaction, history: Fold) -> None:
    spaces = {row.id: row.uid for row in select_all(tx, "namespaces")}
    stored = {
        row.uid: state_of(row, POLICY_STATE)
        | {"revision": str(row.revision), "namespace": spaces[row.namespace_id]}
        for row in select_all(tx, "policies")
    }
    assert stored == part(history.of_kind("policy"), *POLICY_STATE, "namespace")


def require_environments(tx: Transaction, history: Fold) -> None:
    names = ("name", "description", "labels", "accepts", "creator", "create_time", "update_time")
    assert access_rows(tx, "environments", names) == told_of(history, "environment", names)


def require_promotions(tx: Transaction, history: Fold) -> None:
    """What is kept is what the newest event of each promotion says, and numbers have no gap."""
    spaces = {row.id: row.uid for row in select_all(tx, "namespaces")}
    uids = {row.id: row.uid for row in select_all(tx, "models")} | {0: ""}
    stored, numbers = {}, {}
    for row in select_all(tx, "promotions"):
        where = {"namespace": spaces[row.namespace_id], "model": uids[row.model_id]}
        told = {"number": str(row.number), "version": str(row.version_number)}
        times = {"expire_time": time_of(row.expire_time)}
        told["policies"] = json.loads(row.policies)
        assert row.author_id == json.loads(row.author)["id"]
        stored[row.uid] = state_of(row, PROMOTION_STATE) | json.loads(row.content) | where | told | times
        numbers.setdefault((row.namespace_id, row.model_id), []).append(row.number)
    assert stored == {uid: promoted(each) for uid, each in history.of_kind("promotion").items()}
    require_ends(tx)
    assert all(sorted(each) == list(range(1, len(each) + 1)) for each in numbers.values())


def require_ends(tx: Transaction) -> None:
    """What nothing else ended was judged under the policies of now, and is neither revoked nor deleted."""
    deleted = {
        (row.model_id, row.number) for row in select_all(tx, "versions") if row.delete_time is not None
    }
    revoked = {
        (row.model_id, row.number): json.loads(row.marks)["revocation"]["sequence"]
        for row in select_all(tx, "versions")
        if "revocation" in json.loads(row.marks or "{}")
    }
    keys: dict[int, list[str]] = {}
    for row in select_all(tx, "model_names"):
        keys.setdefault(row.model_id, []).append(row.name_key)
    policies = [(row, json.loads(row.content)["models"]) for row in select_all(tx, "policies")]
    for row in select_all(tx, "promotions"):
        if row.state != "open" or row.ended or not row.model_id:
            assert row.ended in {"", "superseded", "refused", "cancelled"}
            continue
        if row.expire_time <= events.now():
            continue
        assert (row.model_id, row.version_number) not in deleted
        protecting = [
            {"name": each.name, "uid": each.uid, "revision": str(each.revision)}
            for each, models in sorted(policies, key=lambda found: found[0].name)
            if (each.namespace_id, each.target_kind, each.target_name)
            == (row.namespace_id, row.target_kind, row.target_name)
            and (not models or any(fnmatchcase(key, form) for form in models for key in keys[row.model_id]))
        ]
        assert json.loads(row.policies) == protecting
        # What was proposed of a revoked version may be there to lift that, or to put it away.
        revocation = revoked.get((row.model_id, row.version_number), "0")
        assert int(revocation) < row.create_sequence
        assert json.loads(row.content)["reinstates"] in {"", revocation} or revocation == "0"


def promoted(state: State) -> dict[str, Any]:
    """Read the texts beside a promotion."""
    texts = {
        "checks": json.loads(state["checks"] or "[]"),
        "proposal": json.loads(state["proposal"] or "null"),
    }
    return {name: value for name, value in state.items() if name != "kind"} | texts


def access_rows(tx: Transaction, table: str, names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    def read(row: Row, name: str) -> Any:
        value = getattr(row, name)
        return time_of(value) if name.endswith("_time") and value is not None else written(value)

    return {
        row.uid: {name: read(row, name) for name in names} | {"sequence": row.sequence}
        for row in select_all(tx, table)
    }


def told_of(history: Fold, kind: str, names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    return {
        uid: {name: each.get(name, "") for name in names} | {"sequence": each["sequence"]}
        for uid, each in history.of_kind(kind).items()
    }
