"""Addresses of repositories and packages lose their credentials, or are not kept at all."""

from __future__ import annotations

import pytest

from steelyard.capture.addresses import public

KEPT = {
    "https://example.org/r.git": "https://example.org/r.git",
    "https://example.org:8443/r": "https://example.org:8443/r",
    "https://ada:s3cret@example.org/r": "https://example.org/r",
    "https://s3cret@example.org/r": "https://example.org/r",
    "https://oauth2:s3cret@example.org/r": "https://example.org/r",
    "https://ada:s3@cret@example.org/r": "https://example.org/r",
    "https://ada%40x:s3%2Fcret@example.org/r": "https://example.org/r",
    "https://s3cret@s3cret/r": "https://s3cret/r",
    "https://example.org/r?access_token=s3cret": "https://example.org/r",
    "https://example.org/r#s3cret": "https://example.org/r",
    "HTTPS://Ada:s3cret@Example.org/R": "HTTPS://Example.org/R",
    "https://s3cret@example.org": "https://example.org",
    "ssh://git@example.org:22/r": "ssh://example.org:22/r",
    "ssh://git:s3cret@[::1]:22/r": "ssh://[::1]:22/r",
    "git+https://ada:s3cret@example.org/r": "git+https://example.org/r",
    "git@example.org:risk/fraud.git": "example.org:risk/fraud.git",
    "git@example.org:r?private_token=s3cret": "example.org:r",
    "git@[::1]:r": "[::1]:r",
    "example.org:r": "example.org:r",
}
NOT_KEPT = [
    "",
    "/srv/git/r",
    "../r",
    "./odd:name",
    "~/r",
    "file:///srv/git/r",
    "FILE:///srv/git/r",
    "C:/git/r",
    "C:\\git\\r",
    "\\\\server\\git\\r",
    "ext::sh -c s3cret",
    "codecommit::eu-central-1://s3cret@r",
    # Where the host begins is another question to git than to a browser.
    "https://ada:s3/cret@example.org/r",
    "https://ada:12/s3cret@example.org/r",
    "https://ada:s3?cret@example.org/r",
    "https://s3#cret@example.org/r",
    "https://example.org\\@s3cret/r",
    "ada:s3cret@example.org:r",
    "https://example.org/r\ns3cret",
    "https://example.org:80:90/r",
    "https://",
    ":",
]


@pytest.mark.parametrize(("address", "expected"), KEPT.items(), ids=KEPT)
def test_what_is_secret_is_taken_out(address: str, expected: str) -> None:
    assert public(address) == expected
    assert public(expected) == expected


@pytest.mark.parametrize("address", NOT_KEPT)
def test_what_means_nothing_elsewhere_or_cannot_be_told_from_a_secret_is_left_out(address: str) -> None:
    assert public(address) == ""
