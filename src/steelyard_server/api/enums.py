"""Enum values as the words of the core: ``FILE_ROLE_SERVING_CONFIG`` is `serving-config`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from steelyard.v1 import (
    access_pb2,
    actor_pb2,
    alias_pb2,
    comparison_pb2,
    content_pb2,
    maintenance_service_pb2,
    model_pb2,
    promotion_pb2,
    rule_pb2,
)
from steelyard_server.errors import EnumInvalid

if TYPE_CHECKING:
    from google.protobuf.descriptor import EnumDescriptor


class Words:
    """Translate one enum.

    Args:
        descriptor: the enum; its values begin with its name in upper snake case.
        unspecified: word for the zero value; None refuses it.
    """

    def __init__(self, descriptor: EnumDescriptor, *, unspecified: str | None = None) -> None:
        prefix = descriptor.values_by_number[0].name.removesuffix("UNSPECIFIED")
        self._words = {
            value.number: value.name.removeprefix(prefix).lower().replace("_", "-")
            for value in descriptor.values
            if value.number != 0
        }
        self._numbers = {word: number for number, word in self._words.items()}
        if unspecified is not None:
            self._words[0] = unspecified

    def word(self, number: int, *, field: str) -> str:
        """Return the word for a value of a request.

        Raises:
            EnumInvalid: it is unspecified or unknown.
        """
        word = self._words.get(number)
        if word is None:
            message = (
                f"`{field}` is unspecified or unknown ({number}); use one of: {', '.join(self._numbers)}."
            )
            raise EnumInvalid(message, field=field)
        return word

    def number(self, word: str) -> Any:
        """Return the value for a word of the core; 0 for one that this version does not know."""
        return self._numbers.get(word, 0)


ACCESS_ROLES = Words(access_pb2.Role.DESCRIPTOR)
ACTIONS = Words(alias_pb2.AliasAction.DESCRIPTOR)
ACTOR_KINDS = Words(actor_pb2.ActorKind.DESCRIPTOR)
CHECK_STATES = Words(promotion_pb2.CheckState.DESCRIPTOR)
DIRECTIONS = Words(model_pb2.MetricDirection.DESCRIPTOR)
FILE_CHANGES = Words(comparison_pb2.FileChange.DESCRIPTOR)
PERMISSIONS = Words(rule_pb2.Permission.DESCRIPTOR)
RELATIONS = Words(content_pb2.ParentRelation.DESCRIPTOR)
PROBLEMS = Words(maintenance_service_pb2.StorageProblemKind.DESCRIPTOR)
ROLES = Words(content_pb2.FileRole.DESCRIPTOR, unspecified="other")
PROMOTION_ACTIONS = Words(promotion_pb2.PromotionAction.DESCRIPTOR)
PROMOTION_STATES = Words(promotion_pb2.PromotionState.DESCRIPTOR)
VERDICTS = Words(promotion_pb2.Verdict.DESCRIPTOR)
