"""NamespaceService: translate, call, translate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.v1 import namespace_service_pb2 as pb
from steelyard_server.api import convert
from steelyard_server.api.transact import mutate, observe
from steelyard_server.core import namespaces

if TYPE_CHECKING:
    from steelyard.v1 import namespace_pb2
    from steelyard_server.api.call import Call
    from steelyard_server.api.pages import Pages
    from steelyard_server.db.database import Database


class NamespaceService:
    """Serve namespaces from the database."""

    def __init__(self, database: Database, *, pages: Pages) -> None:
        self._database = database
        self._pages = pages

    async def CreateNamespace(self, request: pb.CreateNamespaceRequest, call: Call) -> bytes:
        """Create a namespace."""

        def answer(created: namespaces.Namespace) -> pb.CreateNamespaceResponse:
            namespace = convert.namespace(created)
            return pb.CreateNamespaceResponse(namespace=namespace, sequence=created.sequence)

        return await mutate(
            self._database,
            call,
            request,
            namespaces.create,
            answer,
            name=request.name,
            draft=_draft(request),
        )

    async def GetNamespace(self, request: pb.GetNamespaceRequest, call: Call) -> pb.GetNamespaceResponse:
        """Answer one namespace."""
        found, sequence = await observe(
            self._database,
            call,
            namespaces.get,
            minimum_sequence=request.minimum_sequence,
            hot=True,
            name=request.name,
        )
        return pb.GetNamespaceResponse(namespace=convert.namespace(found), sequence=sequence)

    async def ListNamespaces(
        self, request: pb.ListNamespacesRequest, call: Call
    ) -> pb.ListNamespacesResponse:
        """Answer a page of namespaces."""
        query = ("namespaces",)
        (found, more), sequence = await observe(
            self._database,
            call,
            namespaces.page,
            minimum_sequence=request.minimum_sequence,
            filtered=True,
            after_name=self._pages.decode(query, request.page_token, str) or "",
            page_size=request.page_size,
        )
        return pb.ListNamespacesResponse(
            namespaces=[convert.namespace(each) for each in found],
            next_page_token=self._pages.encode(query, found[-1].name) if more else "",
            sequence=sequence,
        )

    async def UpdateNamespace(self, request: pb.UpdateNamespaceRequest, call: Call) -> bytes:
        """Change what may change of a namespace."""

        def answer(changed: namespaces.Namespace) -> pb.UpdateNamespaceResponse:
            namespace = convert.namespace(changed)
            return pb.UpdateNamespaceResponse(namespace=namespace, sequence=changed.sequence)

        return await mutate(
            self._database,
            call,
            request,
            namespaces.modify,
            answer,
            name=request.namespace.name,
            draft=_draft(request.namespace),
            mask=convert.mask(request.update_mask, present=request.HasField("update_mask")),
            etag=request.etag,
        )

    async def DeleteNamespace(self, request: pb.DeleteNamespaceRequest, call: Call) -> bytes:
        """Delete a namespace that has no models."""

        def answer(sequence: int) -> pb.DeleteNamespaceResponse:
            return pb.DeleteNamespaceResponse(sequence=0 if request.validate_only else sequence)

        return await mutate(
            self._database,
            call,
            request,
            namespaces.remove,
            answer,
            validate_only=request.validate_only,
            name=request.name,
            etag=request.etag,
        )


def _draft(message: pb.CreateNamespaceRequest | namespace_pb2.Namespace) -> namespaces.Draft:
    return namespaces.Draft(
        description=message.description,
        labels=dict(message.labels),
        quota=convert.quota(message.quota),
        retention=convert.retention(message.retention),
        stages=tuple(message.stages),
    )
