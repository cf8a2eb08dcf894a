"""Settings: flags over ``STEELYARD_*`` variables over a TOML file over defaults, read once."""

from __future__ import annotations

import difflib
import ipaddress
import os
import tomllib
import typing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "STEELYARD_"
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
SECONDS_MAXIMUM = 3_153_600_000
# Variables of clients, and the one that names the file; a server does not warn of them.
FOREIGN_VARIABLES = frozenset(
    {
        "STEELYARD_ACTOR",
        "STEELYARD_CACHE_DIR",
        "STEELYARD_CONFIG",
        "STEELYARD_CONFIG_DIR",
        "STEELYARD_CONTEXT",
        "STEELYARD_NAMESPACE",
        "STEELYARD_SERVER",
        "STEELYARD_TLS_CA",
        "STEELYARD_TLS_CLIENT_CERT",
        "STEELYARD_TLS_CLIENT_KEY",
        "STEELYARD_TOKEN",
    }
)


class ConfigError(Exception):
    """A setting is unknown, malformed, or not safe."""


class Duration(float):
    """A time in seconds, written as a number with a unit: `90s`, `30m`, `12h`, `7d`; only 0 needs none.

    A bare number has no unit to know: five seconds of grace for five days would cost bytes.

    Raises:
        ValueError: it is written otherwise, negative, or longer than 100 years.
    """

    def __new__(cls, value: str | float) -> Self:
        """Read what a person wrote."""
        text = str(value).strip()
        unit = UNITS.get(text[-1:], 0)
        seconds = float(text[:-1]) * unit if unit else float(text)
        if not 0 <= seconds <= SECONDS_MAXIMUM or (seconds and not unit):
            raise ValueError(text)
        return super().__new__(cls, seconds)


NEVER, DAY = Duration("0"), Duration("1d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that can be set about a server."""

    data_dir: Path
    """Directory of database and blobs; made when missing. Default: the user's data directory."""

    listen: str = "127.0.0.1:7433"
    """Address and port of gRPC; port 0 takes a free one."""

    database: str = ""
    """URL of PostgreSQL, ``postgresql+psycopg://…``. Default: SQLite in the data directory."""

    backup_dir: str = ""
    """Directory below which backups are made, which must exist. Default: the server makes none."""

    metrics: str = ""
    """Address and port of Prometheus metrics. Default: none are served."""

    tls_cert: str = ""
    """PEM file with the server's certificate, then its issuers; a change of it is seen. Default: no TLS."""

    tls_key: str = ""
    """PEM file with the key of that certificate."""

    tls_client_ca: str = ""
    """PEM file of the authorities whose certificates clients must present. Default: clients need none."""

    auth: Literal["none", "tokens", "oidc"] = "none"
    """Who may call: `none` is everybody, under a name that they state; `tokens` who logs in with one;
    `oidc` who logs in with one, or at an identity provider."""

    oidc_issuers: str = ""
    """TOML file of the identity providers whose logins are taken."""

    allow_remote_without_login: bool = False
    """Listen beyond loopback although nothing keeps anybody out: everybody may do everything."""

    allow_remote_without_tls: bool = False
    """Listen beyond loopback with logins but without TLS: who reads the network reads tokens."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least weight of a log line; `info` has one line per call."""

    log_format: Literal["auto", "json", "console"] = "auto"
    """Form of log lines; `auto` is columns on a terminal and JSON otherwise."""

    grace_seconds: float = 20.0
    """How long open calls may go on after SIGTERM."""

    calls_maximum: int = 512
    """Unary calls at once; more are refused with OVERLOADED."""

    streams_maximum: int = 64
    """Streams at once, uploads and downloads together; more are refused with OVERLOADED."""

    watches_maximum: int = 1100
    """Streams at once that wait for events; more are refused with OVERLOADED."""

    request_read_seconds: float = 10.0
    """How long a call may take to deliver its request."""

    collect_every: Duration = NEVER
    """Time between two collections of garbage; 0 leaves them to whoever runs the server."""

    gc_grace: Duration = DAY
    """Least age of what a collection condemns, unless it is asked for another."""

    gc_trash: Duration = DAY
    """How long condemned bytes stay in the trash, unless a collection is asked for another time."""

    scrub_every: Duration = NEVER
    """Time in which every stored byte is read and verified once; 0 leaves that to whoever runs the server."""

    scrub_bytes_per_second: int = 32 * 1024 * 1024
    """Most bytes that scheduled verifications read a second; 0 for no limit."""


def load(
    flags: Mapping[str, Any], *, environment: Mapping[str, str], file: Path | None = None
) -> tuple[Config, list[str]]:
    """Merge all sources into a Config; return it with warnings for people.

    Args:
        flags: settings from the command line; None means not given.
        file: TOML file, else the one that ``STEELYARD_CONFIG`` names, else none.

    Raises:
        ConfigError: a setting is unknown, malformed, or not safe; the message says which and why.
    """
    file = file or (Path(environment["STEELYARD_CONFIG"]) if environment.get("STEELYARD_CONFIG") else None)
    from_environment, warnings = _from_environment(environment)
    merged = (
        (_from_file(file) if file else {})
        | from_environment
        | {name: value for name, value in flags.items() if value is not None}
    )
    values = {name: _converted(name, value) for name, value in merged.items()}
    values.setdefault("data_dir", _default_data_dir())
    config = Config(**values)
    _check(config)
    return config, warnings


def require_backup_dir(config: Config) -> None:
    """Refuse a place for backups that is not there, before the night in which the first is wanted.

    Raises:
        ConfigError: it is no directory.
    """
    if config.backup_dir and not Path(config.backup_dir).is_dir():
        raise ConfigError(
            f"backup_dir is {config.backup_dir}, which is no directory; make it with mkdir -p or mount its "
            "disk, or name another."
        )


def split_address(text: str, *, setting: str) -> tuple[str, int]:
    """Split ``host:port``, with an IPv6 host in brackets.

    Raises:
        ConfigError: it is of another form.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:  # noqa: PLR2004 - the largest port
        raise ConfigError(f"{setting} is {text!r}; write host:port, for example 127.0.0.1:7433.")
    return host.strip("[]"), int(port)


def _default_data_dir() -> Path:
    from platformdirs import user_data_path

    return user_data_path("steelyard", appauthor=False)


def _from_file(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"The settings file {path} cannot be read: {error}") from None
    for name in values:
        if name not in _names():
            raise ConfigError(f"{path} has an unknown setting {name!r}.{_near(name)}")
    return values


def _from_environment(environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    found: dict[str, str] = {}
    warnings: list[str] = []
    for variable, value in environment.items():
        if not variable.startswith(PREFIX) or variable in FOREIGN_VARIABLES:
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name in _names():
            found[name] = value
        else:
            warnings.append(f"The variable {variable} is no setting and is ignored.{_near(name)}")
    return found, warnings


def _names() -> list[str]:
    return [each.name for each in fields(Config)]


def _near(name: str) -> str:
    near = difflib.get_close_matches(name, _names(), n=1)
    return f" Did you mean {near[0]}?" if near else f" Settings are: {', '.join(_names())}."


def _converted(name: str, value: Any) -> Any:
    """Turn a value from any source into the type of its setting."""
    wanted = typing.get_type_hints(Config)[name]
    choices = typing.get_args(wanted)
    if choices and value not in choices:
        raise ConfigError(f"{name} is {value!r}; it must be one of {', '.join(choices)}.")
    if choices:
        return value
    kind, types = _KINDS[wanted]
    wrong = ConfigError(f"{name} is {value!r}; it must be {kind}.")
    # A variable is a text; a file has types, and in Python a truth value would pass as a number.
    if type(value) not in {str, *types}:
        raise wrong
    try:
        return _BOOLEANS[value.lower()] if isinstance(value, str) and wanted is bool else wanted(value)
    except (KeyError, ValueError):
        raise wrong from None


_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
# What a setting of each type is called, and the types beside text that its value may come in.
_KINDS: dict[Any, tuple[str, tuple[type, ...]]] = {
    bool: ("true or false", (bool,)),
    int: ("a whole number", (int,)),
    float: ("a number", (int, float)),
    Duration: ("a time such as 90s, 30m, 12h or 7d, with its unit", (int, float)),
    str: ("a text", ()),
    Path: ("a path", (type(Path()),)),
}


def _check(config: Config) -> None:
    _check_tls(config)
    _check_reach("listen", config, is_guarded=bool(config.tls_client_ca) or config.auth != "none")
    _check_tokens_hidden(config)
    if (config.auth == "oidc") != bool(config.oidc_issuers):
        raise ConfigError(
            "auth oidc and oidc_issuers go together: name the file of the identity providers, or use auth "
            "tokens."
        )
    if config.metrics:
        # They are served without TLS and without a login.
        _check_reach("metrics", config, is_guarded=False)
    if config.database and not config.database.startswith(("postgresql://", "postgresql+psycopg://")):
        raise ConfigError(
            "database is not a URL of PostgreSQL; write postgresql+psycopg://user@host/name, or leave it out "
            "for SQLite in the data directory."
        )
    if config.scrub_bytes_per_second < 0:
        raise ConfigError(f"scrub_bytes_per_second is {config.scrub_bytes_per_second}; it must be 0 or more.")
    places = ("calls_maximum", "streams_maximum", "watches_maximum")
    for name in ("grace_seconds", *places, "request_read_seconds"):
        if not getattr(config, name) > 0:  # also for NaN
            raise ConfigError(f"{name} is {getattr(config, name)}; it must be above 0.")


def _check_tls(config: Config) -> None:
    for one, other in (("tls_cert", "tls_key"), ("tls_key", "tls_cert"), ("tls_client_ca", "tls_cert")):
        if getattr(config, one) and not getattr(config, other):
            raise ConfigError(
                f"{one} is set and {other} is not. Set tls_cert and tls_key for TLS, or neither."
            )


def _check_reach(setting: str, config: Config, *, is_guarded: bool) -> None:
    """Refuse an address that others can reach where nothing decides who may call; TLS alone does not."""
    address = getattr(config, setting)
    host, _ = split_address(address, setting=setting)
    if is_guarded or config.allow_remote_without_login or is_loopback(host):
        return
    guards = {
        "listen": "let in only who has a token (auth) or a certificate (tls_cert, tls_key, tls_client_ca), "
    }
    raise ConfigError(
        f"{setting} is {address}, which others can reach, and nothing decides who may call there: "
        f"{guards.get(setting, '')}use 127.0.0.1, or set allow_remote_without_login if "
        "a proxy or network protects it."
    )


def _check_tokens_hidden(config: Config) -> None:
    """Let tokens cross a network only with TLS, or when the settings name what protects them instead."""
    host, _ = split_address(config.listen, setting="listen")
    is_hidden = config.tls_cert or config.allow_remote_without_tls
    if config.auth == "none" or is_hidden or is_loopback(host):
        return
    raise ConfigError(
        f"listen is {config.listen}, which others can reach, and without TLS tokens cross the network for "
        "everybody to read. Set tls_cert and tls_key, use 127.0.0.1 behind a proxy that has TLS, or set "
        "allow_remote_without_tls if the network protects them."
    )


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def environment() -> dict[str, str]:
    """Return the environment of this process."""
    return dict(os.environ)
