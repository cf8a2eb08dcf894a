"""PolicyService: translate, call, translate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.v1 import policy_service_pb2 as pb
from steelyard_server.api import convert_policy
from steelyard_server.api.transact import mutate, observe
from steelyard_server.core import governance, reviews

if TYPE_CHECKING:
    from steelyard_server.api.call import Call
    from steelyard_server.core.reviews import View
    from steelyard_server.db.database import Database


class PolicyService:
    """Serve policies from the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def SetPolicy(self, request: pb.SetPolicyRequest, call: Call) -> bytes:
        """Propose what a policy is to be."""

        def answer(proposed: View) -> pb.SetPolicyResponse:
            sequence = 0 if request.validate_only else proposed.promotion.sequence
            return pb.SetPolicyResponse(promotion=convert_policy.promotion(proposed), sequence=sequence)

        return await mutate(
            self._database,
            call,
            request,
            reviews.propose_policy,
            answer,
            validate_only=request.validate_only,
            namespace=request.policy.namespace,
            name=request.policy.name,
            draft=convert_policy.draft(request.policy),
            etag=request.etag,
        )

    async def GetPolicy(self, request: pb.GetPolicyRequest, call: Call) -> pb.GetPolicyResponse:
        """Answer one policy."""
        found, sequence = await observe(
            self._database,
            call,
            governance.get,
            minimum_sequence=request.minimum_sequence,
            namespace=request.namespace,
            name=request.name,
        )
        return pb.GetPolicyResponse(policy=convert_policy.policy(found), sequence=sequence)

    async def ListPolicies(self, request: pb.ListPoliciesRequest, call: Call) -> pb.ListPoliciesResponse:
        """Answer all policies of a namespace."""
        found, sequence = await observe(
            self._database,
            call,
            governance.page,
            minimum_sequence=request.minimum_sequence,
            namespace=request.namespace,
        )
        policies = [convert_policy.policy(each) for each in found]
        return pb.ListPoliciesResponse(policies=policies, sequence=sequence)

    async def DeletePolicy(self, request: pb.DeletePolicyRequest, call: Call) -> bytes:
        """Propose the end of a policy."""

        def answer(proposed: View) -> pb.DeletePolicyResponse:
            sequence = 0 if request.validate_only else proposed.promotion.sequence
            return pb.DeletePolicyResponse(promotion=convert_policy.promotion(proposed), sequence=sequence)

        return await mutate(
            self._database,
            call,
            request,
            reviews.propose_policy,
            answer,
            validate_only=request.validate_only,
            namespace=request.namespace,
            name=request.name,
            draft=None,
            etag=request.etag,
        )
