"""Settings: flags over variables over a file over defaults, and nothing unknown or unsafe."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from steelyard_server import __main__ as command
from steelyard_server.config import Config, ConfigError, load, split_address

LISTEN = {"listen": "127.0.0.1:1"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "steelyard.toml"
    path.write_text('listen = "127.0.0.1:3"\nlog_level = "debug"\ngrace_seconds = 3\ncalls_maximum = 3\n')
    return path


def loaded(flags: dict[str, Any] | None = None, **environment: str) -> Config:
    config, warnings = load(flags or {}, environment={f"STEELYARD_{k}": v for k, v in environment.items()})
    assert warnings == []
    return config


def test_flags_win_over_variables_over_the_file_over_defaults(file: Path) -> None:
    environment = {"STEELYARD_LISTEN": "127.0.0.1:2", "STEELYARD_LOG_LEVEL": "warning"}
    flags = LISTEN | {"log_level": None, "metrics": None}
    config, _ = load(flags, environment=environment, file=file)

    assert config.listen == "127.0.0.1:1"
    assert config.log_level == "warning"
    assert config.grace_seconds == 3.0
    assert config.streams_maximum == 64


def test_a_variable_may_name_the_file_and_a_flag_another(file: Path, tmp_path: Path) -> None:
    environment = {"STEELYARD_CONFIG": str(file)}
    assert load({}, environment=environment)[0].calls_maximum == 3
    other = tmp_path / "other.toml"
    other.write_text("calls_maximum = 4")
    assert load({}, environment=environment, file=other)[0].calls_maximum == 4


def test_the_default_is_a_directory_of_the_user_and_the_loopback() -> None:
    config = loaded()
    assert config.listen == "127.0.0.1:7433"
    assert config.data_dir.is_absolute()
    assert config.data_dir.name == "steelyard"


def test_an_unknown_variable_is_a_warning_because_orchestrators_inject_such() -> None:
    environment = {
        "STEELYARD_PORT": "tcp://10.0.0.1:7433",
        "STEELYARD_LISTN": "127.0.0.1:1",
        "STEELYARD_SERVER": "elsewhere:7433",
        "STEELYARD_ACTOR": "ada",
        "PATH": "/bin",
    }
    config, warnings = load({}, environment=environment)

    assert config == loaded()
    assert len(warnings) == 2
    assert "STEELYARD_PORT" in warnings[0]
    assert "Did you mean listen?" in warnings[1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('listn = "127.0.0.1:1"', "listn.*Did you mean listen"),
        ('[server]\nlisten = "127.0.0.1:1"', "unknown setting 'server'"),
        ("listen = ", "cannot be read"),
        ('log_level = "loud"', "log_level is 'loud'; it must be one of debug"),
        ("calls_maximum = 0", "calls_maximum is 0; it must be above 0"),
        ("calls_maximum = 2.5", "calls_maximum is 2.5; it must be a whole number"),
        ("calls_maximum = true", "calls_maximum is True; it must be a whole number"),
        ("grace_seconds = nan", "grace_seconds is nan; it must be above 0"),
        ("grace_seconds = true", "grace_seconds is True; it must be a number"),
        ("listen = 7433", "listen is 7433; it must be a text"),
        ("listen = ['127.0.0.1:1']", "listen is .*; it must be a text"),
        ("data_dir = 1", "data_dir is 1; it must be a path"),
        ("allow_remote_without_login = 2", "it must be true or false"),
        ('gc_grace = "soon"', "gc_grace is 'soon'; it must be a time such as 90s, 30m, 12h or 7d"),
        ('gc_grace = "5"', "gc_grace is '5'; it must be a time such as 90s, 30m, 12h or 7d"),
        ("gc_grace = 5", "gc_grace is 5; it must be a time such as 90s, 30m, 12h or 7d"),
        ('gc_trash = "-1d"', "gc_trash is '-1d'; it must be a time"),
        ("collect_every = -1", "collect_every is -1; it must be a time"),
        ("collect_every = nan", "collect_every is nan; it must be a time"),
        ('scrub_every = "40000d"', "scrub_every is '40000d'; it must be a time"),
        ('scrub_every = ""', "scrub_every is ''; it must be a time"),
        ("scrub_every = true", "scrub_every is True; it must be a time"),
        ("scrub_bytes_per_second = -1", "scrub_bytes_per_second is -1; it must be 0 or more"),
    ],
)
def test_a_wrong_file_is_an_error_that_says_why(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "steelyard.toml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=words):
        load({}, environment={}, file=path)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load({}, environment={"STEELYARD_CONFIG": str(tmp_path / "none.toml")})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CALLS_MAXIMUM", "many"),
        ("CALLS_MAXIMUM", "-1"),
        ("GRACE_SECONDS", "soon"),
        ("GRACE_SECONDS", "nan"),
        ("ALLOW_REMOTE_WITHOUT_LOGIN", "maybe"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_a_wrong_variable_is_an_error(variable: str, value: str) -> None:
    with pytest.raises(ConfigError, match=variable.lower()):
        load({}, environment={f"STEELYARD_{variable}": value})


@pytest.mark.parametrize("text", ["true", "1", "yes", "True"])
def test_variables_are_read_as_the_type_of_their_setting(text: str) -> None:
    config = loaded(ALLOW_REMOTE_WITHOUT_LOGIN=text, CALLS_MAXIMUM="7", GRACE_SECONDS="0.5", DATA_DIR="x")
    assert (config.allow_remote_without_login, config.calls_maximum) == (True, 7)
    assert (config.grace_seconds, config.data_dir) == (0.5, Path("x"))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("90s", 90), ("30m", 1800), ("12h", 43_200), ("7d", 604_800), (" 1.5h ", 5400)],
)
def test_times_are_written_with_a_unit(text: str, seconds: float) -> None:
    assert loaded(SCRUB_EVERY=text).scrub_every == seconds


def test_by_default_nothing_is_collected_or_verified_by_itself_and_garbage_waits_for_a_day() -> None:
    config = loaded()
    assert (config.collect_every, config.scrub_every) == (0, 0)
    assert (config.gc_grace, config.gc_trash) == (86_400, 86_400)


@pytest.mark.parametrize("listen", ["127.0.0.1:7433", "127.8.9.10:1", "localhost:0", "[::1]:7433"])
def test_the_loopback_may_be_listened_on(listen: str) -> None:
    assert loaded({"listen": listen}).listen == listen


@pytest.mark.parametrize(
    "listen", ["0.0.0.0:7433", "[::]:7433", "10.0.0.1:7433", "example.com:7433", "localhost.example:1"]
)
def test_beyond_the_loopback_is_refused_unless_a_flag_names_the_case(listen: str) -> None:
    with pytest.raises(ConfigError, match="allow_remote_without_login"):
        loaded({"listen": listen})
    assert loaded({"listen": listen, "allow_remote_without_login": True}).listen == listen


TLS = {"tls_cert": "server.pem", "tls_key": "server.key"}


def test_tls_alone_lets_everybody_call_and_certificates_of_clients_do_not() -> None:
    beyond = {"listen": "0.0.0.0:7433", **TLS}
    with pytest.raises(ConfigError, match=r"nothing decides who may call.*tls_client_ca.*127\.0\.0\.1"):
        loaded(beyond)
    assert loaded(beyond | {"tls_client_ca": "ca.pem"}).tls_client_ca == "ca.pem"
    assert loaded(beyond | {"allow_remote_without_login": True}).tls_cert == "server.pem"


def test_metrics_beyond_the_loopback_are_refused_also_with_mutual_tls() -> None:
    """They are served in plain text, to everybody."""
    settings = TLS | {"tls_client_ca": "ca.pem", "metrics": "0.0.0.0:9000"}
    with pytest.raises(ConfigError, match=r"metrics is 0\.0\.0\.0:9000.*allow_remote_without_login"):
        loaded(settings)
    assert loaded(settings | {"allow_remote_without_login": True}).metrics == "0.0.0.0:9000"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tls_cert": "server.pem"}, "tls_cert is set and tls_key is not"),
        ({"tls_key": "server.key"}, "tls_key is set and tls_cert is not"),
        ({"tls_client_ca": "ca.pem"}, "tls_client_ca is set and tls_cert is not"),
    ],
)
def test_what_tls_needs_goes_together(settings: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        loaded(settings)


def test_variables_of_clients_with_tls_are_no_settings_of_a_server() -> None:
    assert loaded(TLS_CA="ca.pem", TLS_CLIENT_CERT="me.pem", TLS_CLIENT_KEY="me.key") == loaded()
    assert loaded(TLS_CERT="a", TLS_KEY="b", TLS_CLIENT_CA="c").tls_client_ca == "c"


@pytest.mark.parametrize("auth", [{"auth": "tokens"}, {"auth": "oidc", "oidc_issuers": "issuers.toml"}])
def test_logins_beyond_the_loopback_want_tls_or_a_flag_that_names_the_case(auth: dict[str, str]) -> None:
    remote: dict[str, Any] = {"listen": "10.0.0.1:7433"} | auth
    with pytest.raises(ConfigError, match="allow_remote_without_tls"):
        loaded(remote)
    assert loaded(remote | {"allow_remote_without_tls": True}).auth == auth["auth"]
    assert loaded(remote | TLS).auth == auth["auth"]
    assert loaded(auth).listen == "127.0.0.1:7433"
    # Who lets everybody read metrics says nothing about tokens.
    for open_to_all in ({}, {"metrics": "10.0.0.1:9090"}):
        with pytest.raises(ConfigError, match="allow_remote_without_tls"):
            loaded(remote | {"allow_remote_without_login": True} | open_to_all)
    # It is no word for a server without logins, nor for metrics, which have none.
    for other in ({"auth": "none", "oidc_issuers": ""}, {"metrics": "10.0.0.1:9090"}):
        with pytest.raises(ConfigError, match="allow_remote_without_login"):
            loaded(remote | {"allow_remote_without_tls": True} | other)


@pytest.mark.parametrize("settings", [{"auth": "oidc"}, {"auth": "tokens", "oidc_issuers": "issuers.toml"}])
def test_identity_providers_and_their_file_go_together(settings: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="auth oidc and oidc_issuers go together"):
        loaded(settings)
    assert loaded({"auth": "oidc", "oidc_issuers": "issuers.toml"}).auth == "oidc"


@pytest.mark.parametrize("auth", ["", "openid", "Tokens"])
def test_an_unknown_way_to_log_in_is_refused(auth: str) -> None:
    with pytest.raises(ConfigError, match="none, tokens"):
        loaded({"auth": auth})


@pytest.mark.parametrize("listen", ["", "7433", ":7433", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "h:65536"])
def test_an_address_has_a_host_and_a_port(listen: str) -> None:
    with pytest.raises(ConfigError, match="write host:port"):
        split_address(listen, setting="listen")
    with pytest.raises(ConfigError):
        loaded({"listen": listen})


def test_every_setting_has_a_flag() -> None:
    flags = set(inspect.signature(command.serve).parameters)
    assert {field.name for field in fields(Config)} == flags - {"config"}


def test_an_unknown_flag_is_an_error_and_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_run", lambda config: pytest.fail("it started"))
    ended = CliRunner().invoke(command.app, ["--listn", "127.0.0.1:1"])
    assert ended.exit_code == 2
    assert "--listn" in ended.output


def test_a_refused_setting_ends_the_command_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_run", lambda config: pytest.fail("it started"))
    ended = CliRunner().invoke(command.app, ["--listen", "0.0.0.0:1"])
    assert ended.exit_code == 2
    assert "allow_remote_without_login" in ended.output
