"""Why a login of an identity provider is refused; the tree and its rules are in ``errors.py``."""

from __future__ import annotations

from steelyard_server.errors import Unauthenticated, Unavailable


class IssuerUnknown(Unauthenticated):
    """A login is of an identity provider that the server is not set to."""


class AlgorithmRefused(Unauthenticated):
    """A login is not signed, or not in a way that is taken from its issuer."""


class SigningKeyUnknown(Unauthenticated):
    """The issuer has no such key."""


class SignatureInvalid(Unauthenticated):
    """The signature of a login is not its issuer's."""


class AudienceMismatch(Unauthenticated):
    """A login is for another audience."""


class ClaimInvalid(Unauthenticated):
    """A login lacks a claim, or one has a value that is not taken."""


class SigningKeysUnavailable(Unavailable):
    """The keys of an issuer cannot be had now."""
