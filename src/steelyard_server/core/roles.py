"""Roles: the one table of what each of them allows.

Words are those of the enums Role and Permission of the API. Admin neither reviews nor overrides, so
that who runs a registry does not decide alone what it delivers; viewer and auditor read no bytes.
"""

from __future__ import annotations

from typing import Final

READ: Final = "read"
READ_BYTES: Final = "read-bytes"
WRITE: Final = "write"
EVALUATE: Final = "evaluate"
PROPOSE: Final = "propose"
REVIEW: Final = "review"
OVERRIDE: Final = "override"
DEPLOY: Final = "deploy"
REPORT: Final = "report"
AUDIT: Final = "audit"
ADMINISTER: Final = "admin"

ADMIN: Final = "admin"

ROLES: Final[dict[str, frozenset[str]]] = {
    "viewer": frozenset({READ}),
    "reader": frozenset({READ, READ_BYTES}),
    "writer": frozenset({READ, READ_BYTES, WRITE, PROPOSE}),
    "evaluator": frozenset({READ, READ_BYTES, EVALUATE}),
    "approver": frozenset({READ, REVIEW}),
    "deployer": frozenset({READ, READ_BYTES, DEPLOY, REPORT}),
    "auditor": frozenset({READ, AUDIT}),
    ADMIN: frozenset({READ, READ_BYTES, WRITE, EVALUATE, PROPOSE, DEPLOY, REPORT, AUDIT, ADMINISTER}),
    "break-glass": frozenset({READ, OVERRIDE}),
}


# Roles that decide on promotions; nobody gives them to themselves.
DECIDING: Final = tuple(role for role, given in ROLES.items() if {REVIEW, OVERRIDE} & given)


def allowing(permission: str) -> list[str]:
    """Return the roles that give *permission*, the least of them first."""
    return sorted(
        (role for role, permissions in ROLES.items() if permission in permissions),
        key=lambda role: len(ROLES[role]),
    )
