"""Limits have one source, the options of one proto file."""

from __future__ import annotations

import re

from steelyard.v1 import limits_pb2
from steelyard_server.limits import LIMITS, Limits

FIELDS = limits_pb2.Limits.DESCRIPTOR.fields


def test_the_server_knows_every_limit_of_the_proto_and_no_other() -> None:
    assert set(Limits.__annotations__) == {field.name for field in FIELDS}


def test_every_limit_has_the_value_that_its_option_states() -> None:
    for field in FIELDS:
        extensions = field.GetOptions().Extensions
        stated = extensions[limits_pb2.pattern] or extensions[limits_pb2.bound]
        assert getattr(LIMITS, field.name) == stated, field.name


def test_every_bound_is_above_zero_and_every_pattern_compiles() -> None:
    for field in FIELDS:
        value = getattr(LIMITS, field.name)
        if field.name.endswith("_pattern"):
            re.compile(value)
        else:
            assert value > 0, field.name


def test_limits_fit_into_each_other() -> None:
    # A page holds one entry at least, and an answer of one version must fit into a message.
    assert LIMITS.page_size_default <= LIMITS.page_size_maximum
    assert LIMITS.page_bytes < LIMITS.message_bytes
    assert LIMITS.chunk_bytes < LIMITS.message_bytes
    assert LIMITS.content_bytes < LIMITS.manifest_bytes < LIMITS.message_bytes
    assert LIMITS.label_value_bytes < LIMITS.labels_bytes
