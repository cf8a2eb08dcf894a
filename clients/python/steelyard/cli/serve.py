"""``serve``, ``restore`` and ``status``: a server, what it serves, and how it is."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from steelyard.cli import output, session

EXIT_MISSING = 2
MISSING = (
    "The server is not installed here. In the root of Steelyard's repository, this installs it: "
    "pip install ./clients/python ."
)


def register(app: typer.Typer) -> None:
    """Add the commands of this file to *app*."""
    anything = {"allow_extra_args": True, "ignore_unknown_options": True}
    for command in (serve, restore):
        app.command(command.__name__, add_help_option=False, context_settings=anything)(command)
    app.command("status")(status)


def serve(
    context: typer.Context,
    help_: Annotated[bool, typer.Option("--help", "-h", help="Show the options of the server.")] = False,
) -> None:
    """Run a server until Ctrl-C."""
    try:
        from steelyard_server import __main__ as server
    except ModuleNotFoundError as error:
        raise _missing(error) from None
    sys.argv = ["steelyard serve", *(["--help"] if help_ else context.args)]
    server.main()


def restore(
    context: typer.Context,
    help_: Annotated[bool, typer.Option("--help", "-h", help="Show the options of restoring.")] = False,
) -> None:
    """Check a backup, or bring it back."""
    try:
        from steelyard_server import restore as restoring
    except ModuleNotFoundError as error:
        raise _missing(error) from None
    sys.argv = ["steelyard restore", *(["--help"] if help_ else context.args)]
    restoring.main()


def _missing(error: ModuleNotFoundError) -> Exception:
    """Say how to install the server, unless something else is missing."""
    if error.name != "steelyard_server":
        return error
    output.note(MISSING)
    return typer.Exit(EXIT_MISSING)


def status(context: typer.Context, json: output.Json = False) -> None:
    """Show which server answers, and as whom."""
    with session.of(context).client() as client:
        info = client.server_info()
        actor = client.who_am_i()
    if json:
        output.message_json(info)
        return
    output.details(
        {
            "server": session.of(context).resolved()["server"],
            "version": info.server_version,
            "database": info.database,
            "registry": info.registry_uid,
            "events": info.sequence,
            "you": output.actor(actor),
        }
    )
