"""An identity provider with the device flow, for tests: a real HTTP server on the loopback."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from tests.issuers import Provider, rsa_key


@dataclass
class Bank:
    """An identity provider with the device flow, over HTTP on the loopback."""

    provider: Provider
    url: str = ""
    # What it answers to who asks for a token, one after the other; the last one again and again.
    answers: list[str] = field(default_factory=lambda: ["authorization_pending", "ok"])
    forms: list[dict[str, str]] = field(default_factory=list)
    seconds: int = 600
    # Whether a refresh token is good once, as providers have it that rotate them: `newest` is.
    rotates: bool = False
    newest: str = ""
    # A renewal is answered when another one came meanwhile, or after this time.
    renewal_seconds: float = 0.0
    renewals: int = 0
    renewed_again: threading.Event = field(default_factory=threading.Event)
    # What it says of itself, and to who begins a login, beside what is usual; None leaves it out.
    about: dict[str, Any] = field(default_factory=dict)
    begun: dict[str, Any] = field(default_factory=dict)

    def reset(self) -> None:
        """Be as at first."""
        fresh = Bank(self.provider)
        self.answers, self.forms, self.seconds = fresh.answers, fresh.forms, fresh.seconds
        self.about, self.begun = fresh.about, fresh.begun
        self.rotates, self.newest, self.renewal_seconds = fresh.rotates, fresh.newest, fresh.renewal_seconds
        self.renewals, self.renewed_again = fresh.renewals, fresh.renewed_again

    def answer(self, path: str, form: dict[str, str]) -> tuple[int, Any]:
        if path == "/.well-known/openid-configuration":
            endpoints = {
                "device_authorization_endpoint": f"{self.url}/device",
                "token_endpoint": f"{self.url}/token",
            }
            return 200, _present({"issuer": self.url} | endpoints | self.about)
        if path == "/keys":
            return 200, json.loads(self.provider.key_set())
        self.forms.append(form)
        if path == "/device":
            where = {"verification_uri": f"{self.url}/confirm", "user_code": "ABCD-EFGH"}
            usual = where | {"device_code": "device", "interval": 0.1, "expires_in": 60}
            return 200, _present(usual | self.begun)
        said = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        if said != "ok":
            return _FAILURES.get(said, (400, {"error": said}))
        refresh_token = f"again {len(self.forms)}"
        if self.rotates and form.get("refresh_token", self.newest) != self.newest:
            self.renewed_again.set()
            return 400, {"error": "invalid_grant"}
        self.newest = refresh_token
        if "refresh_token" in form:
            self.renewals += 1
            self.renewed_again.wait(self.renewal_seconds)
        login = self.provider.login("ada", exp=int(time.time()) + self.seconds)
        other = self.provider.login("ada", aud="elsewhere")
        return 200, {"access_token": other, "id_token": login, "refresh_token": refresh_token}


# What is no answer of a provider: of a proxy before it, too long, or none at all.
LOST = "lost"
_FAILURES: dict[str, tuple[int, Any]] = {
    LOST: (0, None),
    "gateway": (502, "<html>Bad gateway</html>"),
    "page": (200, "<html>Welcome</html>"),
    "long": (200, {"id_token": "x" * 300_000}),
    "elsewhere": (302, {}),
}
# What is no HTTP, or ends before it should.
BROKEN_OFF = {
    "no status": b"SSH-2.0-OpenSSH_9.6\r\n",
    "cut": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{",
    "error, cut": b"HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{",
    "short": b'HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n{"id_token": ',
    "error, short": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 400\r\n\r\n{",
    "many headers": b"HTTP/1.1 200 OK\r\n" + 200 * b"a: b\r\n" + b"\r\n",
}
_FAILURES |= {name: (0, content) for name, content in BROKEN_OFF.items()}


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


@contextmanager
def bank_server() -> Iterator[Bank]:
    """Run a provider until the block ends."""
    bank = Bank(Provider([rsa_key("first")]))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            status, found = bank.answer(self.path, form)
            if not status:
                self.wfile.write(found or b"")
                self.close_connection = True
                return
            content = found.encode() if isinstance(found, str) else json.dumps(found).encode()
            self.send_response(status)
            if status == 302:
                self.send_header("Location", f"{bank.url}/device")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    bank.url = bank.provider.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield bank
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
