"""An upload that the server stops half-closes at once, whether it waits for answers or not."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import steelyard
from steelyard import reasons
from steelyard_server.api import call as call_module
from tests.api.uploads import UploadStream
from tests.client.trees import MIB, write_tree
from tests.servers import running_server

LARGE = {"large": bytes(2 * MIB)}
SMALL = {f"small-{number}": b"%d" % number for number in range(200)}


@pytest.mark.parametrize("files", [LARGE, SMALL, LARGE | SMALL], ids=["large", "small", "both"])
async def test_a_push_to_a_full_server_does_not_write_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]
) -> None:
    """A server that is as patient as this one answers only when the client has half-closed."""
    monkeypatch.setattr(call_module, "STOP_SECONDS", 3600.0)
    tree = write_tree(tmp_path / "model", files)
    async with running_server(tmp_path / "data", streams_maximum=1) as running:
        upload = UploadStream(running.channel)
        await upload.begin(size_bytes=1, upload_id="first")
        await upload.accepted()

        def push() -> None:
            with steelyard.Client(running.address, patience_seconds=2) as client:
                client.push("fraud", tree)

        with pytest.raises(reasons.Overloaded):
            await asyncio.to_thread(push)
        await upload.half_close()
