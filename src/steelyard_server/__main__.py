"""``python -m steelyard_server``: read the settings, run the server, stop on SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sqlite3
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TextIO

import typer

from steelyard_server import config as settings
from steelyard_server.config import Config, ConfigError

if TYPE_CHECKING:
    from steelyard_server import server

EXIT_USAGE, EXIT_REFUSED = 2, 3

app = typer.Typer(
    add_completion=False,
    # As plain as the command line, which shows this help too.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


# Who may reach it, and how.
TlsCert = Annotated[str | None, typer.Option(help="PEM file of the server's certificate. Default: no TLS.")]
TlsKey = Annotated[str | None, typer.Option(help="PEM file of its key.")]
TlsClientCa = Annotated[
    str | None, typer.Option(help="PEM file of who signs certificates of clients, which then need one.")
]
Auth = Annotated[str | None, typer.Option(help="Who may call: none (default), tokens or oidc.")]
OidcIssuers = Annotated[
    str | None, typer.Option(help="TOML file of the identity providers whose logins are taken too.")
]
WithoutLogin = Annotated[
    bool | None,
    typer.Option(
        "--allow-remote-without-login", help="Listen beyond loopback though nothing decides who may call."
    ),
]
WithoutTls = Annotated[
    bool | None,
    typer.Option("--allow-remote-without-tls", help="Listen beyond loopback with tokens, without TLS."),
]


@app.command()
def serve(  # noqa: PLR0913 - one parameter per setting
    data_dir: Annotated[
        Path | None, typer.Option(help="Directory of database and blobs. Default: the user's data directory.")
    ] = None,
    listen: Annotated[
        str | None, typer.Option(help="Address of gRPC; port 0 takes a free one. Default: 127.0.0.1:7433.")
    ] = None,
    database: Annotated[
        str | None, typer.Option(help="URL of PostgreSQL. Default: SQLite in the data directory.")
    ] = None,
    backup_dir: Annotated[
        str | None, typer.Option(help="Directory for backups, which exists. Default: none are made.")
    ] = None,
    metrics: Annotated[str | None, typer.Option(help="Address of Prometheus metrics. Default: none.")] = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    tls_client_ca: TlsClientCa = None,
    auth: Auth = None,
    oidc_issuers: OidcIssuers = None,
    allow_remote_without_login: WithoutLogin = None,
    allow_remote_without_tls: WithoutTls = None,
    log_level: Annotated[
        str | None, typer.Option(help="debug, info, warning or error. Default: info.")
    ] = None,
    log_format: Annotated[str | None, typer.Option(help="auto, json or console. Default: auto.")] = None,
    grace_seconds: Annotated[
        float | None, typer.Option(help="How long open calls may go on. Default: 20.")
    ] = None,
    calls_maximum: Annotated[int | None, typer.Option(help="Unary calls at once. Default: 512.")] = None,
    streams_maximum: Annotated[int | None, typer.Option(help="Streams at once. Default: 64.")] = None,
    watches_maximum: Annotated[
        int | None, typer.Option(help="Streams at once that wait for events. Default: 1100.")
    ] = None,
    request_read_seconds: Annotated[
        float | None, typer.Option(help="Time for a call to send its request. Default: 10.")
    ] = None,
    collect_every: Annotated[
        str | None, typer.Option(help="Time between collections of garbage, as 1d; 0 for none.")
    ] = None,
    gc_grace: Annotated[str | None, typer.Option(help="Least age of garbage, as 24h.")] = None,
    gc_trash: Annotated[str | None, typer.Option(help="How long garbage stays in the trash, as 24h.")] = None,
    scrub_every: Annotated[
        str | None, typer.Option(help="Time in which all bytes are verified, as 30d; 0 for none.")
    ] = None,
    scrub_bytes_per_second: Annotated[
        int | None, typer.Option(help="Most bytes that a scheduled scrub reads a second.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with settings.")] = None,
) -> None:
    """Serve a model registry until SIGTERM or Ctrl-C.

    Every option can also stand in a TOML file (--config, STEELYARD_CONFIG) or in a variable STEELYARD_<NAME>.
    """
    flags = {name: value for name, value in locals().items() if name != "config"}
    try:
        loaded, warnings = settings.load(flags, environment=settings.environment(), file=config)
        settings.require_backup_dir(loaded)
    except ConfigError as error:
        _fail(str(error), code=EXIT_USAGE)
    for warning in warnings:
        _say(f"warning: {warning}", stream=sys.stderr)
    sys.exit(_run(loaded))


def main() -> None:
    """Run the command line."""
    app(prog_name="steelyard serve")


def _run(config: Config) -> int:
    from steelyard_server.api import log
    from steelyard_server.blobs.allocator import keep_freed_memory

    # gRPC's core, which reads this when it is loaded, would write of what is reported properly here.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    keep_freed_memory()
    log.set_up(level=config.log_level, form=config.log_format)
    try:
        import uvloop
    except ImportError:
        return asyncio.run(_serve(config))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(config))


async def _serve(config: Config) -> int:
    from steelyard_server import server
    from steelyard_server.db.migrations import SchemaTooNew
    from steelyard_server.directory import DirectoryInUse, RestoreUnfinished
    from steelyard_server.errors import RegistryError

    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    try:
        running = await server.start(config)
    except ConfigError as error:
        _say(f"error: {error}", stream=sys.stderr)
        return EXIT_USAGE
    except (DirectoryInUse, RestoreUnfinished, SchemaTooNew, server.CannotListen, RegistryError) as error:
        _say(f"error: {error}", stream=sys.stderr)
        return EXIT_REFUSED
    except (OSError, sqlite3.DatabaseError) as error:
        why = getattr(error, "strerror", None) or error
        message = f"The server cannot use the data directory {config.data_dir}: {why}."
        _say(f"error: {message} Choose another --data-dir.", stream=sys.stderr)
        return EXIT_REFUSED
    _greet(running)
    # What the start left behind stays; the collector need not look at it again with each generation.
    gc.collect()
    gc.freeze()
    await stopped.wait()
    _say("Stopping.")
    await running.stop()
    return 0


def _greet(running: server.Server) -> None:
    config, certificates = running.config, running.certificates
    _say(f"Steelyard is listening on {running.address}{' with TLS' if certificates else ''}")
    if certificates:
        certificate = certificates.current
        names = ", ".join(certificate.names) or "no host"
        _say(f"Its certificate is for {names}, until {certificate.end_time:%Y-%m-%d}")
    _say(f"Data is in {config.data_dir}")
    if running.metrics_port:
        _say(f"Metrics are on port {running.metrics_port}")
    if config.tls_client_ca:
        _say(f"Callers need a certificate of {config.tls_client_ca}.")
    _say_who_may_call(running)
    _say("\nTry next:")
    for command in _next_commands(running):
        _say(f"  {command}")


def _next_commands(running: server.Server) -> list[str]:
    server, needed = running.address, []
    if running.certificates:
        certificate, files = running.certificates.current, running.certificates.files
        server = f"https://{_certified(server, names=certificate.names)}"
        # Nobody but its owner issued it, so it is what to trust.
        ca = files.cert if certificate.is_self_signed else "FILE   # unless this system trusts its issuer"
        needed.append(f"export STEELYARD_TLS_CA={ca}")
        if files.client_ca is not None:
            needed.append("export STEELYARD_TLS_CLIENT_CERT=FILE STEELYARD_TLS_CLIENT_KEY=FILE")
    commands = ("status", "push fraud ./my-model --alias champion", "pull fraud@champion ./out")
    return [*needed, *(f"steelyard --server {server} {command}" for command in commands)]


def _certified(address: str, *, names: tuple[str, ...]) -> str:
    """Return the address with a host that the certificate is for, if it is for one; clients refuse others."""
    host, port = settings.split_address(address, setting="listen")
    one = host if host in names else next((name for name in names if "*" not in name), host)
    return f"[{one}]:{port}" if ":" in one else f"{one}:{port}"


def _say_who_may_call(running: server.Server) -> None:
    if running.config.auth == "none":
        _say("There is no login: everybody who reaches it may do everything, under the name that they state.")
        return
    _say("Callers log in with tokens.")
    host, _ = settings.split_address(running.address, setting="listen")
    if not running.certificates and not settings.is_loopback(host):
        _say("warning: without TLS their tokens cross the network for everybody to read.", stream=sys.stderr)
    for issuer in running.issuers:
        _say(f"They may log in at {issuer.url} too.")
    if running.first_token:
        _say("\nNobody could administer it, so here is a token of user:admin. It is shown this once:")
        _say(f"\n  export STEELYARD_TOKEN={running.first_token}\n")
        _say("Make tokens for others with it, grant them roles, and revoke it when you have one of your own.")


def _say(text: str, *, stream: TextIO | None = None) -> None:
    print(text, file=stream, flush=True)


def _fail(message: str, *, code: int) -> NoReturn:
    _say(f"error: {message}", stream=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
