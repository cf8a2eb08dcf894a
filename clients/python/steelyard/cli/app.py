"""The root of the command line, and what an error is to a person: a sentence, the next step, a code."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from steelyard.cli import (
    access,
    aliases,
    backup,
    bundles,
    compare,
    contexts,
    environments,
    evaluations,
    log,
    logins,
    maintenance,
    models,
    namespaces,
    output,
    policies,
    promote,
    promotions,
    push,
    reviews,
    serve,
    transfer,
    versions,
)
from steelyard.cli.commands import EXIT_OUTPUT_CLOSED, Commands
from steelyard.cli.session import Session

EXIT_ERROR, EXIT_USAGE, EXIT_REFUSED, EXIT_NOT_FOUND = 1, 2, 3, 5
EXIT_DENIED, EXIT_UNREACHABLE, EXIT_DAMAGED = 6, 7, 8

EPILOG = (
    "Exit codes: 0 done, 1 unexpected, 2 usage, 3 refused by a rule or declined, 4 still pending, "
    "5 not found, 6 denied, 7 unreachable, 8 damaged, 130 interrupted, 141 output closed."
)

app = typer.Typer(
    name="steelyard",
    cls=Commands,
    help="Keep model weights: push, pull, find, point aliases, roll back.",
    epilog=EPILOG,
    no_args_is_help=True,
    # Drawn by rich, help takes twice as long to come.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(models.app, name="models", cls=Commands)
app.add_typer(versions.app, name="versions", cls=Commands)
app.add_typer(evaluations.app, name="evaluations", cls=Commands)
app.add_typer(aliases.app, name="alias", cls=Commands)
app.add_typer(promotions.app, name="promotions", cls=Commands)
app.add_typer(policies.app, name="policy", cls=Commands)
app.add_typer(namespaces.app, name="namespaces", cls=Commands)
app.add_typer(environments.app, name="environments", cls=Commands)
app.add_typer(access.tokens, name="tokens", cls=Commands)
app.add_typer(access.grants, name="grants", cls=Commands)
app.add_typer(access.groups, name="groups", cls=Commands)
app.add_typer(contexts.app, name="contexts", cls=Commands)
logins.register(app)
access.register(app)
push.register(app)
transfer.register(app)
compare.register(app)
promote.register(app)
reviews.register(app)
log.register(app)
maintenance.register(app)
backup.register(app)
bundles.register(app)
serve.register(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(version("steelyard"))
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    server: Annotated[
        str | None, typer.Option("--server", "-s", help="Address, host:port, or https://host:port for TLS.")
    ] = None,
    context_name: Annotated[str | None, typer.Option("--context", help="Named server to use.")] = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Namespace of models that name none.")
    ] = None,
    actor: Annotated[str | None, typer.Option(help="Name that you state to the server.")] = None,
    tls_ca: contexts.TlsCa = None,
    tls_cert: contexts.TlsCert = None,
    tls_key: contexts.TlsKey = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that one call may take.")] = 30.0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Keep model weights: push, pull, find, point aliases, roll back."""
    del version
    context.obj = Session(
        server=server,
        context=context_name,
        namespace=namespace,
        actor=actor,
        tls_ca=tls_ca,
        tls_cert=tls_cert,
        tls_key=tls_key,
        timeout_seconds=timeout,
        quiet=quiet,
    )


def run() -> None:
    """Run a command and exit with the code of its outcome."""
    try:
        _run_and_flush()
    except BrokenPipeError:
        _drop_output()
        sys.exit(EXIT_OUTPUT_CLOSED)
    except Exception as error:
        code = exit_code(error)
        if code is None:
            raise
        if isinstance(error, OSError):
            _drop_output()
        output.error(error)
        sys.exit(code)


def _run_and_flush() -> None:
    """Run a command; its output is out, or the reason why not is raised, before the process ends."""
    try:
        app(prog_name="steelyard")
    finally:
        sys.stdout.flush()


def _drop_output() -> None:
    """Forget what could not be written; at its end Python would try again, and complain by itself."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def exit_code(error: Exception) -> int | None:
    """Return the exit code for an error of the client or the system; None for a bug of ours."""
    from steelyard import errors

    codes: tuple[tuple[type[Exception], int], ...] = (
        (errors.NotFound, EXIT_NOT_FOUND),
        (errors.PermissionDenied, EXIT_DENIED),
        (errors.DataLoss, EXIT_DAMAGED),
        (errors.BundleInvalid, EXIT_DAMAGED),
        (errors.Unreachable, EXIT_UNREACHABLE),
        (errors.Unavailable, EXIT_UNREACHABLE),
        (errors.DeadlineExceeded, EXIT_UNREACHABLE),
        (errors.InvalidArgument, EXIT_USAGE),
        (errors.FileUnreadable, EXIT_USAGE),
        (errors.Internal, EXIT_ERROR),
        (errors.SteelyardError, EXIT_REFUSED),
        (OSError, EXIT_ERROR),
    )
    return next((code for kind, code in codes if isinstance(error, kind)), None)
