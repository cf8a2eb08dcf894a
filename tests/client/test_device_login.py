"""The device flow against a provider that is slow, lost, hostile, or declined; no test waits for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from steelyard import device_login
from steelyard.device_login import LoginFailed, Prompt, Provider, ProviderUnreachable
from tests.device_provider import BROKEN_OFF, LOST, Bank, bank_server
from tests.issuers import AUDIENCE

SLOWER = device_login.SLOWER_SECONDS


@dataclass
class Clock:
    """A clock that only goes on while somebody sleeps."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def monotonic(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def running() -> Iterator[Bank]:
    with bank_server() as bank:
        yield bank


@pytest.fixture
def bank(running: Bank) -> Bank:
    """Return the provider as at first, which wants to be asked every two seconds."""
    running.reset()
    running.begun = {"interval": 2}
    return running


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(device_login, "time", clock)
    return clock


def provider(bank: Bank) -> Provider:
    return Provider(bank.url, AUDIENCE, "steelyard-cli", ("openid",))


def log_in(bank: Bank) -> tuple[device_login.Login, list[Prompt]]:
    shown: list[Prompt] = []
    return device_login.log_in(provider(bank), show=shown.append), shown


@pytest.mark.parametrize(
    ("answers", "slept"),
    [
        (["ok"], [2]),
        (["authorization_pending", "authorization_pending", "ok"], [2, 2, 2]),
        (["slow_down", "authorization_pending", "ok"], [2, 2 + SLOWER, 2 + SLOWER]),
        (["slow_down", "slow_down", "ok"], [2, 2 + SLOWER, 2 + 2 * SLOWER]),
        ([LOST, "authorization_pending", "ok"], [2, 2 + SLOWER, 2 + SLOWER]),
        (["gateway", LOST, "ok"], [2, 2 + SLOWER, 2 + 2 * SLOWER]),
    ],
)
def test_it_asks_as_often_as_it_may_and_a_lost_network_ends_nothing(
    bank: Bank, clock: Clock, answers: list[str], slept: list[float]
) -> None:
    bank.answers = answers

    found, shown = log_in(bank)

    assert shown == [Prompt(f"{bank.url}/confirm", "ABCD-EFGH")]
    assert clock.slept == slept
    assert found.refresh_token
    assert [each.get("device_code") for each in bank.forms[1:]] == len(slept) * ["device"]


@pytest.mark.parametrize("interval", [None, "soon", -1, 0, 0.01, -0.0, True, float("nan"), [1]])
def test_an_interval_that_is_none_is_the_usual_one(bank: Bank, clock: Clock, interval: Any) -> None:
    bank.begun = {"interval": interval}
    bank.answers = ["ok"]
    log_in(bank)
    assert clock.slept == [device_login.INTERVAL_SECONDS]


@pytest.mark.parametrize(
    ("interval", "slept"), [(0.5, 0.5), (60, 60), (61, 60), (1e9, 60), (float("inf"), 60)]
)
def test_an_interval_is_kept_within_a_bound(bank: Bank, clock: Clock, interval: float, slept: float) -> None:
    bank.begun = {"interval": interval}
    bank.answers = ["ok"]
    log_in(bank)
    assert clock.slept == [slept]


@pytest.mark.parametrize("answer", BROKEN_OFF)
def test_an_answer_that_is_broken_off_is_as_if_none_came(bank: Bank, clock: Clock, answer: str) -> None:
    bank.answers = [answer, "ok"]
    log_in(bank)
    assert clock.slept == [2, 2 + SLOWER]
    bank.answers = [answer]
    with pytest.raises(ProviderUnreachable, match="cannot be reached"):
        device_login.renew(provider(bank), "again")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("authorization_pending", "nobody confirmed in time"),
        ("access_denied", "you declined"),
        ("expired_token", "nobody confirmed in time"),
        ("invalid_client", "invalid_client"),
        ("page", "no JSON object"),
        ("long", "no JSON object"),
        ("elsewhere", "it gave no token for steelyard"),
    ],
)
def test_it_fails_with_the_reason(bank: Bank, clock: Clock, answer: str, words: str) -> None:
    bank.answers = [answer]
    with pytest.raises(LoginFailed, match=words) as failed:
        log_in(bank)
    assert not isinstance(failed.value, ProviderUnreachable)
    assert sum(clock.slept) <= 62


@pytest.mark.parametrize("answer", [LOST, "gateway"])
def test_a_provider_that_stays_away_is_given_up_when_the_time_to_confirm_is_over(
    bank: Bank, clock: Clock, answer: str
) -> None:
    bank.answers = ["authorization_pending", answer]
    with pytest.raises(ProviderUnreachable, match="cannot be reached"):
        log_in(bank)
    assert 60 <= sum(clock.slept) < 120


@pytest.mark.parametrize("seconds", [None, "long", 1e9, -5])
def test_nobody_waits_for_ever(bank: Bank, clock: Clock, seconds: Any) -> None:
    bank.begun = {"interval": 60, "expires_in": seconds}
    bank.answers = ["authorization_pending"]
    with pytest.raises(LoginFailed, match="in time"):
        log_in(bank)
    assert sum(clock.slept) <= device_login.CONFIRM_SECONDS + 60


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"issuer": "https://other.example"}, "about another issuer"),
        ({"device_authorization_endpoint": None}, "no device_authorization_endpoint"),
        ({"device_authorization_endpoint": 7}, "no device_authorization_endpoint"),
        ({"device_authorization_endpoint": "http://other.example/device"}, "does not begin with https"),
        ({"token_endpoint": "http://other.example/token"}, "does not begin with https"),
        ({"token_endpoint": "file:///etc/passwd"}, "does not begin with https"),
        ({"token_endpoint": "https://[login/token"}, "does not begin with https"),
    ],
)
def test_secrets_are_sent_only_where_the_provider_is_and_nobody_listens(
    bank: Bank, clock: Clock, about: dict[str, Any], words: str
) -> None:
    bank.about = about
    with pytest.raises(LoginFailed, match=words):
        log_in(bank)
    assert not any("device_code" in form for form in bank.forms)


@pytest.mark.parametrize("field", ["user_code", "device_code", "verification_uri"])
def test_a_provider_that_does_not_say_where_to_confirm_is_refused(
    bank: Bank, clock: Clock, field: str
) -> None:
    bank.begun = {field: None}
    with pytest.raises(LoginFailed, match="where to confirm"):
        log_in(bank)
    assert clock.slept == []


def test_a_redirect_is_not_followed_with_a_secret(bank: Bank, clock: Clock) -> None:
    bank.answers = ["elsewhere"]
    with pytest.raises(LoginFailed):
        log_in(bank)
    assert len(bank.forms) == 2


def test_a_provider_that_is_not_there_is_told_apart_from_one_that_refuses(bank: Bank) -> None:
    nowhere = Provider("http://127.0.0.1:9", AUDIENCE, "steelyard-cli")
    with pytest.raises(ProviderUnreachable, match="Try again later"):
        device_login.log_in(nowhere, show=lambda _: None)
    with pytest.raises(ProviderUnreachable):
        device_login.renew(nowhere, "again")
    bank.answers = ["invalid_grant"]
    with pytest.raises(LoginFailed, match="the login is over") as failed:
        device_login.renew(provider(bank), "again")
    assert not isinstance(failed.value, ProviderUnreachable)
