"""``log``: what happened, the newest last."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from steelyard.cli import interrupts, output, session, values

if TYPE_CHECKING:
    from collections.abc import Iterable

    from steelyard import Client, Event

GRANT = "role.grant"
DENIALS = frozenset({"call.deny", "login.fail"})
NEWEST_FIRST = "sequence desc"
HEADERS = ("sequence", "time", "actor", "action", "resource", "reason")
_SEQUENCE = re.compile(r"[0-9]{1,18}")


def register(app: typer.Typer) -> None:
    """Add the command to *app*."""
    app.command("log")(log)


def log(
    context: typer.Context,
    scope: Annotated[
        str, typer.Argument(help="A namespace, or namespace/model; the whole registry if not given.")
    ] = "",
    filter: Annotated[  # noqa: A002 - the name of the option
        str, typer.Option("--filter", "-f", help="Which: 'actor = ada AND action = alias.set'.")
    ] = "",
    since: Annotated[
        str, typer.Option(help="Since then, as 7d, 12h or 30m ago; or what follows a sequence.")
    ] = "",
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            "-n",
            min=1,
            help="The newest so many; if not given, 50, or all with --since or --json.",
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-F", help="Go on with what comes, until Ctrl-C.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, an event a line.")] = False,
) -> None:
    """Show who changed what, when and why.

    The history, the newest last.

    The whole registry has more than all its namespaces: collections of garbage and restores too. With
    --follow it goes on across restarts of the server, without a gap; Ctrl-C ends it with exit code 130.
    """
    wanted = _filter(filter, since=since)
    limit = limit or (None if since or json else output.LISTED)
    with session.of(context).client() as client:
        if follow:
            _follow(client, scope, filter=wanted, limit=limit, json=json)
        found = _found(client, scope, filter=wanted, limit=limit)
        if json:
            _print_json(found)
            return
        shown = list(found)
    if wanted and not shown:
        output.note_absent([], what="event")
    output.table(HEADERS, map(_row, shown))


def _follow(client: Client, scope: str, *, filter: str, limit: int | None, json: bool) -> NoReturn:  # noqa: A002
    """Print the newest events, then each that comes.

    Raises:
        typer.Exit: somebody interrupted it.
    """
    from steelyard import Stop

    stop = Stop()
    # Before the list, so that nothing can lie between that and what follows.
    info = client.server_info()
    shown = list(_found(client, scope, filter=filter, limit=limit))
    after = max(info.sequence, *(event.sequence for event in shown[-1:]))
    with interrupts.ending(stop):
        if json:
            _print_json(shown)
        lines = None if json else output.Lines(HEADERS, list(map(_row, shown)))
        for event in client.events.watch(scope, filter=filter, after=after, epoch=info.epoch, stop=stop):
            if lines is None:
                output.message_line(event.message)
            else:
                lines.put(_row(event))
    raise typer.Exit(interrupts.EXIT_INTERRUPTED)


def _found(client: Client, scope: str, *, filter: str, limit: int | None) -> Iterable[Event]:  # noqa: A002
    """Return the newest events, or all, in the order in which they happened."""
    if limit is None:
        return client.events.list(scope, filter=filter)
    newest = client.events.list(scope, filter=filter, order_by=NEWEST_FIRST)
    found = list(islice(newest, limit))[::-1]
    if len(found) == limit and next(newest, None) is not None:
        output.note(f"These are the newest {limit}; there are more, see --limit.")
    return found


def _print_json(events: Iterable[Event]) -> None:
    for event in events:
        output.message_line(event.message)


def _filter(given: str, *, since: str) -> str:
    """Add to a filter where the history begins; what joins last needs no parentheses around the rest."""
    if not since:
        return given
    if _SEQUENCE.fullmatch(since):
        begin = f"sequence > {since}"
    else:
        then = datetime.now(UTC) - timedelta(seconds=values.seconds(since, option="--since"))
        begin = f"time >= {then.isoformat()}".replace("+00:00", "Z")
    return f"{given} AND {begin}" if given.strip() else begin


def _row(event: Event) -> tuple[object, ...]:
    first, *others = event.resources
    resource = f"{first} and {output.count(len(others), 'other')}" if others else first
    time = f"{event.time.astimezone():%Y-%m-%d %H:%M:%S}"
    return event.sequence, time, output.actor(event.actor), event.action, resource, _why(event)


def _why(event: Event) -> str:
    """Return the reason that somebody gave; of a denial why it was one, on what, and where it came from."""
    if event.action == GRANT:
        return ". ".join(filter(None, (_granted(event), event.reason)))
    if event.action not in DENIALS:
        return event.reason
    (change,) = json.loads(event.content)["changes"]
    told, texts = change["after"], event.texts
    counted = int(told["count"])
    parts = (
        told.get("reason", ""),
        output.count(counted, "call") if counted > 1 else "",
        told.get("permission", ""),
        f"on {target}" if (target := texts.get("changes.0.target")) else "",
        f"from {peer}" if (peer := texts.get("changes.0.peer")) else "",
    )
    return " ".join(filter(None, parts))


def _granted(event: Event) -> str:
    """Say who got which role, for the event names only the grant."""
    (change,) = json.loads(event.content)["changes"]
    after = change["after"]
    return f"{after['subject']} is {after['role']} on {after['scope'] or 'the registry'}"
