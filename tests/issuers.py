"""Identity providers for tests: real keys, real logins, and a real HTTP server for the keys."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

URL, AUDIENCE = "https://login.bank.example", "steelyard"


@dataclass
class SigningKey:
    """A key of a provider."""

    name: str
    algorithm: str
    private: Any

    def entry(self) -> dict[str, Any]:
        """Return its public half as an entry of a JSON Web Key Set."""
        kind = "ES256" if self.algorithm.startswith("ES") else "RS256"
        found: dict[str, Any] = jwt.get_algorithm_by_name(kind).to_jwk(
            self.private.public_key(), as_dict=True
        )
        return found | {"kid": self.name, "use": "sig", "alg": self.algorithm}


def rsa_key(name: str, *, bits: int = 2048) -> SigningKey:
    """Make a key of RSA."""
    return SigningKey(name, "RS256", rsa.generate_private_key(65537, bits))


def elliptic_key(name: str) -> SigningKey:
    """Make a key of an elliptic curve."""
    return SigningKey(name, "ES256", ec.generate_private_key(ec.SECP256R1()))


@dataclass
class Provider:
    """An identity provider."""

    keys: list[SigningKey]
    url: str = URL
    audience: str = AUDIENCE

    def key_set(self) -> str:
        """Return its public keys."""
        return json.dumps({"keys": [key.entry() for key in self.keys]})

    def claims(self, name: str, **more: Any) -> dict[str, Any]:
        """Return what its logins say; a claim of None is left out."""
        now = int(time.time())
        usual = {"iss": self.url, "aud": self.audience, "sub": name, "iat": now, "exp": now + 12 * 3600}
        return {claim: value for claim, value in (usual | more).items() if value is not None}

    def login(self, name: str = "ada", *, key: SigningKey | None = None, **claims: Any) -> str:
        """Log somebody in."""
        chosen = key or self.keys[0]
        headers = {"kid": chosen.name}
        return jwt.encode(
            self.claims(name, **claims), chosen.private, algorithm=chosen.algorithm, headers=headers
        )


def settings(directory: Path, *tables: dict[str, Any]) -> dict[str, str]:
    """Write the file of identity providers and return the settings of a server with it."""
    lines = []
    for table in tables:
        lines.append("[[issuer]]")
        lines += [f"{name} = {json.dumps(value)}" for name, value in table.items()]
    file = directory / "issuers.toml"
    file.write_text("\n".join(lines))
    return {"auth": "oidc", "oidc_issuers": str(file)}


@dataclass
class KeyServer:
    """Serves what it is told to at one address, and counts how often it was asked."""

    content: bytes = b""
    status: int = 200
    asked: int = 0
    url: str = ""
    location: str = ""
    held: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.held.set()


@contextmanager
def key_server(content: str) -> Iterator[KeyServer]:
    """Serve keys over HTTP on the loopback until the block ends."""
    served = KeyServer(content.encode())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked += 1
            served.held.wait(30)
            self.send_response(served.status)
            if served.location:
                self.send_header("Location", served.location)
            self.send_header("Content-Length", str(len(served.content)))
            self.end_headers()
            self.wfile.write(served.content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    served.url = f"http://127.0.0.1:{server.server_port}/keys"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield served
    finally:
        served.held.set()
        server.shutdown()
        server.server_close()
        thread.join()
