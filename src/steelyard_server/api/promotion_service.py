"""PromotionService: translate, call, translate; and run checks between two transactions."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from steelyard.v1 import promotion_service_pb2 as pb
from steelyard_server.api import convert, convert_policy
from steelyard_server.api.enums import VERDICTS
from steelyard_server.api.transact import ATTEMPTS, mutate, observe
from steelyard_server.core import evidence, promoting, reviews
from steelyard_server.core.policies import formats
from steelyard_server.core.policies.language import UNKNOWN_FORMAT
from steelyard_server.errors import Conflict, DataLoss, RegistryError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from google.protobuf.message import Message

    from steelyard_server.api.call import Call
    from steelyard_server.api.pages import Pages
    from steelyard_server.blobs.store import BlobStore
    from steelyard_server.core.content import File
    from steelyard_server.core.evidence import Inputs, Judged
    from steelyard_server.core.reviews import View
    from steelyard_server.core.versions import Version
    from steelyard_server.db.database import Database


class PromotionService:
    """Serve promotions from the database.

    Args:
        threads: where checks run, and where the heads of files are read.
    """

    def __init__(self, database: Database, *, store: BlobStore, threads: Executor, pages: Pages) -> None:
        self._database = database
        self._store = store
        self._threads = threads
        self._pages = pages

    async def CreatePromotion(self, request: pb.CreatePromotionRequest, call: Call) -> bytes:
        """Propose to move a version, and move it when nothing stands in the way."""

        def answer(view: View) -> pb.CreatePromotionResponse:
            sequence = 0 if request.validate_only else view.promotion.sequence
            return pb.CreatePromotionResponse(promotion=convert_policy.promotion(view), sequence=sequence)

        wanted: dict[str, Any] = {
            "reference": convert.reference(request.version),
            "target": convert_policy.target(request.target),
        }
        gather = partial(promoting.gather, author=call.caller.id, **wanted)
        return await self._checked(
            call,
            request,
            reviews.propose,
            answer,
            gather=gather,
            judged=await self._ahead(call, gather),
            validate_only=request.validate_only,
            archive_incumbent=request.archive_incumbent,
            **wanted,
        )

    async def GetPromotion(self, request: pb.GetPromotionRequest, call: Call) -> pb.GetPromotionResponse:
        """Answer one promotion."""
        found, sequence = await observe(
            self._database,
            call,
            reviews.get,
            minimum_sequence=request.minimum_sequence,
            filtered=True,
            scope=request.scope,
            number=request.number,
        )
        return pb.GetPromotionResponse(promotion=convert_policy.promotion(found), sequence=sequence)

    async def ListPromotions(
        self, request: pb.ListPromotionsRequest, call: Call
    ) -> pb.ListPromotionsResponse:
        """Answer a page of promotions."""
        query = (
            "promotions",
            request.scope,
            request.filter,
            request.order_by,
            request.waits_for_caller,
        )
        (found, position), sequence = await observe(
            self._database,
            call,
            reviews.page,
            minimum_sequence=request.minimum_sequence,
            filtered=True,
            scope=request.scope,
            filter=request.filter,
            order_by=request.order_by,
            waits_for_caller=request.waits_for_caller,
            after=self._pages.decode(query, request.page_token, list),
            page_size=request.page_size,
        )
        return pb.ListPromotionsResponse(
            promotions=map(convert_policy.promotion, found),
            next_page_token=self._pages.encode(query, position) if position else "",
            sequence=sequence,
        )

    async def ReportCheck(self, request: pb.ReportCheckRequest, call: Call) -> bytes:
        """Note what a check from outside found."""

        def answer(view: View) -> pb.ReportCheckResponse:
            promotion = convert_policy.promotion(view)
            return pb.ReportCheckResponse(promotion=promotion, sequence=view.promotion.sequence)

        named: dict[str, Any] = {"scope": request.scope, "number": request.number}
        return await self._checked(
            call,
            request,
            reviews.report,
            answer,
            gather=partial(promoting.gather_again, **named),
            given=reviews.Report(request.check, request.passed, request.uri, request.message),
            **named,
        )

    async def ReviewPromotion(self, request: pb.ReviewPromotionRequest, call: Call) -> bytes:
        """Add what a person says."""

        def answer(view: View) -> pb.ReviewPromotionResponse:
            promotion = convert_policy.promotion(view)
            return pb.ReviewPromotionResponse(promotion=promotion, sequence=view.promotion.sequence)

        named: dict[str, Any] = {"scope": request.scope, "number": request.number}
        return await self._checked(
            call,
            request,
            reviews.review,
            answer,
            gather=partial(promoting.gather_again, **named),
            verdict=VERDICTS.word(request.verdict, field="verdict"),
            **named,
        )

    async def CancelPromotion(self, request: pb.CancelPromotionRequest, call: Call) -> bytes:
        """End an open promotion."""

        def answer(view: View) -> pb.CancelPromotionResponse:
            promotion = convert_policy.promotion(view)
            return pb.CancelPromotionResponse(promotion=promotion, sequence=view.promotion.sequence)

        named: dict[str, Any] = {"scope": request.scope, "number": request.number}
        return await mutate(self._database, call, request, reviews.cancel, answer, **named)

    async def OverridePromotion(self, request: pb.OverridePromotionRequest, call: Call) -> bytes:
        """Apply a promotion whatever policies say."""

        def answer(view: View) -> pb.OverridePromotionResponse:
            promotion = convert_policy.promotion(view)
            return pb.OverridePromotionResponse(promotion=promotion, sequence=view.promotion.sequence)

        named: dict[str, Any] = {"scope": request.scope, "number": request.number}
        return await mutate(self._database, call, request, reviews.override, answer, **named)

    async def RevokeVersion(self, request: pb.RevokeVersionRequest, call: Call) -> bytes:
        """Stop the use of a version."""

        def answer(version: Version) -> pb.RevokeVersionResponse:
            return pb.RevokeVersionResponse(version=convert.version(version), sequence=version.sequence)

        reference = convert.reference(request.version)
        return await mutate(self._database, call, request, reviews.revoke, answer, reference=reference)

    async def _checked(
        self,
        call: Call,
        request: Any,
        use_case: Callable[..., View],
        encode: Callable[[View], Message],
        *,
        gather: Callable[..., Inputs],
        judged: Judged | None = None,
        **arguments: Any,
    ) -> bytes:
        """Run a mutation that may want checks to have run on what it finds; then run them, and it again.

        Args:
            judged: what they found already.

        Raises:
            Conflict: what the checks look at kept changing.
        """
        for _ in range(ATTEMPTS):
            # The request id is taken out of a request when it is used.
            again = type(request).FromString(request.SerializeToString())
            try:
                return await mutate(self._database, call, again, use_case, encode, judged=judged, **arguments)
            except promoting.Stale:
                inputs, _ = await observe(self._database, call, gather, minimum_sequence=0)
                judged = await self._judge(inputs)
        raise Conflict("What the checks look at kept changing meanwhile; try again.")

    async def _ahead(self, call: Call, gather: Callable[..., Inputs]) -> Judged | None:
        """Run the checks that a mutation will want, if it will, so that it is not tried in vain.

        What is wrong with the call its own transaction says, which may know an answer to it already.
        """
        try:
            inputs, _ = await observe(self._database, call, gather, minimum_sequence=0)
        except RegistryError:
            return None
        return await self._judge(inputs) if inputs.policies else None

    async def _judge(self, inputs: Inputs) -> Judged:
        def judge() -> Judged:
            return evidence.judge(inputs, formats=self._formats(inputs.heads))

        return await asyncio.get_running_loop().run_in_executor(self._threads, judge)

    def _formats(self, files: Sequence[File]) -> dict[str, str]:
        return {file.digest: self._format(file) for file in files}

    def _format(self, file: File) -> str:
        """Recognise a file by its first bytes; one that cannot be read is unknown, which no list allows."""
        try:
            reader = self._store.open(file.digest, size_bytes=file.size_bytes)
        except DataLoss:
            return UNKNOWN_FORMAT
        try:
            head = reader.read(0, formats.HEAD_BYTES)
        except DataLoss:
            return UNKNOWN_FORMAT
        finally:
            reader.close()
        return formats.recognise(head, path=file.path, size_bytes=file.size_bytes)
