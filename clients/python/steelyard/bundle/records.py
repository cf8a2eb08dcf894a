"""The lines of a bundle: what stands in them, written and read strictly."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

from steelyard.bundle import archive
from steelyard.errors import BundleInvalid
from steelyard.manifest import content
from steelyard.v1 import alias_pb2, content_pb2, evaluation_pb2, event_pb2, model_pb2, version_pb2

KIND, FORMAT = "steelyard-bundle", "1"
_ABOUT = {"kind": str, "format": str, "registry": str, "server_version": str, "create_time": str}
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Read = TypeVar("Read", bound=Message)


class Wrong(Exception):
    """Says what is wrong with one line."""


@dataclass(frozen=True, slots=True)
class About:
    """Where a bundle comes from.

    Args:
        registry_uid: of the registry that it was exported from.
        create_time: when it was, RFC 3339.
        references: what was asked for.
    """

    registry_uid: str
    server_version: str
    create_time: str
    references: tuple[str, ...]

    @property
    def uri(self) -> str:
        """Return the address of the registry, as origins have it."""
        return f"urn:uuid:{self.registry_uid}"

    def encode(self) -> bytes:
        """Write it as a member."""
        facts = {
            "kind": KIND,
            "format": FORMAT,
            "registry": self.registry_uid,
            "server_version": self.server_version,
            "create_time": self.create_time,
            "references": list(self.references),
        }
        return archive.line(facts)

    @classmethod
    def read(cls, encoded: bytes) -> About:
        """Read it from its line; an unknown format comes before all that it may have changed."""
        facts = _facts(encoded)
        if facts.get("kind") != KIND:
            raise Wrong("it is no bundle of Steelyard")
        if facts.get("format") != FORMAT:
            raise Wrong(f"it has format {facts.get('format')!r}, and this client knows {FORMAT!r} only")
        references = facts.get("references")
        wrong = [name for name, kind in _ABOUT.items() if not isinstance(facts.get(name), kind)]
        if wrong or not isinstance(references, list) or facts.keys() != {*_ABOUT, "references"}:
            raise Wrong("it does not say where the bundle comes from")
        if _UUID.fullmatch(facts["registry"]) is None or not all(
            isinstance(each, str) for each in references
        ):
            raise Wrong("it does not say where the bundle comes from")
        return cls(facts["registry"], facts["server_version"], facts["create_time"], tuple(references))


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A model, and those of its aliases that point to a version of the bundle."""

    message: model_pb2.Model
    aliases: tuple[alias_pb2.Alias, ...]

    def encode(self) -> bytes:
        """Write it as a line."""
        return archive.line({"model": _dict(self.message), "aliases": list(map(_dict, self.aliases))})

    @classmethod
    def read(cls, encoded: bytes) -> ModelRecord:
        """Read it from its line."""
        facts = _facts(encoded, "model", "aliases")
        aliases = tuple(_message(each, alias_pb2.Alias()) for each in _list(facts["aliases"]))
        return cls(_message(facts["model"], model_pb2.Model()), aliases)


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """A version, and its manifest, whose sha256 is its digest.

    Args:
        message: without what means nothing elsewhere, and without the content.
        content: what the manifest says, as requests have it.
    """

    message: version_pb2.Version
    manifest: bytes
    content: content_pb2.Content

    @classmethod
    def of(cls, message: version_pb2.Version, manifest: bytes) -> VersionRecord:
        """Put a version and its manifest together; what belongs to one registry alone is left out."""
        bare = version_pb2.Version()
        bare.CopyFrom(message)
        for name in ("content", "etag", "update_time", "aliases"):
            bare.ClearField(name)
        return cls(bare, manifest, _content(bare, manifest))

    def encode(self) -> bytes:
        """Write it as a line."""
        return archive.line({"version": _dict(self.message), "manifest": self.manifest.decode()})

    @classmethod
    def read(cls, encoded: bytes) -> VersionRecord:
        """Read it from its line, and compare the manifest with the digest."""
        facts = _facts(encoded, "version", "manifest")
        message = _message(facts["version"], version_pb2.Version())
        if not isinstance(facts["manifest"], str):
            raise Wrong("the manifest is no text")
        manifest = facts["manifest"].encode()
        return cls(message, manifest, _content(message, manifest))


@dataclass(frozen=True, slots=True)
class EventRecord:
    """An event of the registry that was exported from: its bytes, and the texts that were not erased."""

    content: bytes
    texts: tuple[event_pb2.EventText, ...]

    @property
    def told(self) -> dict[str, Any]:
        """Return what the event says."""
        found: dict[str, Any] = json.loads(self.content)
        return found

    def encode(self) -> bytes:
        """Write it as a line."""
        texts = [
            {"name": each.name, "salt": base64.b64encode(each.salt).decode(), "text": each.text}
            for each in self.texts
        ]
        return archive.line({"content": self.content.decode(), "texts": texts})

    @classmethod
    def read(cls, encoded: bytes) -> EventRecord:
        """Read it from its line, and compare each text with the hash that binds it."""
        facts = _facts(encoded, "content", "texts")
        if not isinstance(facts["content"], str):
            raise Wrong("the event is no text")
        record = cls(facts["content"].encode(), tuple(map(_text, _list(facts["texts"]))))
        told = _facts(record.content)
        if not all(isinstance(told.get(name), str) for name in ("registry", "sequence", "action")):
            raise Wrong("the event does not say whose it is")
        where = [facts["content"], *(each.text for each in record.texts)]
        for each in record.texts:
            digest = f"sha256:{hashlib.sha256(each.salt + each.text.encode()).hexdigest()}"
            if not any(digest in text for text in where):
                raise Wrong(f"the event does not bind the text {each.name!r}")
        return record


def evaluation_line(message: evaluation_pb2.Evaluation) -> bytes:
    """Write an evaluation as a line."""
    return archive.line(_dict(message))


def read_evaluation(encoded: bytes) -> evaluation_pb2.Evaluation:
    """Read an evaluation from its line."""
    return _message(_facts(encoded), evaluation_pb2.Evaluation())


def named(error: Wrong | ValueError, *, member: str, number: int) -> BundleInvalid:
    """Return the error that says which line is wrong."""
    return BundleInvalid(f"{member}, line {number}: {error}. The bundle is none, or was changed.")


def _content(message: version_pb2.Version, manifest: bytes) -> content_pb2.Content:
    """Return what a manifest says, which must be that of the digest."""
    if f"sha256:{hashlib.sha256(manifest).hexdigest()}" != message.digest:
        raise Wrong(f"the manifest of version {message.number} is not that of {message.digest}")
    return content(manifest)


def _facts(encoded: bytes, *names: str) -> dict[str, Any]:
    """Read a JSON object with members of these names and no others; without names with any."""
    try:
        facts = json.loads(encoded, object_pairs_hook=_distinct, parse_constant=_no_number)
    except (RecursionError, ValueError) as error:
        raise Wrong(f"it is no JSON ({error})") from None
    if not isinstance(facts, dict) or (names and facts.keys() != set(names)):
        raise Wrong(f"it is no object with {' and '.join(names) or 'members'}")
    return facts


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member comes twice")
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def _list(value: object) -> Iterator[Any]:
    if not isinstance(value, list):
        raise Wrong("something is no list")
    return iter(value)


def _dict(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = json_format.MessageToDict(message)
    return found


def _message(facts: object, message: Read) -> Read:
    if not isinstance(facts, dict):
        raise Wrong(f"there is no {type(message).__name__}")
    try:
        json_format.ParseDict(facts, message)
    except (json_format.ParseError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise Wrong(str(error)) from None
    return message


def _text(facts: object) -> event_pb2.EventText:
    names: Iterable[str] = facts.keys() if isinstance(facts, dict) else ()
    if not isinstance(facts, dict) or set(names) != {"name", "salt", "text"}:
        raise Wrong("a text of an event is none")
    try:
        salt = base64.b64decode(facts["salt"], validate=True)
        return event_pb2.EventText(name=facts["name"], salt=salt, text=facts["text"])
    except (binascii.Error, TypeError, ValueError) as error:
        raise Wrong(f"a text of an event is none ({error})") from None
