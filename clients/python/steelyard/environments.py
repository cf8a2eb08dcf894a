"""Calls about environments: the places where models run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from google.protobuf.field_mask_pb2 import FieldMask

from steelyard import pages, types
from steelyard.connection import new_request_id
from steelyard.content import checked_labels
from steelyard.v1 import environment_pb2
from steelyard.v1 import environment_service_pb2 as pb

if TYPE_CHECKING:
    from steelyard.connection import Connection
    from steelyard.types import Actor


@dataclass(frozen=True, slots=True)
class Environment:
    """A place where models run.

    Args:
        accepts: stages of which a version must stand in one; none means any that policies allow.
    """

    name: str
    uid: str
    description: str
    labels: Mapping[str, str]
    accepts: tuple[str, ...]
    creator: Actor
    create_time: datetime
    update_time: datetime
    etag: str
    message: environment_pb2.Environment = field(repr=False, compare=False)


class Environments:
    """Create, read, change and delete environments."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(
        self,
        name: str,
        *,
        description: str = "",
        labels: Mapping[str, str] | None = None,
        accepts: Sequence[str] = (),
        reason: str = "",
    ) -> Environment:
        """Create an environment.

        Args:
            accepts: stages of which a version must stand in one; none means any that policies allow.

        Raises:
            EnvironmentAlreadyExists: there is one with this name.
        """
        request = pb.CreateEnvironmentRequest(
            name=name,
            description=description,
            labels=checked_labels(labels),
            accepts=accepts,
            request_id=new_request_id(),
            reason=reason,
        )
        answer = self._connection.ask(
            "EnvironmentService/CreateEnvironment", request, pb.CreateEnvironmentResponse
        )
        return _environment(answer.environment)

    def get(self, name: str) -> Environment:
        """Return an environment.

        Raises:
            EnvironmentNotFound: there is none with this name.
        """
        request = pb.GetEnvironmentRequest(name=name)
        answer = self._connection.ask("EnvironmentService/GetEnvironment", request, pb.GetEnvironmentResponse)
        return _environment(answer.environment)

    def list(self) -> Iterator[Environment]:
        """Yield all environments that you may read, in the order of their names."""

        def ask(request: pb.ListEnvironmentsRequest) -> pb.ListEnvironmentsResponse:
            return self._connection.ask(
                "EnvironmentService/ListEnvironments", request, pb.ListEnvironmentsResponse
            )

        yield from map(
            _environment, pages.entries(pb.ListEnvironmentsRequest(), field="environments", ask=ask)
        )

    def update(
        self,
        name: str,
        *,
        description: str | None = None,
        labels: Mapping[str, str] | None = None,
        accepts: Sequence[str] | None = None,
        etag: str = "",
        reason: str = "",
    ) -> Environment:
        """Change what is not None; `accepts=()` takes any stage again.

        Raises:
            EnvironmentNotFound: there is none with this name.
            EtagMismatch: it changed since *etag* was read.
        """
        given = {"description": description, "labels": labels, "accepts": accepts}
        request = pb.UpdateEnvironmentRequest(
            environment=environment_pb2.Environment(
                name=name,
                description=description or "",
                labels=checked_labels(labels),
                accepts=accepts or (),
            ),
            update_mask=FieldMask(paths=[path for path, value in given.items() if value is not None]),
            etag=etag,
            request_id=new_request_id(),
            reason=reason,
        )
        answer = self._connection.ask(
            "EnvironmentService/UpdateEnvironment", request, pb.UpdateEnvironmentResponse
        )
        return _environment(answer.environment)

    def delete(self, name: str, *, etag: str = "", reason: str = "") -> int:
        """Delete an environment with all roles that were granted on it; return the sequence of the event.

        Raises:
            EnvironmentNotFound: there is none with this name.
            EtagMismatch: it changed since *etag* was read.
        """
        request = pb.DeleteEnvironmentRequest(
            name=name, etag=etag, request_id=new_request_id(), reason=reason
        )
        answer = self._connection.ask(
            "EnvironmentService/DeleteEnvironment", request, pb.DeleteEnvironmentResponse
        )
        return answer.sequence


def _environment(message: environment_pb2.Environment) -> Environment:
    return Environment(
        name=message.name,
        uid=message.uid,
        description=message.description,
        labels=dict(sorted(message.labels.items())),
        accepts=tuple(message.accepts),
        creator=types.actor(message.creator),
        create_time=types.time(message.create_time),
        update_time=types.time(message.update_time),
        etag=message.etag,
        message=message,
    )
