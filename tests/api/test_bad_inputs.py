"""Every bad input has one answer: a status code, a reason, the field, and nothing changed."""

# ruff: noqa: E501  one row of a table on one line

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from google.protobuf.message import Message

from steelyard_server.limits import LIMITS
from tests.api.calls import Refused, call, call_raw, request_class
from tests.servers import Running, running_server

DATA = b"weights"
DIGEST = "sha256:" + hashlib.sha256(DATA).hexdigest()
ELSEWHERE = "sha256:" + hashlib.sha256(b"only in the other namespace").hexdigest()
FRAUD = "default/fraud"
ONE = {"model": FRAUD, "number": 1}
UUID = "6f1c2c34-8a5e-4b1e-9f63-0d0c1f6a5d11"

pytestmark = pytest.mark.asyncio(loop_scope="module")


def file(path: str = "a.bin", **fields: Any) -> dict[str, Any]:
    return {"path": path, "digest": DIGEST, "size_bytes": len(DATA)} | fields


def version(*files: dict[str, Any], **content: Any) -> dict[str, Any]:
    """Make a CreateVersion request with these files and members of content."""
    return {"model": FRAUD, "content": {"files": list(files) or [file()], **content}}


def paths(*names: str) -> dict[str, Any]:
    return version(*(file(name) for name in names))


def labels(count: int, size: int = 1) -> dict[str, Any]:
    return {"name": "labelled", "labels": {f"key{index}": "x" * size for index in range(count)}}


async def put(running: Running, data: bytes, *, namespace: str = "default") -> None:
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    message = request_class("WriteBlobs")(
        header={"namespace": namespace, "size_bytes": len(data), "digest": digest, "from_start": True},
        data=data,
        finish={},
    )
    await call_raw(running.channel, "WriteBlobs", message.SerializeToString())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def registry(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    async with running_server(tmp_path_factory.mktemp("registry") / "data") as running:
        channel = running.channel
        await call(channel, "CreateNamespace", {"name": "other"})
        await call(channel, "CreateNamespace", {"name": "full"})
        await call(channel, "CreateModel", {"name": "full/model"})
        await call(channel, "CreateModel", {"name": FRAUD})
        await call(channel, "CreateModel", {"name": "default/renamed-before"})
        await call(channel, "RenameModel", {"name": "default/renamed-before", "new_name": "default/renamed"})
        await put(running, DATA)
        await put(running, b"only in the other namespace", namespace="other")
        measured = [{"name": "auc", "dataset": dataset, "value": 1} for dataset in ("holdout", "test")]
        first = version(file(), file("ext", digest="", uri="s3://bucket/key"), metrics=measured)
        await call(
            channel, "CreateVersion", first | {"semantic_version": "1.0.0", "idempotency_key": "first"}
        )
        await call(channel, "SetAlias", {"version": ONE, "alias": "champion"})
        await call(channel, "UpdateModel", {"model": {"name": FRAUD, "description": "x"}, "request_id": UUID})
        yield running


NAMES = [
    ("row 38, empty name", "CreateNamespace", {}, "FIELD_REQUIRED"),
    ("row 38, empty model", "GetModel", {}, "FIELD_REQUIRED"),
    ("row 39, upper case", "CreateNamespace", {"name": "Risk"}, "INVALID_NAME"),
    ("row 39, space", "CreateNamespace", {"name": "a b"}, "INVALID_NAME"),
    ("row 39, back-slash", "CreateModel", {"name": "default/a\\b"}, "INVALID_NAME"),
    ("row 39, colon", "CreateModel", {"name": "default/a:b"}, "INVALID_NAME"),
    ("row 39, at", "CreateModel", {"name": "default/a@b"}, "INVALID_NAME"),
    ("row 39, dots", "CreateModel", {"name": "default/.."}, "RESERVED_NAME"),
    ("row 39, leading dash", "CreateNamespace", {"name": "-a"}, "INVALID_NAME"),
    ("row 39, percent", "CreateNamespace", {"name": "a%b"}, "INVALID_NAME"),
    ("row 39, space at an end", "CreateModel", {"name": "default/a "}, "INVALID_NAME"),
    ("row 40, other letters", "CreateNamespace", {"name": "rіsk"}, "INVALID_NAME"),
    ("row 40, bidirectional", "CreateModel", {"name": "default/a\u202eb"}, "INVALID_NAME"),
    ("row 40, zero width", "CreateModel", {"name": "default/a\u200bb"}, "INVALID_NAME"),
    ("row 40, not NFC", "CreateModel", {"name": "default/e\u0301"}, "INVALID_NAME"),
    ("row 41, NUL", "CreateModel", {"name": "default/a\u0000b"}, "INVALID_NAME"),
    ("row 42, newline at the end", "CreateNamespace", {"name": "a\n"}, "INVALID_NAME"),
    ("row 43, 129 characters", "CreateNamespace", {"name": "a" * 129}, "TOO_LONG"),
    ("row 43, 129 characters", "SetAlias", {"version": ONE, "alias": "a" * 129}, "TOO_LONG"),
    ("row 43, 257 characters", "CreateModel", {"name": "default/" + "a" * 257}, "TOO_LONG"),
    ("row 44, latest", "SetAlias", {"version": ONE, "alias": "latest"}, "RESERVED_NAME"),
    ("row 44, Latest", "SetAlias", {"version": ONE, "alias": "Latest"}, "RESERVED_NAME"),
    ("row 44, none", "SetAlias", {"version": ONE, "alias": "None"}, "RESERVED_NAME"),
    ("row 44, latest", "CreateNamespace", {"name": "latest"}, "RESERVED_NAME"),
    ("row 44, none", "CreateNamespace", {"name": "none"}, "RESERVED_NAME"),
    ("row 44, con", "CreateNamespace", {"name": "con"}, "RESERVED_NAME"),
    ("row 44, a device with an ending", "CreateNamespace", {"name": "lpt1.risk"}, "RESERVED_NAME"),
    ("row 44, all digits", "SetAlias", {"version": ONE, "alias": "12"}, "INVALID_NAME"),
    ("row 44, v and digits", "SetAlias", {"version": ONE, "alias": "v12"}, "INVALID_NAME"),
    ("row 44, default stays", "DeleteNamespace", {"name": "default"}, "RESERVED_NAME"),
    ("row 45, no namespace", "GetModel", {"name": "fraud"}, "INVALID_RESOURCE_NAME"),
    ("row 45, too many parts", "GetModel", {"name": "a/b/c"}, "INVALID_RESOURCE_NAME"),
    (
        "row 46, other namespace",
        "BatchGetVersions",
        {"namespace": "other", "versions": [ONE]},
        "RESOURCE_MISMATCH",
    ),
    (
        "row 46, leaves its namespace",
        "RenameModel",
        {"name": FRAUD, "new_name": "other/fraud"},
        "RESOURCE_MISMATCH",
    ),
    ("row 47, number 0", "GetVersion", {"version": {"model": FRAUD, "number": 0}}, "OUT_OF_BOUNDS"),
    ("row 47, negative", "GetVersion", {"version": {"model": FRAUD, "number": -1}}, "OUT_OF_BOUNDS"),
]
REQUESTS = [
    ("row 52, no UUID", "CreateModel", {"name": "default/x", "request_id": "one"}, "REQUEST_ID_INVALID"),
    ("row 54, other request", "UpdateModel", {"model": {"name": FRAUD, "description": "y"}, "request_id": UUID},
     "REQUEST_ID_REUSED"),
    ("row 57, etag", "UpdateModel", {"model": {"name": FRAUD, "description": "y"}, "etag": "W/1"}, "ETAG_INVALID"),
    ("row 58, unknown path", "UpdateModel", {"model": {"name": FRAUD}, "update_mask": "nope"}, "FIELD_MASK_INVALID"),
    ("row 58, output only", "UpdateModel", {"model": {"name": FRAUD}, "update_mask": "uid"}, "FIELD_MASK_INVALID"),
    ("row 58, nothing to change", "UpdateModel", {"model": {"name": FRAUD}}, "FIELD_MASK_INVALID"),
    ("row 59, immutable", "UpdateModel", {"model": {"name": FRAUD}, "update_mask": "name"}, "IMMUTABLE_FIELD"),
    ("row 59, content", "UpdateVersion", {"version": ONE, "update_mask": "digest"}, "IMMUTABLE_FIELD"),
    ("row 60, unspecified", "UpdateModel",
     {"model": {"name": FRAUD, "metric_directions": {"a": 0}}, "update_mask": "metricDirections"}, "ENUM_INVALID"),
    ("row 60, unknown", "CreateModel", {"name": "default/x", "metric_directions": {"a": 9}}, "ENUM_INVALID"),
    ("row 60, relation", "CreateVersion", version(parents=[{"digest": DIGEST}]), "ENUM_INVALID"),
    ("row 60, role", "CreateVersion", version(file(role=99)), "ENUM_INVALID"),
    ("row 61, no selector", "GetVersion", {"version": {"model": FRAUD}}, "ONEOF_REQUIRED"),
    ("row 61, no value", "CreateVersion", version(parameters=[{"name": "a"}]), "ONEOF_REQUIRED"),
    ("row 66, labels", "CreateNamespace", labels(257), "LIMIT_EXCEEDED"),
    ("row 66, label value", "CreateNamespace", labels(1, 4097), "LIMIT_EXCEEDED"),
    ("row 66, label key", "CreateNamespace", {"name": "x", "labels": {"k" * 251: ""}}, "LIMIT_EXCEEDED"),
    ("row 66, labels in sum", "CreateNamespace", labels(20, 4096), "LIMIT_EXCEEDED"),
    ("row 67, letter case", "CreateNamespace", {"name": "x", "labels": {"Team": "a", "team": "b"}},
     "DUPLICATE_KEY"),
    ("row 67, metric twice", "CreateVersion", version(metrics=[{"name": "a"}, {"name": "a"}]), "DUPLICATE_KEY"),
    ("row 67, parameter twice", "CreateVersion",
     version(parameters=[{"name": "a", "text": "1"}, {"name": "a", "integer": "1"}]), "DUPLICATE_KEY"),
    ("row 68, control characters", "CreateNamespace", {"name": "x", "description": "a\u0007"}, "CONTROL_CHARACTERS"),
    ("description too long", "CreateNamespace", {"name": "x", "description": "d" * 65537}, "TOO_LONG"),
    ("reason too long", "CreateNamespace", {"name": "x", "reason": "d" * 4097}, "TOO_LONG"),
    ("semantic version", "CreateVersion", version() | {"semantic_version": "1.0"}, "SEMANTIC_VERSION_INVALID"),
    ("slice without dataset", "CreateVersion", version(metrics=[{"name": "a", "slice": "b"}]), "FIELD_REQUIRED"),
    ("credentials", "CreateVersion", version(source={"repository": "https://me:secret@host/x"}), "INVALID_TEXT"),
    ("etag and must_not_exist", "SetAlias",
     {"version": ONE, "alias": "new", "etag": "1", "must_not_exist": True}, "ETAG_INVALID"),
    ("minimum sequence", "GetModel", {"name": FRAUD, "minimum_sequence": -1}, "OUT_OF_BOUNDS"),
]  # fmt: skip
LISTS = [
    ("row 69, negative", "ListModels", {"namespace": "default", "page_size": -1}, "PAGE_SIZE_INVALID"),
    ("row 71, forged", "ListModels", {"namespace": "default", "page_token": "Zm9v"}, "PAGE_TOKEN_INVALID"),
    ("row 71, no base64", "ListModels", {"namespace": "default", "page_token": "%%"}, "PAGE_TOKEN_INVALID"),
    ("row 71, huge", "ListVersions", {"model": FRAUD, "page_token": "A" * 9999}, "PAGE_TOKEN_INVALID"),
    ("row 74, order", "ListVersions", {"model": FRAUD, "order_by": "size"}, "ORDER_BY_INVALID"),
    ("row 74, order of models", "ListModels", {"namespace": "default", "order_by": "owners"}, "ORDER_BY_INVALID"),
    ("filter, unknown field", "ListVersions", {"model": FRAUD, "filter": "nmber = 1"}, "FILTER_INVALID"),
    ("filter, unknown field", "ListModels", {"namespace": "default", "filter": "stage = a"}, "FILTER_INVALID"),
    ("filter, unbalanced", "ListVersions", {"model": FRAUD, "filter": "(number = 1"}, "FILTER_INVALID"),
    ("filter, over-deep", "ListVersions", {"model": FRAUD, "filter": "(" * 40 + "a" + ")" * 40}, "FILTER_INVALID"),
    ("filter, NUL", "ListVersions", {"model": FRAUD, "filter": "a\u0000"}, "FILTER_INVALID"),
    ("filter, 1 MB", "ListVersions", {"model": FRAUD, "filter": "a" * 1_000_000}, "TOO_LONG"),
    ("filter, 1 MB", "ListModels", {"namespace": "default", "filter": "(" * 1_000_000}, "TOO_LONG"),
    ("order, 1 MB", "ListVersions", {"model": FRAUD, "order_by": "a," * 500_000}, "TOO_LONG"),
    ("filter, NaN", "ListVersions", {"model": FRAUD, "filter": "metrics.a = NaN"}, "FILTER_INVALID"),
    ("filter, ambiguous", "ListVersions", {"model": FRAUD, "filter": "metrics.auc > 0"}, "METRIC_AMBIGUOUS"),
    ("order, ambiguous", "ListVersions", {"model": "default/-", "order_by": "metrics.auc"}, "METRIC_AMBIGUOUS"),
    ("all models, elsewhere", "GetModel", {"name": "default/-"}, "RESERVED_NAME"),
    ("all models, created", "CreateModel", {"name": "default/-"}, "RESERVED_NAME"),
    ("all models, half a name", "ListVersions", {"model": "-"}, "INVALID_RESOURCE_NAME"),
    ("no reference", "BatchGetVersions", {"namespace": "default"}, "FIELD_REQUIRED"),
    ("101 references", "BatchGetVersions", {"namespace": "default", "versions": [ONE] * 101}, "LIMIT_EXCEEDED"),
    ("10,001 sizes", "FindMissingBlobs", {"namespace": "default", "sizes_bytes": [1] * 10001}, "LIMIT_EXCEEDED"),
]  # fmt: skip
FILES = [
    ("row 81, no file", "CreateVersion", {"model": FRAUD}, "EMPTY_ARTIFACT"),
    ("row 83, held with another size", "CreateVersion", version(file(size_bytes=1)), "SIZE_MISMATCH"),
    ("row 83, negative size", "CreateVersion", version(file(size_bytes=-1)), "OUT_OF_BOUNDS"),
    ("row 84, md5", "CreateVersion", version(file(digest="md5:" + "0" * 32)), "DIGEST_INVALID"),
    ("row 84, upper case", "CreateVersion", version(file(digest=DIGEST.upper())), "DIGEST_INVALID"),
    ("row 84, cut", "CreateVersion", version(file(digest=DIGEST[:-1])), "DIGEST_INVALID"),
    ("row 84, newline", "CreateVersion", version(file(digest=DIGEST + "\n")), "DIGEST_INVALID"),
    ("row 84, in a search", "FindMissingBlobs", {"namespace": "default", "blobs": [{"digest": "x"}]},
     "DIGEST_INVALID"),
    ("row 91, absolute", "CreateVersion", paths("/etc/passwd"), "INVALID_FILE_PATH"),
    ("row 91, up", "CreateVersion", paths("a/../../b"), "INVALID_FILE_PATH"),
    ("row 91, dot", "CreateVersion", paths("./a"), "INVALID_FILE_PATH"),
    ("row 91, empty part", "CreateVersion", paths("a//b"), "INVALID_FILE_PATH"),
    ("row 91, back-slash", "CreateVersion", paths("a\\b"), "INVALID_FILE_PATH"),
    ("row 91, duplicate", "CreateVersion", paths("a", "a"), "INVALID_FILE_PATH"),
    ("row 91, duplicate by case", "CreateVersion", paths("Model.bin", "model.BIN"), "INVALID_FILE_PATH"),
    ("row 91, file and directory", "CreateVersion", paths("a", "a/b"), "INVALID_FILE_PATH"),
    ("row 91, device", "CreateVersion", paths("sub/CON.txt"), "INVALID_FILE_PATH"),
    ("row 91, drive", "CreateVersion", paths("C:/x"), "INVALID_FILE_PATH"),
    ("row 91, empty", "CreateVersion", paths(""), "INVALID_FILE_PATH"),
    ("row 91, over-long", "CreateVersion", paths("/".join(["a" * 200] * 6)), "INVALID_FILE_PATH"),
    ("row 91, over-long part", "CreateVersion", paths("a" * 256), "INVALID_FILE_PATH"),
    ("row 91, NUL", "CreateVersion", paths("a\u0000b"), "INVALID_FILE_PATH"),
    ("row 91, not NFC", "CreateVersion", paths("e\u0301"), "INVALID_FILE_PATH"),
    ("row 91, trailing dot", "CreateVersion", paths("a."), "INVALID_FILE_PATH"),
    ("10,001 files", "CreateVersion", version(*({"path": str(n), "uri": "s3://x"} for n in range(10001))),
     "LIMIT_EXCEEDED"),
    ("read, negative offset", "ReadFile", {"version": ONE, "path": "a.bin", "offset": -1}, "OUT_OF_BOUNDS"),
    ("read, negative length", "ReadFile", {"version": ONE, "path": "a.bin", "length": -1}, "OUT_OF_BOUNDS"),
    ("read, traversal", "ReadFile", {"version": ONE, "path": "../../registry.db"}, "INVALID_FILE_PATH"),
]  # fmt: skip
STATE = [
    ("row 48", "ListVersions", {"model": "nowhere/-"}, "NOT_FOUND", "NAMESPACE_NOT_FOUND"),
    ("row 48", "GetNamespace", {"name": "nowhere"}, "NOT_FOUND", "NAMESPACE_NOT_FOUND"),
    ("row 48", "ListModels", {"namespace": "nowhere"}, "NOT_FOUND", "NAMESPACE_NOT_FOUND"),
    ("row 48", "CreateModel", {"name": "nowhere/x"}, "NOT_FOUND", "NAMESPACE_NOT_FOUND"),
    ("row 48", "GetModel", {"name": "default/none"}, "NOT_FOUND", "MODEL_NOT_FOUND"),
    ("row 48", "CreateVersion", version() | {"model": "default/none"}, "NOT_FOUND", "MODEL_NOT_FOUND"),
    ("row 48", "GetVersion", {"version": {"model": FRAUD, "number": 99}}, "NOT_FOUND", "VERSION_NOT_FOUND"),
    ("row 48", "GetVersion", {"version": {"model": FRAUD, "digest": DIGEST}}, "NOT_FOUND", "VERSION_NOT_FOUND"),
    ("row 48", "GetVersion", {"version": {"model": FRAUD, "semantic_version": "9.9.9"}}, "NOT_FOUND",
     "VERSION_NOT_FOUND"),
    ("row 48", "GetVersion", {"version": {"model": FRAUD, "alias": "nobody"}}, "NOT_FOUND", "ALIAS_NOT_FOUND"),
    ("row 48", "GetVersion", {"version": {"model": "default/renamed", "alias": "latest"}}, "NOT_FOUND",
     "VERSION_NOT_FOUND"),
    ("row 48", "GetAlias", {"model": FRAUD, "alias": "nobody"}, "NOT_FOUND", "ALIAS_NOT_FOUND"),
    ("row 48", "RollbackAlias", {"model": FRAUD, "alias": "nobody"}, "NOT_FOUND", "ALIAS_NOT_FOUND"),
    ("before it was set", "GetAlias", {"model": FRAUD, "alias": "champion", "read_time": "2001-01-01T00:00:00Z"},
     "NOT_FOUND", "ALIAS_NOT_FOUND"),
    ("no such file", "ReadFile", {"version": ONE, "path": "none"}, "NOT_FOUND", "FILE_NOT_FOUND"),
    ("row 49", "CreateNamespace", {"name": "default"}, "ALREADY_EXISTS", "NAMESPACE_ALREADY_EXISTS"),
    ("row 49, letter case", "CreateModel", {"name": "default/FRAUD"}, "ALREADY_EXISTS", "MODEL_ALREADY_EXISTS"),
    ("row 50", "CreateModel", {"name": "default/renamed-before"}, "FAILED_PRECONDITION", "NAME_RETIRED"),
    ("row 50", "RenameModel", {"name": FRAUD, "new_name": "default/renamed-before"}, "FAILED_PRECONDITION",
     "NAME_RETIRED"),
    ("taken", "RenameModel", {"name": FRAUD, "new_name": "default/renamed"}, "ALREADY_EXISTS",
     "MODEL_ALREADY_EXISTS"),
    ("row 56", "UpdateModel", {"model": {"name": FRAUD, "description": "y"}, "etag": "1"}, "ABORTED",
     "ETAG_MISMATCH"),
    ("row 113", "SetAlias", {"version": ONE, "alias": "champion", "must_not_exist": True}, "ABORTED",
     "ALIAS_CHANGED"),
    ("row 113", "DeleteAlias", {"model": FRAUD, "alias": "champion", "etag": "1"}, "ABORTED", "ALIAS_CHANGED"),
    ("row 77", "GetModel", {"name": FRAUD, "minimum_sequence": 1 << 40}, "OUT_OF_RANGE", "SEQUENCE_IN_FUTURE"),
    ("row 100", "ReadFile", {"version": ONE, "path": "a.bin", "offset": 8}, "OUT_OF_RANGE",
     "OFFSET_OUT_OF_RANGE"),
    ("row 116", "RollbackAlias", {"model": FRAUD, "alias": "champion"}, "FAILED_PRECONDITION",
     "NO_ROLLBACK_TARGET"),
    ("external", "ReadFile", {"version": ONE, "path": "ext"}, "FAILED_PRECONDITION", "FILE_IS_EXTERNAL"),
    ("not empty", "DeleteNamespace", {"name": "full"}, "FAILED_PRECONDITION", "NAMESPACE_NOT_EMPTY"),
    ("missing blob", "CreateVersion", version(file(digest="sha256:" + "0" * 64)), "FAILED_PRECONDITION",
     "BLOB_MISSING"),
    ("blob of another namespace", "CreateVersion", version(file(digest=ELSEWHERE, size_bytes=27)),
     "FAILED_PRECONDITION", "BLOB_MISSING"),
    ("idempotency key", "CreateVersion", version() | {"idempotency_key": "first"}, "ALREADY_EXISTS",
     "IDEMPOTENCY_KEY_REUSED"),
    ("semantic version", "CreateVersion", version() | {"semantic_version": "1.0.0"}, "ALREADY_EXISTS",
     "SEMANTIC_VERSION_ALREADY_EXISTS"),
]  # fmt: skip
INVALID = [(*row[:3], "INVALID_ARGUMENT", row[3]) for row in NAMES + REQUESTS + LISTS + FILES]
ROWS = INVALID + STATE


@pytest.mark.parametrize(("rpc", "fields", "code", "reason"), [row[1:] for row in ROWS], ids=[
    f"{row[1]}, {row[0]}, {row[4]}, {index}" for index, row in enumerate(ROWS)
])  # fmt: skip
async def test_a_bad_input_is_refused_for_its_reason_and_changes_nothing(
    registry: Running, rpc: str, fields: dict[str, Any], code: str, reason: str
) -> None:
    before = await sequence(registry)

    with pytest.raises(Refused) as refused:
        await call(registry.channel, rpc, fields)

    assert (refused.value.code, refused.value.reason) == (code, reason)
    assert refused.value.info.domain == "steelyard"
    assert refused.value.message.isprintable()
    assert len(refused.value.metadata["grpc-status-details-bin"]) <= 4096
    if code == "INVALID_ARGUMENT":
        assert refused.value.fields
    assert await sequence(registry) == before


async def test_ten_megabytes_of_labels_are_refused_by_the_transport(registry: Running) -> None:
    fields = {"name": "x", "labels": {f"key{index}": "x" * 4096 for index in range(2560)}}

    with pytest.raises(Refused) as refused:
        await call(registry.channel, "CreateNamespace", fields)

    assert refused.value.code == "RESOURCE_EXHAUSTED"


async def test_a_page_token_of_another_query_is_refused(registry: Running) -> None:
    fields = {"namespace": "default", "page_size": 1}
    page = await call(registry.channel, "ListModels", fields)

    with pytest.raises(Refused) as refused:
        await call(registry.channel, "ListModels", {"namespace": "other", "page_token": page.next_page_token})

    assert refused.value.reason == "PAGE_TOKEN_INVALID"
    follows = await call(registry.channel, "ListModels", fields | {"page_token": page.next_page_token})
    assert follows.models[0].name > page.models[0].name


async def test_a_page_size_above_the_maximum_is_lowered(registry: Running) -> None:
    fields = {"namespace": "default", "page_size": LIMITS.page_size_maximum + 1}

    page: Message = await call(registry.channel, "ListModels", fields)

    assert not page.next_page_token  # type: ignore[attr-defined]


async def sequence(registry: Running) -> int:
    info = await call(registry.channel, "GetServerInfo")
    found: int = info.sequence
    return found


async def test_an_error_in_a_filter_says_where_and_what_was_expected(registry: Running) -> None:
    with pytest.raises(Refused) as refused:
        await call(registry.channel, "ListVersions", {"model": FRAUD, "filter": "number = 1 AND nmber = 2"})
    assert dict(refused.value.info.metadata) == {
        "field": "filter",
        "column": "16",
        "expected": "perhaps number",
    }
    assert refused.value.fields == ["filter"]

    with pytest.raises(Refused) as refused:
        await call(registry.channel, "ListVersions", {"model": FRAUD, "order_by": "number, metrics.auc desc"})
    choices = "metrics.auc@holdout, metrics.auc@test"
    assert dict(refused.value.info.metadata) == {"field": "order_by", "column": "9", "choices": choices}


async def test_a_token_of_another_filter_or_order_is_refused(registry: Running) -> None:
    fields = {"namespace": "default", "page_size": 1, "filter": "-nothing", "order_by": "name"}
    token = (await call(registry.channel, "ListModels", fields)).next_page_token
    for change in ({"filter": ""}, {"order_by": "name desc"}, {"namespace": "other"}):
        with pytest.raises(Refused, match="PAGE_TOKEN_INVALID"):
            await call(registry.channel, "ListModels", {**fields, **change, "page_token": token})
    assert (await call(registry.channel, "ListModels", fields | {"page_token": token})).models
