"""Arguments that Python would take, and that mean something else than the caller thinks, are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import steelyard
from steelyard import errors
from tests.client.trees import MODEL, write_tree

CALLS: dict[str, Callable[[steelyard.Client, Path], object]] = {
    "include": lambda client, path: client.pull("fraud", path / "copy", include="*.json"),
    "owners": lambda client, path: client.models.create("another", owners="ada"),
    "owners of an update": lambda client, path: client.models.update("fraud", owners="ada"),
    "refs": lambda client, path: client.versions.batch_get("fraud:1"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_one_text_is_no_list_of_texts(
    client: steelyard.Client, tmp_path: Path, call: Callable[[steelyard.Client, Path], object]
) -> None:
    client.push("fraud", write_tree(tmp_path / "model", MODEL))
    before = client.server_info().sequence
    with pytest.raises(errors.InvalidArgument, match=r"is the text '.*'; for one alone write \['.*'\]"):
        call(client, tmp_path)
    assert client.server_info().sequence == before
    assert not (tmp_path / "copy").exists()
