"""A push into a namespace with a quota: refused before a byte is sent, once, with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

import steelyard
from steelyard import errors, reasons
from tests.client.trees import large_file, write_tree
from tests.servers import ServerProcess


def namespace_of(client: steelyard.Client) -> str:
    return client.models.create("first").name.partition("/")[0]


@pytest.fixture
def name(client: steelyard.Client) -> str:
    """Limit the namespace of the client to a MiB and two versions, of which it has one."""
    found = namespace_of(client)
    made = client.namespaces.update(found, quota=steelyard.Quota(2**20, 2))
    assert (made.quota.size_bytes, made.quota.versions_count) == (2**20, 2)
    return found


def test_a_namespace_is_made_with_rules_that_can_be_changed_and_lifted(client: steelyard.Client) -> None:
    name = f"{namespace_of(client)}.limited"
    quota, retention = steelyard.Quota(size_bytes=5), steelyard.Retention(keep_versions_count=20)

    made = client.namespaces.create(name, quota=quota, retention=retention)
    assert (made.quota, made.retention) == (quota, retention)
    assert made.usage == steelyard.NamespaceUsage(0, 0)
    changed = client.namespaces.update(name, retention=steelyard.Retention(3, 40, 50))
    assert (changed.quota, changed.retention) == (quota, steelyard.Retention(3, 40, 50))
    lifted = client.namespaces.update(name, quota=steelyard.Quota(), retention=steelyard.Retention())
    assert (lifted.quota, lifted.retention) == (steelyard.Quota(), steelyard.Retention())


@pytest.mark.parametrize("given", [2**63, -(2**64), 1.5, "10GB"])
def test_what_is_no_number_of_64_bits_is_refused(client: steelyard.Client, given: object) -> None:
    quota = steelyard.Quota(given)  # type: ignore[arg-type]
    with pytest.raises(errors.InvalidArgument, match=r"size_bytes is .*; it must be a whole number"):
        client.namespaces.create("limited", quota=quota)


def test_files_that_do_not_fit_together_are_refused_before_one_is_sent(
    client: steelyard.Client, name: str, tmp_path: Path
) -> None:
    """Each would fit alone; what was sent of the first would count until it is collected."""
    tree = write_tree(tmp_path / "model", {f"{number}.bin": bytes([number]) * 400_000 for number in range(3)})
    sent: list[int] = []

    def note(step: steelyard.Progress) -> None:
        if step.phase == "upload":
            sent.append(step.done_bytes)

    with pytest.raises(
        reasons.QuotaExceeded, match=r"1200000 bytes.*leaves 1048576\. Purge versions"
    ) as error:
        client.push("first", tree, progress=note)
    assert error.value.metadata["quota"] == "size_bytes"
    assert not any(sent)
    assert client.namespaces.get(name).usage == steelyard.NamespaceUsage(0, 0)


def test_a_large_file_whose_digest_is_not_known_yet_is_refused_too(
    client: steelyard.Client, name: str, tmp_path: Path
) -> None:
    with pytest.raises(reasons.QuotaExceeded):
        client.push("first", large_file(tmp_path / "large.bin", size_mib=2))
    assert client.namespaces.get(name).usage.size_bytes == 0


def test_large_files_that_are_the_same_count_once(
    client: steelyard.Client, name: str, tmp_path: Path
) -> None:
    data = bytes(range(256)) * 2600
    tree = write_tree(tmp_path / "model", {"a.bin": data, "b.bin": data})
    client.push("first", tree)
    assert client.namespaces.get(name).usage.size_bytes == len(data)


def test_a_version_too_many_is_refused_before_its_bytes_and_a_repeated_push_is_not(
    client: steelyard.Client, name: str, tmp_path: Path
) -> None:
    for number in range(2):
        client.push("first", write_tree(tmp_path / "model", {"a": bytes([number])}))

    assert client.push("first", tmp_path / "model").created is False
    with pytest.raises(reasons.QuotaExceeded, match=r"no room for another version.*Purge versions"):
        client.push("first", write_tree(tmp_path / "model", {"a": b"new"}))
    assert client.namespaces.get(name).usage == steelyard.NamespaceUsage(2, 2)


def test_what_the_server_refuses_at_the_end_is_not_sent_again(
    shared: ServerProcess, client: steelyard.Client, name: str, tmp_path: Path
) -> None:
    """The quota shrinks while the bytes are under way; this client would try for an hour."""
    path = tmp_path / "weights.bin"
    path.write_bytes(bytes(700_000))
    shrunk: list[str] = []

    def shrink(step: steelyard.Progress) -> None:
        if step.phase == "upload" and not shrunk:
            shrunk.append(client.namespaces.update(name, quota=steelyard.Quota(1)).name)

    with (
        steelyard.Client(shared.address, namespace=name, patience_seconds=3600) as patient,
        pytest.raises(reasons.QuotaExceeded, match="700000 more do not fit") as error,
    ):
        patient.push("first", path, progress=shrink)
    assert shrunk
    facts = {"namespace": name, "quota": "size_bytes", "allowed": "1", "used": "0", "asked": "700000"}
    assert error.value.metadata == facts | {"index": "0"}
    assert client.namespaces.get(name).usage == steelyard.NamespaceUsage(0, 0)
