"""Names and numbers that are kept for later fields stay free; see docs/decisions/0002."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import Descriptor

from steelyard import v1

ROOM = Path(__file__).parents[2] / "protos" / "testdata" / "wire_room.json"
KEPT: Mapping[str, Mapping[str, int]] = json.loads(ROOM.read_text(encoding="utf-8"))


def message(name: str) -> Descriptor:
    for module in pkgutil.iter_modules(v1.__path__, f"{v1.__name__}."):
        importlib.import_module(module.name)
    return descriptor_pool.Default().FindMessageTypeByName(f"steelyard.v1.{name}")


def clashes(descriptor: Descriptor, kept: Mapping[str, int]) -> Iterator[str]:
    """Name each field that takes what is kept, or that was added and whose line is still there."""
    numbers = {number: name for name, number in kept.items()}
    for field in descriptor.fields:
        if field.name in kept or field.number in numbers:
            meant = field.name if field.name in kept else numbers[field.number]
            same = kept[meant] == field.number and meant == field.name
            does = "was added; remove its line" if same else f"is kept as {meant} = {kept[meant]}"
            yield f"{descriptor.name}.{field.name} = {field.number} {does}"


@pytest.mark.parametrize("name", KEPT)
def test_no_field_takes_a_kept_name_or_number(name: str) -> None:
    assert not list(clashes(message(name), KEPT[name]))


@pytest.mark.parametrize("name", KEPT)
def test_kept_numbers_differ_and_cost_one_or_two_bytes(name: str) -> None:
    numbers = list(KEPT[name].values())
    assert len(set(numbers)) == len(numbers)
    assert all(0 < number < 2048 for number in numbers)


@pytest.mark.parametrize(
    ("field", "number", "clash"),
    [
        ("filter", 10, ["Request.filter = 10 was added; remove its line"]),
        ("filter", 9, ["Request.filter = 9 is kept as filter = 10"]),
        ("other", 10, ["Request.other = 10 is kept as filter = 10"]),
        ("other", 9, []),
    ],
)
def test_the_rule_notices_a_clash(field: str, number: int, clash: list[str]) -> None:
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="clash.proto", syntax="proto3")
    file.message_type.add(name="Request").field.add(
        name=field, number=number, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)

    assert list(clashes(pool.FindMessageTypeByName("Request"), {"filter": 10})) == clash
