"""ModelService: translate, call, translate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.v1 import model_service_pb2 as pb
from steelyard.v1.model_pb2 import Model
from steelyard_server.api import convert
from steelyard_server.api.enums import DIRECTIONS
from steelyard_server.api.transact import mutate, observe
from steelyard_server.core import model_deletions, models

if TYPE_CHECKING:
    from steelyard_server.api.call import Call
    from steelyard_server.api.pages import Pages
    from steelyard_server.db.database import Database


class ModelService:
    """Serve models from the database."""

    def __init__(self, database: Database, *, pages: Pages) -> None:
        self._database = database
        self._pages = pages

    async def CreateModel(self, request: pb.CreateModelRequest, call: Call) -> bytes:
        """Create a model."""

        def answer(created: models.Model) -> pb.CreateModelResponse:
            return pb.CreateModelResponse(model=convert.model(created), sequence=created.sequence)

        return await mutate(
            self._database,
            call,
            request,
            models.create,
            answer,
            name=request.name,
            draft=_draft(request),
        )

    async def GetModel(self, request: pb.GetModelRequest, call: Call) -> pb.GetModelResponse:
        """Answer one model."""
        found, sequence = await observe(
            self._database,
            call,
            models.get,
            minimum_sequence=request.minimum_sequence,
            hot=True,
            name=request.name,
        )
        return pb.GetModelResponse(model=convert.model(found), sequence=sequence)

    async def ListModels(self, request: pb.ListModelsRequest, call: Call) -> pb.ListModelsResponse:
        """Answer a page of models."""
        query = ("models", request.namespace, request.filter, request.order_by, request.show_deleted)
        page, sequence = await observe(
            self._database,
            call,
            models.page,
            minimum_sequence=request.minimum_sequence,
            filtered=True,
            namespace=request.namespace,
            filter=request.filter,
            order_by=request.order_by,
            after=self._pages.decode(query, request.page_token, list),
            page_size=request.page_size,
            show_deleted=request.show_deleted,
        )
        return pb.ListModelsResponse(
            models=[convert.model(each) for each in page.entries],
            next_page_token=self._pages.encode(query, page.position) if page.position else "",
            sequence=sequence,
            order_values=page.order_values,
            absent_fields=map(convert.absent_field, page.absent_fields),
        )

    async def UpdateModel(self, request: pb.UpdateModelRequest, call: Call) -> bytes:
        """Change description, labels, owners or metric directions."""

        def answer(changed: models.Model) -> pb.UpdateModelResponse:
            return pb.UpdateModelResponse(model=convert.model(changed), sequence=changed.sequence)

        return await mutate(
            self._database,
            call,
            request,
            models.modify,
            answer,
            name=request.model.name,
            draft=_draft(request.model, prefix="model."),
            mask=convert.mask(request.update_mask, present=request.HasField("update_mask")),
            etag=request.etag,
        )

    async def RenameModel(self, request: pb.RenameModelRequest, call: Call) -> bytes:
        """Give a model another name."""

        def answer(renamed: models.Model) -> pb.RenameModelResponse:
            return pb.RenameModelResponse(model=convert.model(renamed), sequence=renamed.sequence)

        return await mutate(
            self._database,
            call,
            request,
            models.rename,
            answer,
            name=request.name,
            new_name=request.new_name,
            etag=request.etag,
        )

    async def DeleteModel(self, request: pb.DeleteModelRequest, call: Call) -> bytes:
        """Delete a model softly."""

        def answer(deleted: models.Model) -> pb.DeleteModelResponse:
            model, sequence = convert.model(deleted), deleted.sequence
            if request.validate_only:
                model.etag, sequence = "", 0
            return pb.DeleteModelResponse(model=model, sequence=sequence)

        return await mutate(
            self._database,
            call,
            request,
            model_deletions.remove,
            answer,
            validate_only=request.validate_only,
            name=request.name,
            etag=request.etag,
        )

    async def UndeleteModel(self, request: pb.UndeleteModelRequest, call: Call) -> bytes:
        """Bring a deleted model back."""

        def answer(restored: models.Model) -> pb.UndeleteModelResponse:
            model, sequence = convert.model(restored), restored.sequence
            if request.validate_only:
                model.etag, sequence = "", 0
            return pb.UndeleteModelResponse(model=model, sequence=sequence)

        return await mutate(
            self._database,
            call,
            request,
            model_deletions.restore,
            answer,
            validate_only=request.validate_only,
            name=request.name,
            etag=request.etag,
        )

    async def PurgeModel(self, request: pb.PurgeModelRequest, call: Call) -> bytes:
        """End a deleted model for good."""

        def answer(purged: model_deletions.Purged) -> pb.PurgeModelResponse:
            sequence = 0 if request.validate_only else purged.sequence
            return pb.PurgeModelResponse(name=purged.name, last_number=purged.last_number, sequence=sequence)

        return await mutate(
            self._database,
            call,
            request,
            model_deletions.purge,
            answer,
            validate_only=request.validate_only,
            name=request.name,
            etag=request.etag,
        )


def _draft(message: pb.CreateModelRequest | Model, *, prefix: str = "") -> models.Draft:
    field = f"{prefix}metric_directions"
    return models.Draft(
        description=message.description,
        labels=dict(message.labels),
        owners=list(message.owners),
        metric_directions={
            metric: DIRECTIONS.word(number, field=field)
            for metric, number in message.metric_directions.items()
        },
    )
