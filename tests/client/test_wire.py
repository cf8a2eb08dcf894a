"""The field `data`, written and read by hand, is what protobuf itself writes and reads."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from steelyard.v1 import blob_service_pb2, version_service_pb2
from steelyard.wire import data_message, data_of

BORDERS = (1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152)
DATA = st.binary(min_size=1, max_size=5000) | st.sampled_from(BORDERS).map(bytes)


@given(DATA)
def test_protobuf_reads_what_was_written_by_hand(data: bytes) -> None:
    message = blob_service_pb2.WriteBlobsRequest.FromString(data_message(data))
    assert message == blob_service_pb2.WriteBlobsRequest(data=data)
    assert message.SerializeToString() == data_message(data)


@given(DATA)
def test_what_protobuf_wrote_is_read_without_a_copy(data: bytes) -> None:
    message = version_service_pb2.ReadFileResponse(data=data).SerializeToString()
    found = data_of(message)
    assert found is not None
    assert found.obj is message
    assert found.tobytes() == data


@given(st.binary(max_size=64) | st.binary(max_size=64).map(lambda rest: b"\x12" + rest))
@example(b"\x12")
@example(b"\x12\x80\x80\x80\x80\x80\x01")
@example(b"\x12\x01")
@example(b"\x12\x01ab")
@example(b"\x12\x01a\x12\x01b")
@example(b"\x12\xff\xff\xff\xff\x0f")
@example(b"\x0a\x00\x12\x01a")
def test_any_bytes_are_the_data_that_protobuf_finds_or_none(message: bytes) -> None:
    found = data_of(message)
    if found is not None:
        parsed = version_service_pb2.ReadFileResponse.FromString(message)
        assert parsed.data == found
        assert not parsed.HasField("header")


@pytest.mark.parametrize("index", [0, 300])
def test_a_message_with_a_header_is_not_taken_for_data(index: int) -> None:
    header = version_service_pb2.ReadFileHeader(offset=index)
    for data in (b"", b"x"):
        message = version_service_pb2.ReadFileResponse(header=header, data=data)
        assert data_of(message.SerializeToString()) is None


def test_the_fields_have_the_numbers_that_are_written_by_hand() -> None:
    for message in (blob_service_pb2.WriteBlobsRequest, version_service_pb2.ReadFileResponse):
        field = message.DESCRIPTOR.fields_by_name["data"]
        assert (field.number, field.type) == (2, field.TYPE_BYTES)
