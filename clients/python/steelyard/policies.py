"""Calls about policies: what a version needs before it may go to a stage or an alias."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

from steelyard import promotions
from steelyard.connection import new_request_id
from steelyard.errors import InvalidArgument
from steelyard.v1 import policy_pb2
from steelyard.v1 import policy_service_pb2 as pb

if TYPE_CHECKING:
    from steelyard.connection import Connection
    from steelyard.promotions import Promotion


class Policies:
    """Set, read and remove policies. With logins, a second person approves each change."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def set(
        self,
        policy: policy_pb2.Policy | Mapping[str, Any],
        *,
        etag: str = "",
        validate_only: bool = False,
        reason: str = "",
    ) -> Promotion:
        """Propose what a policy is to be; return the promotion that makes it so.

        Args:
            policy: a message, or its fields as protobuf JSON has them.
            etag: of the policy as it was read; it is set only if it has not changed since.

        Raises:
            PolicyInvalid: a check does not parse or has wrong types.
            InvalidArgument: something else of it is wrong.
        """
        request = pb.SetPolicyRequest(
            policy=_message(policy),
            etag=etag,
            validate_only=validate_only,
            request_id=new_request_id(),
            reason=reason,
        )
        answer = self._connection.ask("PolicyService/SetPolicy", request, pb.SetPolicyResponse)
        return promotions.promotion(answer.promotion)

    def get(self, namespace: str, name: str) -> policy_pb2.Policy:
        """Return a policy.

        Raises:
            PolicyNotFound: the namespace has none of this name.
        """
        request = pb.GetPolicyRequest(namespace=namespace, name=name)
        return self._connection.ask("PolicyService/GetPolicy", request, pb.GetPolicyResponse).policy

    def list(self, namespace: str) -> tuple[policy_pb2.Policy, ...]:
        """Return the policies of a namespace in the order of their names."""
        request = pb.ListPoliciesRequest(namespace=namespace)
        answer = self._connection.ask("PolicyService/ListPolicies", request, pb.ListPoliciesResponse)
        return tuple(answer.policies)

    def delete(
        self, namespace: str, name: str, *, etag: str = "", validate_only: bool = False, reason: str = ""
    ) -> Promotion:
        """Propose the end of a policy; return the promotion that makes it so.

        Raises:
            PolicyNotFound: the namespace has none of this name.
        """
        request = pb.DeletePolicyRequest(
            namespace=namespace,
            name=name,
            etag=etag,
            validate_only=validate_only,
            request_id=new_request_id(),
            reason=reason,
        )
        answer = self._connection.ask("PolicyService/DeletePolicy", request, pb.DeletePolicyResponse)
        return promotions.promotion(answer.promotion)


def _message(policy: policy_pb2.Policy | Mapping[str, Any]) -> policy_pb2.Policy:
    if isinstance(policy, policy_pb2.Policy):
        return policy
    try:
        return json_format.ParseDict(dict(policy), policy_pb2.Policy())
    except json_format.ParseError as error:
        raise InvalidArgument(f"This is no policy: {error}") from None
