"""Folding events back into the state of a registry, from their bytes alone and the texts beside them.

This is a second reading of the format that ``history/events.py`` describes, on purpose without its code.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import rfc8785

EVENT_BYTES_MAXIMUM = 64 * 1024
AFTER_BYTES_MAXIMUM = 16 * 1024
# Those of denials are not checked by anybody, so they can be erased too.
TEXT_FIELDS = {"description", "checks", "proposal", "peer", "target"}
# All others concern the whole registry.
IN_NAMESPACES = {"namespace", "model", "version", "alias", "evaluation", "policy", "promotion"}

State = Mapping[str, Any]


def model_name(state: State) -> str:
    return f"{state['namespace']}/{state['name']}"


def folded_scope(scope: str) -> str:
    """Fold the name of a model in a scope, for names differ by more than letter case."""
    space, slash, name = scope.partition("/")
    return space + slash + unicodedata.normalize("NFC", name.casefold())


def number_free(text: str) -> None:
    raise AssertionError(f"The number {text} stands in an event.")


def parse(content: bytes) -> dict[str, Any]:
    """Parse canonical bytes, which hold no JSON numbers."""
    read: dict[str, Any] = json.loads(
        content, parse_int=number_free, parse_float=number_free, parse_constant=number_free
    )
    assert rfc8785.dumps(read) == content
    return read


@dataclass
class Fold:
    """The state after some events.

    Attributes:
        texts: texts beside events, as (salt, text) by sequence and name.
        states: the state of each resource that exists, by uid, with `kind` and `sequence` added.
        last: the sequence of the last change of each resource that ever was.
        requests: digest of each request that carried an id, by caller, method and id.
        moves: of aliases: sequence, model, name, action, number after it or None.
        last_numbers: the highest number ever given out, by the uid of its model.
        tombstones: the last state of each purged version, with `purge_time`, by model and number.
        undeletions: model, number, and from when to when the version was deleted.
        retired: the last state of each purged model, with `purge_time`, by uid.
        scopes: uids of the namespace and the model that each event concerns.
        acts: who did what in each event: id of the actor, and action.
        changed: each resource with the sequence of each event that changed it.
        spaces: uid of the last namespace of each name.
        space_of: uid of the namespace of each model that ever was.
    """

    texts: Mapping[tuple[int, str], tuple[bytes, str]]
    sequence: int = 0
    time: str = ""
    registry: str = ""
    states: dict[str, State] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)
    requests: dict[tuple[str, str, str], str] = field(default_factory=dict)
    moves: list[tuple[int, str, str, str, int | None]] = field(default_factory=list)
    last_numbers: dict[str, int] = field(default_factory=dict)
    tombstones: dict[tuple[str, str], State] = field(default_factory=dict)
    undeletions: list[tuple[str, str, str, str]] = field(default_factory=list)
    retired: dict[str, State] = field(default_factory=dict)
    scopes: list[tuple[str | None, str | None]] = field(default_factory=list)
    acts: list[tuple[str, str]] = field(default_factory=list)
    changed: set[tuple[int, str]] = field(default_factory=set)
    spaces: dict[str, str] = field(default_factory=dict)
    space_of: dict[str, str] = field(default_factory=dict)
    used_texts: set[tuple[int, str]] = field(default_factory=set)

    def add(self, stored: bytes) -> None:
        """Apply one event, and check all that must hold of each."""
        assert len(stored) <= EVENT_BYTES_MAXIMUM
        event = parse(stored)
        self.sequence += 1
        assert event["format"] == "1"
        assert event["sequence"] == str(self.sequence)
        assert event["time"] >= self.time
        assert datetime.fromisoformat(event["time"]).tzinfo is not None
        assert self.registry in {"", event["registry"]}
        self.time, self.registry = event["time"], event["registry"]
        self._note_request(event)
        self._text(event.get("reason", ""), name="reason")
        assert event["changes"]
        self.scopes.append((None, None))
        self.acts.append((event["actor"]["id"], event["action"]))
        self.changed |= {(self.sequence, change["resource"]) for change in event["changes"]}
        full = len(event["changes"]) > 1 and len(stored) > EVENT_BYTES_MAXIMUM // 2
        for index, change in enumerate(event["changes"]):
            self._apply(change, index=index, action=event["action"], full=full)

    def end(self) -> None:
        """Check that no text lies beside the events that none of them binds."""
        assert self.used_texts == set(self.texts)

    def of_kind(self, kind: str) -> dict[str, State]:
        """Return the resources of one kind by uid."""
        return {uid: state for uid, state in self.states.items() if state["kind"] == kind}

    def _note_scope(self, kind: str, uid: str, state: State) -> None:
        """Note which namespace and model an event concerns, the same for all of its changes."""
        if kind not in IN_NAMESPACES:
            assert self.scopes[-1] == (None, None)
            return
        own = {"namespace": None, "policy": None, "model": uid}
        model = own[kind] if kind in own else state["model"] or None
        if kind == "namespace":
            self.spaces[state["name"]] = uid
        if kind == "model":
            self.space_of[uid] = self.spaces[state["namespace"]]
        space = uid if kind == "namespace" else self.space_of.get(model or "") or state["namespace"]
        scope = (space, model)
        assert self.scopes[-1] in {(None, None), scope}
        self.scopes[-1] = scope

    def _note_request(self, event: State) -> None:
        if request := event.get("request"):
            self.requests[event["actor"]["id"], request["method"], request["id"]] = request["digest"]

    def _apply(self, change: State, *, index: int, action: str, full: bool) -> None:
        uid, kind = change["uid"], change["resource"].partition("/")[0]
        assert change["previous"] == str(self.last.get(uid, 0))
        self.last[uid] = self.sequence
        after = self._after(change, index=index, full=full)
        if kind == "denial":
            # It says what did not happen.
            assert change["previous"] == "0"
            return
        before = self.states.pop(uid, None)
        self._note_scope(kind, uid, after or before or {})
        if after is not None:
            self.states[uid] = after | {"kind": kind, "sequence": self.sequence}
        if after is None and before is not None:
            self._end_grants(kind, before)
        if kind == "model" and after is not None and before is not None:
            self._follow(before, after)
        if kind == "alias":
            self._note_move(before or after or {}, after, action=action)
        if kind == "version":
            self._note_version(before or {}, after, action=action)
        if kind == "version" and after is None:
            self.states = {key: each for key, each in self.states.items() if each.get("version") != uid}
        if kind == "model" and after is None:
            self._end_model(uid, before or {})
        if kind == "namespace" and after is None:
            name = (before or {})["name"]
            self.retired = {uid: each for uid, each in self.retired.items() if each["namespace"] != name}
            self.states = {key: each for key, each in self.states.items() if each.get("namespace") != uid}

    def _end_grants(self, kind: str, before: State) -> None:
        """Forget the grants on or in what is gone, or those of a deleted group."""
        gone = {
            "model": lambda each: folded_scope(each["scope"]) == folded_scope(model_name(before)),
            "namespace": lambda each: each["scope"].partition("/")[0] == before["name"],
            "environment": lambda each: each["scope"] == f"environment:{before['name']}",
            "group": lambda each: each["subject"] == f"group:{before['name']}",
        }.get(kind)
        if gone is not None:
            ended = [uid for uid, each in self.of_kind("grant").items() if gone(each)]
            self.states = {uid: each for uid, each in self.states.items() if uid not in ended}

    def _follow(self, before: State, after: State) -> None:
        """Put the grants on a model on its new name; one that is there already stays, once."""
        if after["name"] == before["name"]:
            return
        old, new = folded_scope(model_name(before)), model_name(after)
        there = {
            (each["subject"], each["role"])
            for each in self.of_kind("grant").values()
            if folded_scope(each["scope"]) == folded_scope(new)
        }
        for uid, each in self.of_kind("grant").items():
            double = old != folded_scope(new) and (each["subject"], each["role"]) in there
            if folded_scope(each["scope"]) == old and double:
                del self.states[uid]
            elif folded_scope(each["scope"]) in {old, folded_scope(new)}:
                self.states[uid] = {**each, "scope": new}

    def _note_version(self, before: State, after: State | None, *, action: str) -> None:
        if after is None:
            # A version that was not deleted itself goes with its model.
            delete_time = before.get("delete_time") or self.states[before["model"]]["delete_time"]
            ended = {"delete_time": delete_time, "purge_time": self.time}
            self.tombstones[before["model"], before["number"]] = {**before, **ended}
            return
        last = self.last_numbers.get(after["model"], 0)
        # Only an import leaves numbers out.
        kept = action == "version.import" and after["origin"] and after["import_time"] == after["create_time"]
        assert before or int(after["number"]) == last + 1 or (kept and int(after["number"]) > last)
        self.last_numbers[after["model"]] = max(last, int(after["number"]))
        if "delete_time" in before and "delete_time" not in after and before["delete_time"] < self.time:
            span = (before["delete_time"], self.time)
            self.undeletions.append((after["model"], after["number"], *span))

    def _end_model(self, uid: str, before: State) -> None:
        """Forget a purged model with all that was in it, which had no aliases."""
        assert "delete_time" in before
        assert not any(each["model"] == uid for each in self.of_kind("alias").values())
        self.retired[uid] = {**before, "purge_time": self.time}
        self.states = {key: each for key, each in self.states.items() if each.get("model") != uid}
        self.tombstones = {key: each for key, each in self.tombstones.items() if key[0] != uid}
        self.undeletions = [each for each in self.undeletions if each[0] != uid]
        self.moves = [each for each in self.moves if each[1] != uid]

    def _note_move(self, named: State, after: State | None, *, action: str) -> None:
        to_number = int(after["number"]) if after else None
        # A promotion that is applied sets its alias.
        verb = action.removeprefix("alias.") if action.startswith("alias.") else "set"
        self.moves.append((self.sequence, named["model"], named["name"], verb, to_number))

    def _after(self, change: State, *, index: int, full: bool) -> dict[str, Any] | None:
        if "after_digest" in change:
            content = self._text(change["after_digest"], name=f"changes.{index}").encode()
            assert len(content) > AFTER_BYTES_MAXIMUM or full
            after = parse(content)
        elif change["after"] is None:
            return None
        else:
            after = dict(change["after"])
            assert len(rfc8785.dumps(after)) <= AFTER_BYTES_MAXIMUM
        for name in TEXT_FIELDS & after.keys():
            after[name] = self._text(after[name], name=f"changes.{index}.{name}")
        return after

    def _text(self, digest: str, *, name: str) -> str:
        """Return the text that a salted hash binds."""
        if not digest:
            return ""
        key = (self.sequence, name)
        salt, text = self.texts[key]
        self.used_texts.add(key)
        assert len(salt) >= 16
        assert digest == f"sha256:{hashlib.sha256(salt + text.encode()).hexdigest()}"
        return text


def fold(events: Iterable[bytes], *, texts: Mapping[tuple[int, str], tuple[bytes, str]]) -> Fold:
    """Apply all events to the empty registry."""
    folded = Fold(texts)
    for stored in events:
        folded.add(stored)
    folded.end()
    return folded
