"""Calls about models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from steelyard import pages, types
from steelyard.connection import new_request_id
from steelyard.content import checked_labels, require_several
from steelyard.errors import InvalidArgument
from steelyard.v1 import model_pb2
from steelyard.v1 import model_service_pb2 as pb

if TYPE_CHECKING:
    from steelyard.connection import Connection
    from steelyard.refs import References
    from steelyard.types import AbsentField, Model

_DIRECTIONS = {
    "higher-is-better": model_pb2.METRIC_DIRECTION_HIGHER_IS_BETTER,
    "lower-is-better": model_pb2.METRIC_DIRECTION_LOWER_IS_BETTER,
}


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge ended, or would end; `sequence` is 0 then."""

    name: str
    last_number: int
    sequence: int


class Models:
    """Create, read, change, rename and delete models."""

    def __init__(self, connection: Connection, *, references: References) -> None:
        self._connection = connection
        self._references = references

    def create(
        self,
        model: str,
        *,
        description: str = "",
        labels: Mapping[str, str] | None = None,
        owners: Iterable[str] = (),
        metric_directions: Mapping[str, str] | None = None,
        reason: str = "",
    ) -> Model:
        """Create a model without versions.

        Args:
            metric_directions: `higher-is-better` or `lower-is-better`, by the name of a metric.

        Raises:
            ModelAlreadyExists: there is one with this name, letter case aside.
        """
        require_several(owners, name="owners")
        request = pb.CreateModelRequest(
            name=self._references.model(model),
            description=description,
            labels=checked_labels(labels),
            owners=owners,
            metric_directions=_directions(metric_directions or {}),
            request_id=new_request_id(),
            reason=reason,
        )
        answer = self._connection.ask("ModelService/CreateModel", request, pb.CreateModelResponse)
        return types.model(answer.model)

    def get(self, model: str) -> Model:
        """Return a model by its name or a former one.

        Raises:
            ModelNotFound: there is none.
        """
        request = pb.GetModelRequest(name=self._references.model(model))
        answer = self._connection.ask("ModelService/GetModel", request, pb.GetModelResponse)
        return types.model(answer.model)

    def list(
        self,
        namespace: str | None = None,
        *,
        filter: str = "",  # noqa: A002 - as the API calls it
        order_by: str = "",
        show_deleted: bool = False,
    ) -> Iterator[Model]:
        """Yield the models of a namespace, by default the client's.

        Args:
            filter: which models, for example `fraud AND labels.team = "risk"`; empty means all.
            order_by: fields separated by commas, each alone or followed by `desc`; empty means `name`.
            show_deleted: yield deleted ones too.

        Raises:
            FilterInvalid, OrderByInvalid: the message says in which column, and what was expected.
        """
        request = pb.ListModelsRequest(
            namespace=namespace or self._references.namespace,
            filter=filter,
            order_by=order_by,
            show_deleted=show_deleted,
        )
        for message, value in pages.ordered(request, field="models", ask=self._page):
            yield types.model(message, order_value=value)

    def absent_fields(
        self,
        namespace: str | None = None,
        *,
        filter: str,  # noqa: A002 - as the API calls it
        show_deleted: bool = False,
    ) -> tuple[AbsentField, ...]:
        """Return what a filter asks for that no model has, where `list` yields nothing; else nothing.

        A name in it is likely mistyped.
        """
        request = pb.ListModelsRequest(
            namespace=namespace or self._references.namespace,
            filter=filter,
            show_deleted=show_deleted,
            page_size=1,
        )
        return tuple(
            types.AbsentField(each.field, each.suggestion) for each in self._page(request).absent_fields
        )

    def _page(self, request: pb.ListModelsRequest) -> pb.ListModelsResponse:
        return self._connection.ask("ModelService/ListModels", request, pb.ListModelsResponse)

    def update(
        self,
        model: str,
        *,
        description: str | None = None,
        labels: Mapping[str, str] | None = None,
        owners: Iterable[str] | None = None,
        metric_directions: Mapping[str, str] | None = None,
        etag: str = "",
        reason: str = "",
    ) -> Model:
        """Change what is not None.

        Raises:
            EtagMismatch: it changed since *etag* was read.
        """
        require_several(owners, name="owners")
        changed = model_pb2.Model(
            name=self._references.model(model),
            description=description or "",
            labels=checked_labels(labels),
            owners=owners or (),
            metric_directions=_directions(metric_directions or {}),
        )
        request = pb.UpdateModelRequest(model=changed, etag=etag, request_id=new_request_id(), reason=reason)
        stated = {
            "description": description,
            "labels": labels,
            "owners": owners,
            "metric_directions": metric_directions,
        }
        request.update_mask.paths.extend(field for field, value in stated.items() if value is not None)
        answer = self._connection.ask("ModelService/UpdateModel", request, pb.UpdateModelResponse)
        return types.model(answer.model)

    def rename(self, model: str, new_name: str, *, etag: str = "", reason: str = "") -> Model:
        """Give a model another name in its namespace; the old one goes on to find it and is not reusable.

        Raises:
            ModelAlreadyExists, NameRetired: another model has or had the name.
        """
        name = self._references.model(model)
        if "/" not in new_name:
            new_name = f"{name.partition('/')[0]}/{new_name}"
        request = pb.RenameModelRequest(
            name=name, new_name=new_name, etag=etag, request_id=new_request_id(), reason=reason
        )
        answer = self._connection.ask("ModelService/RenameModel", request, pb.RenameModelResponse)
        return types.model(answer.model)

    def delete(self, model: str, *, etag: str = "", validate_only: bool = False, reason: str = "") -> Model:
        """Delete a model that has no aliases; it is not found any more, and `undelete` brings it back.

        Args:
            validate_only: change nothing, and return it as it would be.

        Raises:
            ModelInUse: it has aliases.
            EtagMismatch: it changed since *etag* was read.
        """
        request = pb.DeleteModelRequest(
            name=self._references.model(model),
            etag=etag,
            validate_only=validate_only,
            request_id=new_request_id(),
            reason=reason,
        )
        answer = self._connection.ask("ModelService/DeleteModel", request, pb.DeleteModelResponse)
        return types.model(answer.model)

    def undelete(self, model: str, *, etag: str = "", validate_only: bool = False, reason: str = "") -> Model:
        """Bring a deleted model back as it was, with its versions.

        Args:
            validate_only: change nothing, and return it as it would be.

        Raises:
            NotDeleted: it is not deleted.
            EtagMismatch: it changed since *etag* was read.
        """
        request = pb.UndeleteModelRequest(
            name=self._references.model(model),
            etag=etag,
            validate_only=validate_only,
            request_id=new_request_id(),
            reason=reason,
        )
        answer = self._connection.ask("ModelService/UndeleteModel", request, pb.UndeleteModelResponse)
        return types.model(answer.model)

    def purge(self, model: str, *, etag: str = "", validate_only: bool = False, reason: str = "") -> Purged:
        """End a deleted model for good with all its versions; its names are never given out again.

        Args:
            validate_only: change nothing, and return what would be ended.

        Raises:
            NotDeleted: it must be deleted first.
            EtagMismatch: it changed since *etag* was read.
        """
        request = pb.PurgeModelRequest(
            name=self._references.model(model),
            etag=etag,
            validate_only=validate_only,
            request_id=new_request_id(),
            reason=reason,
        )
        answer = self._connection.ask("ModelService/PurgeModel", request, pb.PurgeModelResponse)
        return Purged(answer.name, answer.last_number, answer.sequence)


def _directions(directions: Mapping[str, str]) -> dict[str, model_pb2.MetricDirection.ValueType]:
    for metric, direction in directions.items():
        if direction not in _DIRECTIONS:
            raise InvalidArgument(
                f"The direction of {metric} is {direction!r}; use {' or '.join(_DIRECTIONS)}."
            )
    return {metric: _DIRECTIONS[direction] for metric, direction in directions.items()}
