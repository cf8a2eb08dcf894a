"""The table of roles, and which scope covers which."""

from __future__ import annotations

import pytest

from steelyard.v1 import access_pb2, rule_pb2
from steelyard_server.core import roles, scopes

# A cross for each permission that a role gives, in the order of COLUMNS.
COLUMNS = (
    "read", "read-bytes", "write", "evaluate", "propose", "review", "override", "deploy", "report", "audit",
    "admin",
)  # fmt: skip
MATRIX = """
viewer      x..........
reader      xx.........
writer      xxx.x......
evaluator   xx.x.......
approver    x....x.....
deployer    xx.....xx..
auditor     x........x.
admin       xxxxx..xxxx
break-glass x.....x....
"""


def words(descriptor: object) -> set[str]:
    """Read the words of an enum, without the zero value."""
    values = descriptor.values  # type: ignore[attr-defined]
    prefix = values[0].name.removesuffix("UNSPECIFIED")
    return {value.name.removeprefix(prefix).lower().replace("_", "-") for value in values if value.number}


def test_each_role_gives_the_permissions_of_the_matrix() -> None:
    told = dict(line.split() for line in MATRIX.strip().splitlines())
    assert {
        role: "".join("x" if each in given else "." for each in COLUMNS)
        for role, given in roles.ROLES.items()
    } == told


def test_roles_and_permissions_are_those_of_the_api() -> None:
    assert set(roles.ROLES) == words(access_pb2.Role.DESCRIPTOR)
    asked = words(rule_pb2.Permission.DESCRIPTOR) - {"public", "caller"}
    assert asked == set(COLUMNS) == frozenset().union(*roles.ROLES.values())


def test_an_admin_neither_reviews_nor_overrides_and_an_auditor_reads_no_bytes() -> None:
    assert not roles.ROLES[roles.ADMIN] & {roles.REVIEW, roles.OVERRIDE}
    assert roles.READ_BYTES not in roles.ROLES["auditor"] | roles.ROLES["viewer"]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("", ""),
        ("risk", "risk"),
        ("risk/Fraud", "risk/fraud"),
        ("risk/STRASSE", "risk/strasse"),
        ("risk/Straße", "risk/strasse"),
        ("risk/-", "risk"),
        ("environment:production", "environment:production"),
        ("environment:production/eu", "environment:production/eu"),
        ("risk/" + 5000 * "x", "risk"),
        ("risk/a/b", "risk/a/b"),
        ("/", "/"),
    ],
)
def test_the_key_of_a_scope_needs_no_look_up(text: str, key: str) -> None:
    assert scopes.key_of(text) == key


def test_a_scope_is_covered_by_itself_and_by_what_it_is_in() -> None:
    assert scopes.covering("") == ("",)
    assert scopes.covering("risk") == ("risk", "")
    assert scopes.covering("risk/fraud") == ("risk/fraud", "risk", "")
    assert scopes.covering("environment:risk") == ("environment:risk", "")
    assert not scopes.is_within("risks/fraud", outer="risk")


@pytest.mark.parametrize("text", ["", "risk", "risk/Straße", "environment:production-eu"])
def test_a_scope_that_was_checked_has_the_key_that_a_request_with_it_has(text: str) -> None:
    assert scopes.parse(text).key == scopes.key_of(text)
