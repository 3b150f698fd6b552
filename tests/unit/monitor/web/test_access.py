"""Tokens, scopes and names of the daemon."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from monitor.api_settings import ApiSettings, Scope, TokenSettings
from monitor.daemon_settings import ListenSettings
from monitor.web.access import ANONYMOUS, PREFIX, Access, Caller, digest_of, new_token, require, well_formed
from monitor.web.problems import Problem

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_token_is_known_by_its_form() -> None:
    token = new_token()
    assert token.startswith(PREFIX)
    assert well_formed(token)
    assert token != new_token()
    torn = token[:-1] + ("0" if token[-1] != "0" else "1")
    assert not any(well_formed(t) for t in (torn, token[:-1], token + "0", token[1:], "", f"{PREFIX}{'é' * 38}"))


def test_a_token_names_its_owner_until_it_ends() -> None:
    first, second = new_token(), new_token()
    access = Access(tokens=(
        TokenSettings(name="first", sha256=digest_of(first)),
        TokenSettings(name="second", sha256=digest_of(second), scopes=(Scope.OPERATE,), expires=NOW),
    ))  # fmt: skip
    assert access.caller_of(first, NOW) == Caller(name="first", scopes=frozenset({Scope.READ}))
    assert access.caller_of(second, NOW - timedelta(seconds=1)).scopes == {Scope.OPERATE}
    with pytest.raises(Problem, match=r"'second' has ended on 2026-01-01"):
        access.caller_of(second, NOW)
    with pytest.raises(Problem, match="not known") as caught:
        access.caller_of(new_token(), NOW)
    assert (caught.value.status, caught.value.headers["WWW-Authenticate"]) == (401, 'Bearer realm="alignd"')


@pytest.mark.parametrize(
    ("host", "tokens", "open_to_read"),
    [("127.0.0.1", 0, True), ("localhost", 0, True), ("::1", 0, True), ("127.0.0.1", 1, False), ("0.0.0.0", 0, False),
     ("alignd.example.org", 0, False)],
)  # fmt: skip
def test_everybody_may_read_on_loopback_without_tokens(host: str, tokens: int, open_to_read: bool) -> None:
    known = tuple(TokenSettings(name=f"t{i}", sha256=f"{i}" * 64) for i in range(tokens))
    access = Access.of(ApiSettings(tokens=known), ListenSettings(host=host))
    assert access.open_to_read is open_to_read
    assert access.anonymous.scopes == ({Scope.READ} if open_to_read else set())


@pytest.mark.parametrize(
    ("host", "known"),
    [("localhost:9464", True), ("127.0.0.1:9464", True), ("[::1]:9464", True), ("10.1.2.3", True), ("a.example", True),
     ("A.Example:80", True), ("b.example", True),
     ("evil.example", False), ("localhost.evil.example", False), ("", False), ("[", False),
     ("[::1", False), ("127.0.0.1.evil.example", False)],
)  # fmt: skip
def test_only_names_of_the_daemon_are_taken(host: str, known: bool) -> None:
    listen = ListenSettings(public_url="https://b.example/x")
    assert Access.of(ApiSettings(hosts=("a.example",)), listen).knows(host) is known


def test_a_scope_holds_no_other() -> None:
    operator = Caller(name="op", scopes=frozenset({Scope.OPERATE}))
    require(operator, Scope.OPERATE)
    with pytest.raises(Problem, match=r"needs the scope read; op has: operate") as caught:
        require(operator, Scope.READ)
    assert caught.value.status == 403
    with pytest.raises(Problem, match="needs a token") as caught:
        require(ANONYMOUS, Scope.READ)
    assert caught.value.status == 401
