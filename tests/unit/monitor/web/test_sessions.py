"""Sessions of the page."""

from __future__ import annotations

from datetime import timedelta

from monitor.web.access import Caller
from monitor.web.sessions import Sessions, same
from tests.fake_site import Clock


def sessions(clock: Clock, minutes: float = 10) -> Sessions:
    return Sessions(clock=clock, minutes=minutes)


def test_a_session_is_found_by_its_secret_until_it_ends() -> None:
    clock = Clock()
    held = sessions(clock)
    secret, session = held.begin(Caller(name="a"))
    assert held.find(secret) == session
    assert held.find(secret + "x") is None
    assert held.find(session.caller.session) is None, "what is kept opens nothing"
    clock.now += timedelta(minutes=10)
    assert held.find(secret) is None
    clock.now -= timedelta(hours=1)
    assert held.find(secret) is None, "an ended one is forgotten"


def test_a_session_ends_with_its_token() -> None:
    clock = Clock()
    ends = clock.now + timedelta(minutes=2)
    secret, session = sessions(clock).begin(Caller(name="a", expires=ends))
    assert session.expires_at == ends
    assert secret not in repr(session)


def test_a_session_can_be_ended() -> None:
    held = sessions(Clock())
    secret, session = held.begin(Caller(name="a"))
    other, _ = held.begin(Caller(name="a"))
    held.end(session.caller)
    held.end(Caller(name="without"))
    assert held.find(secret) is None
    assert held.find(other) is not None


def test_the_oldest_goes_where_there_are_too_many() -> None:
    held = sessions(Clock(), minutes=1e6)
    secrets = [held.begin(Caller(name="a"))[0] for _ in range(1001)]
    assert held.find(secrets[0]) is None
    assert held.find(secrets[1]) is not None


def test_secrets_are_compared_whole() -> None:
    assert same("añ", "añ")
    assert not same("", "a")
