"""EnvironmentService: translate, call, translate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.v1 import environment_pb2
from steelyard.v1 import environment_service_pb2 as pb
from steelyard_server.api import convert
from steelyard_server.api.transact import mutate, observe
from steelyard_server.core import environments

if TYPE_CHECKING:
    from steelyard_server.api.call import Call
    from steelyard_server.api.pages import Pages
    from steelyard_server.core.environments import Environment
    from steelyard_server.db.database import Database


class EnvironmentService:
    """Serve environments from the database."""

    def __init__(self, database: Database, *, pages: Pages) -> None:
        self._database = database
        self._pages = pages

    async def CreateEnvironment(self, request: pb.CreateEnvironmentRequest, call: Call) -> bytes:
        """Create an environment."""

        def answer(created: Environment) -> pb.CreateEnvironmentResponse:
            return pb.CreateEnvironmentResponse(environment=_message(created), sequence=created.sequence)

        return await mutate(
            self._database,
            call,
            request,
            environments.create,
            answer,
            name=request.name,
            draft=_draft(request),
        )

    async def GetEnvironment(
        self, request: pb.GetEnvironmentRequest, call: Call
    ) -> pb.GetEnvironmentResponse:
        """Answer one environment."""
        found, sequence = await observe(
            self._database,
            call,
            environments.get,
            minimum_sequence=request.minimum_sequence,
            hot=True,
            name=request.name,
        )
        return pb.GetEnvironmentResponse(environment=_message(found), sequence=sequence)

    async def ListEnvironments(
        self, request: pb.ListEnvironmentsRequest, call: Call
    ) -> pb.ListEnvironmentsResponse:
        """Answer a page of environments."""
        query = ("environments",)
        (found, more), sequence = await observe(
            self._database,
            call,
            environments.page,
            minimum_sequence=request.minimum_sequence,
            filtered=True,
            after_name=self._pages.decode(query, request.page_token, str) or "",
            page_size=request.page_size,
        )
        return pb.ListEnvironmentsResponse(
            environments=map(_message, found),
            next_page_token=self._pages.encode(query, found[-1].name) if more else "",
            sequence=sequence,
        )

    async def UpdateEnvironment(self, request: pb.UpdateEnvironmentRequest, call: Call) -> bytes:
        """Change what may change of an environment."""

        def answer(changed: Environment) -> pb.UpdateEnvironmentResponse:
            return pb.UpdateEnvironmentResponse(environment=_message(changed), sequence=changed.sequence)

        return await mutate(
            self._database,
            call,
            request,
            environments.modify,
            answer,
            name=request.environment.name,
            draft=_draft(request.environment),
            mask=convert.mask(request.update_mask, present=request.HasField("update_mask")),
            etag=request.etag,
        )

    async def DeleteEnvironment(self, request: pb.DeleteEnvironmentRequest, call: Call) -> bytes:
        """Delete an environment and the grants on it."""

        def answer(sequence: int) -> pb.DeleteEnvironmentResponse:
            return pb.DeleteEnvironmentResponse(sequence=0 if request.validate_only else sequence)

        return await mutate(
            self._database,
            call,
            request,
            environments.remove,
            answer,
            validate_only=request.validate_only,
            name=request.name,
            etag=request.etag,
        )


def _draft(message: pb.CreateEnvironmentRequest | environment_pb2.Environment) -> environments.Draft:
    return environments.Draft(
        description=message.description, labels=dict(message.labels), accepts=tuple(message.accepts)
    )


def _message(value: Environment) -> environment_pb2.Environment:
    return environment_pb2.Environment(
        name=value.name,
        uid=value.uid,
        description=value.description,
        labels=value.labels,
        accepts=value.accepts,
        creator=convert.actor(value.creator),
        create_time=convert.timestamp(value.create_time),
        update_time=convert.timestamp(value.update_time),
        etag=str(value.sequence),
    )
