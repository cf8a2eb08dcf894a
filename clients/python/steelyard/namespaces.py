"""Calls about namespaces."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from steelyard import pages, types
from steelyard.connection import new_request_id
from steelyard.content import checked_labels, checked_number
from steelyard.v1 import namespace_pb2
from steelyard.v1 import namespace_service_pb2 as pb

if TYPE_CHECKING:
    from steelyard.connection import Connection
    from steelyard.types import Namespace, Quota, Retention

Message = TypeVar("Message", namespace_pb2.Quota, namespace_pb2.Retention)


class Namespaces:
    """Create, read, change and delete namespaces."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(
        self,
        name: str,
        *,
        description: str = "",
        labels: Mapping[str, str] | None = None,
        quota: Quota | None = None,
        retention: Retention | None = None,
        stages: Sequence[str] = (),
        reason: str = "",
    ) -> Namespace:
        """Create a namespace.

        Args:
            stages: that its versions can be in, the first is `development`; those of all others if not given.

        Raises:
            NamespaceAlreadyExists: there is one with this name.
        """
        request = pb.CreateNamespaceRequest(
            name=name,
            description=description,
            labels=checked_labels(labels),
            quota=_numbers(quota, namespace_pb2.Quota),
            retention=_numbers(retention, namespace_pb2.Retention),
            stages=stages,
            request_id=new_request_id(),
            reason=reason,
        )
        answer = self._connection.ask("NamespaceService/CreateNamespace", request, pb.CreateNamespaceResponse)
        return types.namespace(answer.namespace)

    def get(self, name: str) -> Namespace:
        """Return a namespace.

        Raises:
            NamespaceNotFound: there is none with this name.
        """
        request = pb.GetNamespaceRequest(name=name)
        answer = self._connection.ask("NamespaceService/GetNamespace", request, pb.GetNamespaceResponse)
        return types.namespace(answer.namespace)

    def list(self) -> Iterator[Namespace]:
        """Yield all namespaces in the order of their names."""

        def ask(request: pb.ListNamespacesRequest) -> pb.ListNamespacesResponse:
            return self._connection.ask("NamespaceService/ListNamespaces", request, pb.ListNamespacesResponse)

        yield from map(
            types.namespace, pages.entries(pb.ListNamespacesRequest(), field="namespaces", ask=ask)
        )

    def update(
        self,
        name: str,
        *,
        description: str | None = None,
        labels: Mapping[str, str] | None = None,
        quota: Quota | None = None,
        retention: Retention | None = None,
        stages: Sequence[str] | None = None,
        etag: str = "",
        reason: str = "",
    ) -> Namespace:
        """Change what is not None; `Quota()` and `Retention()` lift all limits, `()` means the usual stages.

        A quota may be set below what is in use: nothing is lost, and more is refused. A retention counts
        from the next collection of garbage on, whose dry run says what would go.

        Raises:
            EtagMismatch: it changed since *etag* was read.
        """
        namespace = namespace_pb2.Namespace(
            name=name,
            description=description or "",
            labels=checked_labels(labels),
            quota=_numbers(quota, namespace_pb2.Quota),
            retention=_numbers(retention, namespace_pb2.Retention),
            stages=stages or (),
        )
        request = pb.UpdateNamespaceRequest(
            namespace=namespace, etag=etag, request_id=new_request_id(), reason=reason
        )
        stated = {
            "description": description,
            "labels": labels,
            "quota": quota,
            "retention": retention,
            "stages": stages,
        }
        request.update_mask.paths.extend(field for field, value in stated.items() if value is not None)
        answer = self._connection.ask("NamespaceService/UpdateNamespace", request, pb.UpdateNamespaceResponse)
        return types.namespace(answer.namespace)

    def delete(self, name: str, *, etag: str = "", reason: str = "") -> int:
        """Delete a namespace that has no models, and return the sequence of the event.

        Raises:
            NamespaceNotEmpty: it has models.
        """
        request = pb.DeleteNamespaceRequest(name=name, etag=etag, request_id=new_request_id(), reason=reason)
        answer = self._connection.ask("NamespaceService/DeleteNamespace", request, pb.DeleteNamespaceResponse)
        return answer.sequence


def _numbers(given: Quota | Retention | None, kind: type[Message]) -> Message | None:
    """Return the message of a dataclass of numbers that has the same fields."""
    if given is None:
        return None
    fields = {field.name: getattr(given, field.name) for field in dataclasses.fields(given)}
    return kind(**{name: checked_number(number, name=name) for name, number in fields.items()})
