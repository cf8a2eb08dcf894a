"""Addresses as everybody may read them: without user, password, query and fragment."""

from __future__ import annotations

import re

_USER = r"(?:[^/?#]*@)?"
_ADDRESS_6 = r"\[[0-9A-Fa-f:.]+\]"
_END = r"(?:[?#].*)?"
_URL = re.compile(
    rf"([A-Za-z][A-Za-z0-9+.-]*://){_USER}((?:[\w.-]+|{_ADDRESS_6})(?::[0-9]+)?)((?:/[^?#\s]*)?){_END}"
)
# As git and ssh write it: user@host:path. One letter before the colon is a drive of Windows.
_SCP = re.compile(rf"(?:[^@/:]+@)?((?:[\w.-]{{2,}}|{_ADDRESS_6}):)([^:?#\s][^?#\s]*){_END}")


def public(address: str) -> str:
    """Return *address* without user, password, query and fragment.

    It is empty for a place on this machine, which means nothing elsewhere, and where it is not sure what
    belongs to the password: some characters end the host for one reader and not for another.
    """
    if "\\" in address or not address.isprintable() or address.lower().startswith("file:"):
        return ""
    found = (_URL if "://" in address else _SCP).fullmatch(address)
    if found is None or "@" in address[found.start(found.re.groups) :]:
        return ""
    return "".join(found.groups())
