"""``serve`` and ``status``: a server, and how it is."""

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
    app.command(
        "serve",
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(serve)
    app.command("status")(status)


def serve(
    context: typer.Context,
    help_: Annotated[bool, typer.Option("--help", "-h", help="Show the options of the server.")] = False,
) -> None:
    """Run a server until Ctrl-C."""
    try:
        from steelyard_server import __main__ as server
    except ModuleNotFoundError as error:
        if error.name != "steelyard_server":
            raise
        output.note(MISSING)
        raise typer.Exit(EXIT_MISSING) from None
    sys.argv = ["steelyard serve", *(["--help"] if help_ else context.args)]
    server.main()


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
