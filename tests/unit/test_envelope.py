"""Messages with bytes, written and read by hand, and the fingerprint by which a request is known again."""

from __future__ import annotations

import hashlib
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.v1 import version_service_pb2
from steelyard.v1.blob_service_pb2 import BlobFinish, BlobHeader, WriteBlobsRequest
from steelyard_server.api import transact
from steelyard_server.api.call import Call
from steelyard_server.api.envelope import data_message, data_of, varint
from steelyard_server.errors import RequestIdInvalid
from steelyard_server.history.act import RequestKey
from steelyard_server.history.caller import Caller

SIZES = [0, 1, 127, 128, 16_383, 16_384, 1_048_576]
UUID = "6f1c2c34-8a5e-4b1e-9f63-0d0c1f6a5d11"
CALL = Call("1", "/steelyard.v1.VersionService/CreateVersion", Caller("ada"), cast("Any", None))


@pytest.mark.parametrize("size_bytes", SIZES)
def test_bytes_written_by_hand_are_the_message_that_the_stubs_read(size_bytes: int) -> None:
    message = data_message(bytes(size_bytes))

    assert version_service_pb2.ReadFileResponse.FromString(message).data == bytes(size_bytes)
    assert bytes(data_of(message) or b"") == bytes(size_bytes)


@pytest.mark.parametrize("size_bytes", SIZES[1:])
def test_bytes_of_a_message_of_the_stubs_are_read_by_hand(size_bytes: int) -> None:
    message = WriteBlobsRequest(data=bytes(size_bytes)).SerializeToString()
    assert bytes(data_of(message) or b"") == bytes(size_bytes)


def test_a_message_with_more_than_bytes_is_left_to_the_parser() -> None:
    both = WriteBlobsRequest(data=b"abc", finish=BlobFinish()).SerializeToString()
    header = WriteBlobsRequest(header=BlobHeader(size_bytes=3), data=b"abc").SerializeToString()
    assert data_of(data_message(b"")) is not None
    for message in (b"", both, header, b"\x12", b"\x12\x05abc", b"\x12" + b"\xff" * 20):
        assert data_of(message) is None


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=12))
def test_what_is_read_by_hand_is_what_the_stubs_would_read(message: bytes) -> None:
    found = data_of(message)
    if found is not None:
        assert WriteBlobsRequest.FromString(message).data == found


def test_a_number_is_encoded_in_groups_of_seven_bits() -> None:
    assert [varint(value) for value in (0, 127, 128, 300)] == [b"\0", b"\x7f", b"\x80\x01", b"\xac\x02"]


def key_of(**fields: Any) -> RequestKey:
    request = version_service_pb2.CreateVersionRequest(request_id=UUID, **fields)
    key = transact._request_key(CALL, request)
    assert key is not None
    return key


def test_a_request_is_known_by_its_method_its_id_and_its_bytes_without_the_id() -> None:
    key = key_of(model="risk/fraud")
    plain = version_service_pb2.CreateVersionRequest(model="risk/fraud").SerializeToString()

    assert (key.method, key.id) == ("CreateVersion", UUID)
    assert key.digest == f"sha256:{hashlib.sha256(plain).hexdigest()}"


def test_the_order_of_labels_on_the_wire_does_not_matter() -> None:
    names = [f"key{number}" for number in range(50)]
    assert key_of(labels=dict.fromkeys(names, "x")) == key_of(labels=dict.fromkeys(reversed(names), "x"))


def test_every_other_difference_makes_another_request() -> None:
    different: list[dict[str, Any]] = [
        {},
        {"model": "risk/fraud"},
        {"model": "risk/fraud", "description": "x"},
        {"model": "risk/fraud", "reason": "x"},
        {"model": "risk/fraud", "labels": {"a": "b"}},
        {"model": "risk/fraud", "content": {}},
        {"model": "risk/fraud", "content": {"metrics": [{"value": -0.0}]}},
        {"model": "risk/fraud", "content": {"metrics": [{"value": 0.0}]}},
    ]
    assert len({key_of(**fields).digest for fields in different}) == len(different)


def test_an_id_is_a_uuid_in_any_letter_case() -> None:
    request = version_service_pb2.CreateVersionRequest(request_id=UUID.upper())
    assert transact._request_key(CALL, request) == key_of()
    assert transact._request_key(CALL, version_service_pb2.CreateVersionRequest()) is None
    with pytest.raises(RequestIdInvalid):
        transact._request_key(CALL, version_service_pb2.CreateVersionRequest(request_id="1"))
