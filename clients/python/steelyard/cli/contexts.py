"""Named servers in the user's configuration file: ``steelyard contexts``."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from steelyard.cli import output

app = typer.Typer(help="Named servers.", no_args_is_help=True)

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
Name = Annotated[str, typer.Argument(help="Name of the context.")]
TlsCa = Annotated[
    str | None, typer.Option(help="PEM file of who issued the server's certificate; asks for TLS.")
]
TlsCert = Annotated[str | None, typer.Option(help="PEM file of your own certificate, where one is wanted.")]
TlsKey = Annotated[str | None, typer.Option(help="PEM file of its key.")]


def path() -> Path:
    """Return where the contexts are kept; ``STEELYARD_CONFIG_DIR`` moves it."""
    from platformdirs import user_config_path

    chosen = os.environ.get("STEELYARD_CONFIG_DIR")
    return (Path(chosen) if chosen else user_config_path("steelyard", appauthor=False)) / "contexts.json"


def load() -> dict[str, Any]:
    """Read ``{current, contexts: {name: {server, namespace, actor, tls_…}}}``; empty without a file."""
    try:
        known: dict[str, Any] = json.loads(path().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{path()} cannot be read: {error}. Mend or remove it.") from None
    if not _has_servers(known):
        raise typer.BadParameter(f"{path()} does not name a server for each context. Mend or remove it.")
    return known


def _has_servers(known: Any) -> bool:
    contexts = known.get("contexts", {}) if isinstance(known, dict) else None
    return isinstance(contexts, dict) and all(
        isinstance(found, dict) and isinstance(found.get("server"), str) for found in contexts.values()
    )


def find(name: str | None) -> dict[str, str]:
    """Return the settings of the context *name*, or of the chosen one; empty when there is none."""
    known = load()
    wanted = name or known.get("current", "")
    if not wanted:
        return {}
    found = known.get("contexts", {}).get(wanted)
    if found is None:
        names = ", ".join(known.get("contexts", {})) or "none"
        raise typer.BadParameter(f"There is no context {wanted!r}; there are: {names}.")
    return dict(found)


@app.command("add")
def add(
    name: Name,
    server: Annotated[
        str, typer.Argument(help="Address of the server, host:port, or https://host:port for TLS.")
    ],
    namespace: Annotated[str, typer.Option(help="Namespace of models that name none.")] = "default",
    actor: Annotated[str, typer.Option(help="Name that you state to the server.")] = "",
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
) -> None:
    """Add or change a context; the first one is chosen."""
    if _NAME.fullmatch(name) is None:
        raise typer.BadParameter(f"{name!r} may have letters, digits, dots, hyphens and underscores only.")
    from steelyard import tls
    from steelyard.connection import checked_address

    checked_address(server)
    # The command may be run anywhere later.
    files = {"tls_ca": tls_ca, "tls_cert": tls_cert, "tls_key": tls_key}
    files = {name: str(Path(file).absolute()) if file else "" for name, file in files.items()}
    tls.chosen(server, ca=files["tls_ca"], cert=files["tls_cert"], key=files["tls_key"])
    known = load()
    settings = {"server": server, "namespace": namespace, "actor": actor} | files
    known.setdefault("contexts", {})[name] = {key: value for key, value in settings.items() if value}
    known.setdefault("current", name)
    _save(known)
    output.note(f"Context {name} is {server}.")


@app.command("use")
def use(name: Name) -> None:
    """Choose the context for the commands that follow."""
    find(name)
    _save(load() | {"current": name})
    output.note(f"Commands now go to {find(name)['server']}.")


@app.command("ls")
def ls(as_json: output.Json = False) -> None:
    """List all contexts; the chosen one has a star."""
    known = load()
    if as_json:
        output.facts_json({"current": "", "contexts": {}} | known)
        return
    rows = [
        ("*" if name == known.get("current") else "", name, found["server"], found.get("namespace", ""))
        for name, found in sorted(known.get("contexts", {}).items())
    ]
    output.table(("", "context", "server", "namespace"), rows)


@app.command("rm")
def rm(name: Name) -> None:
    """Forget a context."""
    find(name)
    known = load()
    del known["contexts"][name]
    if known.get("current") == name:
        del known["current"]
    _save(known)
    output.note(f"Context {name} is forgotten.")


def _save(known: dict[str, Any]) -> None:
    file = path()
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = file.with_suffix(".new")
    new.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    new.chmod(0o600)
    new.replace(file)
