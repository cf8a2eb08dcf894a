"""Remembering encoded answers: the most asked versions are answered without the database.

An entry is dropped before a write to its model is acknowledged, so an answer is never older than
what a caller was told. Entries are stamped with the newest sequence that the memo was told of: what
it has not heard of yet it must not claim to have seen.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from steelyard_server.history.events import Committed

if TYPE_CHECKING:
    from collections.abc import Hashable

ENTRIES_MAXIMUM = 16_384
BYTES_MAXIMUM = 64 * 1024 * 1024
ENTRY_BYTES_MAXIMUM = 64 * 1024
# A key is made of names that were found, so their limits bound it.
OVERHEAD_BYTES = 2048


@dataclass(slots=True)
class Memo:
    """Keep answers by request, least recently used first to go.

    All methods belong to the thread of the event loop. With several servers on one database a
    memo cannot know of the others' writes: then it must not be `enabled`.

    Args:
        sequence: the newest one that it was told of.
    """

    enabled: bool = True
    sequence: int = 0
    _answers: OrderedDict[Hashable, tuple[str, bytes]] = field(default_factory=OrderedDict)
    _by_model: dict[str, set[Hashable]] = field(default_factory=dict)
    _touched: OrderedDict[str, int] = field(default_factory=OrderedDict)
    _forgotten: int = 0
    _size_bytes: int = 0

    def find(self, key: Hashable) -> bytes | None:
        """Return the answer kept for *key*, or None."""
        entry = self._answers.get(key)
        if entry is None:
            return None
        self._answers.move_to_end(key)
        return entry[1]

    def keep(self, key: Hashable, answer: bytes, *, model_uid: str, sequence: int) -> None:
        """Keep *answer*, read at *sequence*, unless the model changed since or may have."""
        changed = self._touched.get(model_uid, self._forgotten)
        known = changed <= sequence <= self.sequence
        if not self.enabled or not known or len(answer) > ENTRY_BYTES_MAXIMUM:
            return
        self._drop(key)
        self._answers[key] = (model_uid, answer)
        self._by_model.setdefault(model_uid, set()).add(key)
        self._size_bytes += len(answer) + OVERHEAD_BYTES
        while self._size_bytes > BYTES_MAXIMUM or len(self._answers) > ENTRIES_MAXIMUM:
            self._drop(next(iter(self._answers)))

    def on_commit(self, facts: list[object]) -> None:
        """Drop what committed events touched; called before their callers are answered."""
        for fact in facts:
            if isinstance(fact, Committed):
                self.sequence = max(self.sequence, fact.sequence)
                for model_uid in fact.model_uids:
                    self._touch(model_uid, fact.sequence)

    def _touch(self, model_uid: str, sequence: int) -> None:
        for key in self._by_model.pop(model_uid, ()):
            self._size_bytes -= len(self._answers.pop(key)[1]) + OVERHEAD_BYTES
        self._touched[model_uid] = sequence
        self._touched.move_to_end(model_uid)
        while len(self._touched) > ENTRIES_MAXIMUM:
            _, forgotten = self._touched.popitem(last=False)
            self._forgotten = max(self._forgotten, forgotten)

    def _drop(self, key: Hashable) -> None:
        entry = self._answers.pop(key, None)
        if entry is None:
            return
        model_uid, answer = entry
        self._size_bytes -= len(answer) + OVERHEAD_BYTES
        keys = self._by_model[model_uid]
        keys.discard(key)
        if not keys:
            del self._by_model[model_uid]
