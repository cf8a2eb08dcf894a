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
    # What it says of itself, and to who begins a login, beside what is usual; None leaves it out.
    about: dict[str, Any] = field(default_factory=dict)
    begun: dict[str, Any] = field(default_factory=dict)

    def reset(self) -> None:
        """Be as at first."""
        fresh = Bank(self.provider)
        self.answers, self.forms, self.seconds = fresh.answers, fresh.forms, fresh.seconds
        self.about, self.begun = fresh.about, fresh.begun

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
            usual = where | {"device_code": "device", "interval": 0, "expires_in": 60}
            return 200, _present(usual | self.begun)
        said = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        if said != "ok":
            return _FAILURES.get(said, (400, {"error": said}))
        login = self.provider.login("ada", exp=int(time.time()) + self.seconds)
        other = self.provider.login("ada", aud="elsewhere")
        return 200, {"access_token": other, "id_token": login, "refresh_token": f"again {len(self.forms)}"}


# What is no answer of a provider: of a proxy before it, too long, or none at all.
LOST = "lost"
_FAILURES: dict[str, tuple[int, Any]] = {
    LOST: (0, None),
    "gateway": (502, "<html>Bad gateway</html>"),
    "page": (200, "<html>Welcome</html>"),
    "long": (200, {"id_token": "x" * 300_000}),
    "elsewhere": (302, {}),
}


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
