"""While blobs are on a local disk, a database has one server."""

from __future__ import annotations

from pathlib import Path

import pytest

from steelyard_server.directory import DirectoryInUse
from tests.api.calls import call
from tests.servers import running_server


async def test_a_second_server_on_a_postgresql_database_refuses_to_start(
    tmp_path: Path, postgresql_url: str
) -> None:
    async with running_server(tmp_path / "one", database=postgresql_url) as one:
        with pytest.raises(DirectoryInUse, match="Another Steelyard server runs on this database"):
            async with running_server(tmp_path / "two", database=postgresql_url):
                pass
        await call(one.channel, "GetServerInfo")
    async with running_server(tmp_path / "two", database=postgresql_url) as two:
        await call(two.channel, "GetServerInfo")


async def test_a_second_server_on_a_data_directory_refuses_to_start(tmp_path: Path) -> None:
    async with running_server(tmp_path / "one"):
        with pytest.raises(DirectoryInUse, match="stop it, or choose another --data-dir"):
            async with running_server(tmp_path / "one"):
                pass
