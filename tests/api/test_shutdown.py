"""How a server process ends, refuses to begin, and what it tells those who run it."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2

from tests.api.calls import METHODS, Refused, call
from tests.api.uploads import SECONDS, UploadStream, digest_of, held_bytes, put
from tests.servers import ServerProcess, server_process

MIB = 1 << 20
REFUSED = 3


@asynccontextmanager
async def channel_to(child: ServerProcess) -> AsyncIterator[grpc.aio.Channel]:
    """Open a channel with a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(child.address, options=options) as channel:
        yield channel


async def test_sigterm_lets_an_upload_end_and_then_the_process_ends_with_0(child: ServerProcess) -> None:
    data = os.urandom(3 * MIB)
    assert child.process is not None
    async with channel_to(child) as channel:
        upload = UploadStream(channel)
        await upload.begin(size_bytes=len(data), digest=digest_of(data))
        await upload.answer()
        child.process.send_signal(signal.SIGTERM)
        await until_draining(channel)

        for begin in range(0, len(data), MIB):
            await upload.send(data=data[begin : begin + MIB])
        await upload.send(finish={})

        assert (await upload.answer()).finished.digest == digest_of(data)
        await upload.half_close()
    await asyncio.to_thread(child.process.communicate, timeout=SECONDS)
    assert child.process.returncode == 0
    child.start()
    async with channel_to(child) as channel:
        assert await held_bytes(channel, digest_of(data), len(data)) is None


async def test_an_upload_that_outlasts_the_grace_is_kept_and_goes_on_later(tmp_path: Path) -> None:
    data = os.urandom(3 * MIB)
    with server_process(tmp_path / "data", "--grace-seconds", "0.1") as child:
        async with channel_to(child) as channel:
            upload = UploadStream(channel)
            await upload.begin(size_bytes=len(data), digest=digest_of(data))
            await upload.answer()
            await upload.send(data=data[:MIB])
            await until_received(child, MIB)

            assert await asyncio.to_thread(child.stop) == 0
            assert (await upload.refusal()).code == "UNAVAILABLE"
        child.start()
        async with channel_to(child) as channel:
            assert await held_bytes(channel, digest_of(data), len(data)) == MIB
            upload = UploadStream(channel)
            await upload.begin(size_bytes=len(data), digest=digest_of(data))
            assert (await upload.answer()).ready.offset == MIB


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_ends_with_0_and_says_that_it_stops(
    child: ServerProcess, number: signal.Signals
) -> None:
    assert child.process is not None
    child.process.send_signal(number)

    output, _ = child.process.communicate(timeout=SECONDS)

    assert child.process.returncode == 0
    assert output.endswith("Stopping.\n")
    assert "Traceback" not in child.log()


async def test_a_second_server_on_the_same_data_is_refused_and_the_first_goes_on(
    child: ServerProcess,
) -> None:
    assert child.process is not None

    second = await asyncio.to_thread(run, "--data-dir", str(child.directory), "--listen", "127.0.0.1:0")

    assert second.returncode == REFUSED
    assert second.stdout == ""
    assert re.fullmatch(
        rf"error: Another Steelyard server \(process {child.process.pid}\) runs on .*; stop it, .*\.\n",
        second.stderr,
    )
    async with channel_to(child) as channel:
        await call(channel, "GetServerInfo")


async def test_a_server_on_a_port_that_is_taken_is_refused_and_the_first_goes_on(
    child: ServerProcess, tmp_path: Path
) -> None:
    second = await asyncio.to_thread(run, "--data-dir", str(tmp_path / "other"), "--listen", child.address)

    assert second.returncode == REFUSED
    assert second.stderr.splitlines()[-1].startswith(f"error: The server cannot listen on {child.address}: ")
    async with channel_to(child) as channel:
        await call(channel, "GetServerInfo")


BROKEN = [
    ("a file for a directory", ["--data-dir", "file"], "cannot use the data directory"),
    ("a directory that cannot be made", ["--data-dir", "file/below"], "cannot use the data directory"),
    ("a database that is none", ["--data-dir", "garbage"], "cannot use the data directory"),
    ("metrics on a port that is taken", ["--metrics", "TAKEN"], "Metrics cannot be served on 127.0.0.1:"),
    (
        "no PostgreSQL",
        ["--database", "postgresql+psycopg://nobody@127.0.0.1:1/none"],
        "database cannot be used",
    ),
]


@pytest.mark.parametrize(
    ("arguments", "sentence"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN]
)
def test_a_server_that_cannot_start_says_why_in_a_sentence(
    tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "garbage").mkdir()
    (tmp_path / "garbage" / "registry.db").write_bytes(b"no database " * 100)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        arguments = [address if argument == "TAKEN" else argument for argument in arguments]

        ended = run("--data-dir", "data", "--listen", "127.0.0.1:0", *arguments, directory=tmp_path)

    assert ended.returncode == REFUSED
    assert ended.stderr.startswith("error: ")
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr


async def test_metrics_count_calls_by_method_and_code(tmp_path: Path) -> None:
    with server_process(tmp_path / "data", "--metrics", "127.0.0.1:0") as child:
        port = printed_metrics_port(child)
        async with channel_to(child) as channel:
            await call(channel, "GetServerInfo")
            await call(channel, "GetServerInfo")
            with pytest.raises(Refused):
                await call(channel, "GetModel", {"name": "default/none"})
            await put(channel, b"12345")
        text = await asyncio.to_thread(fetched, port)

    assert counted(text, "steelyard_calls_total", method="ServerService/GetServerInfo", code="OK") == 2
    assert counted(text, "steelyard_calls_total", method="ModelService/GetModel", code="NOT_FOUND") == 1
    assert counted(text, "steelyard_calls_total", method="BlobService/WriteBlobs", code="OK") == 1
    assert counted(text, "steelyard_call_seconds_count", method="ServerService/GetServerInfo") == 2
    assert counted(text, "steelyard_received_bytes_total", method="BlobService/WriteBlobs") > 5


def test_no_metrics_are_served_unless_asked_for(child: ServerProcess) -> None:
    assert child.stop() == 0
    assert "Metrics" not in "".join(child.output)


async def test_every_call_has_one_log_line_and_a_refused_caller_gets_its_id(child: ServerProcess) -> None:
    async with channel_to(child) as channel:
        ids = {
            "OK": await id_of(channel, "ListNamespaces", b""),
            "NOT_FOUND": await id_of(channel, "GetModel", b"\x0a\x0cdefault/none"),
            "INVALID_ARGUMENT": await id_of(channel, "ReadFile", b"\xff"),
        }
    assert await asyncio.to_thread(child.stop) == 0

    lines = [json.loads(line) for line in child.log().splitlines()]
    calls = [line for line in lines if line["event"] == "call"]
    assert len({line["call"] for line in calls}) == len(calls) == len(ids)
    refused = {line["code"]: line["call"] for line in calls if line["code"] != "OK"}
    assert refused == {code: id_ for code, id_ in ids.items() if code != "OK"}
    assert {line["actor"] for line in calls} == {"ada"}
    assert {line["method"].split("/")[-1] for line in calls} == {"ListNamespaces", "GetModel", "ReadFile"}
    assert all(line["duration_ms"] > 0 for line in calls)


async def until_received(child: ServerProcess, size_bytes: int) -> None:
    """Wait until the server has written what came of an upload."""
    uploads = child.directory / "blobs" / "uploads"
    async with asyncio.timeout(SECONDS):
        while not any(path.stat().st_size == size_bytes for path in uploads.iterdir()):
            await asyncio.sleep(0.01)


async def until_draining(channel: grpc.aio.Channel) -> None:
    """Wait until the server says that it takes no more calls."""
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check", response_deserializer=health_pb2.HealthCheckResponse.FromString
    )
    async with asyncio.timeout(SECONDS):
        while (await check(b"")).status == health_pb2.HealthCheckResponse.SERVING:
            pass


async def id_of(channel: grpc.aio.Channel, rpc: str, request: bytes) -> str:
    """Call and return the id in the trailing metadata, empty when the call went well."""
    method = METHODS[rpc]
    path = f"/{method.containing_service.full_name}/{rpc}"
    kind = channel.unary_stream if method.server_streaming else channel.unary_unary
    made: Any = kind(path)(request, metadata=(("steelyard-actor", "ada"),), timeout=SECONDS)
    await made.code()
    return str(dict(await made.trailing_metadata() or ()).get("steelyard-call", ""))


def run(*arguments: str, directory: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a server that is expected to end by itself."""
    command = [sys.executable, "-m", "steelyard_server", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=SECONDS, check=False, cwd=directory
    )


def printed_metrics_port(child: ServerProcess) -> int:
    """Read on in what the server prints."""
    assert child.process is not None
    assert child.process.stdout is not None
    for line in child.process.stdout:
        if found := re.fullmatch(r"Metrics are on port (\d+)\n", line):
            return int(found.group(1))
    raise EOFError


def fetched(port: int) -> str:
    """Fetch the metrics as Prometheus does."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert (answer.status, answer.headers.get_content_type()) == (200, "text/plain")
        return answer.read().decode()
    finally:
        connection.close()


def counted(text: str, name: str, **labels: str) -> float:
    """Return one value of the metrics."""
    labels["method"] = f"/steelyard.v1.{labels['method']}"
    written = ",".join(f'{label}="{labels[label]}"' for label in sorted(labels))
    found = re.search(rf"^{name}\{{{re.escape(written)}\}} (\S+)$", text, re.MULTILINE)
    assert found is not None, f"{name}{{{written}}} is not in {text}"
    return float(found.group(1))
