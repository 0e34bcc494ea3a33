"""Who may call, and from where."""

import base64

import pytest
from pydantic import SecretStr, ValidationError

from gateway.identity import Browsers, parse_tokens
from gateway.settings import GatewaySettings
from services.common.errors import UnauthorizedError

TOKEN = "a-token-of-some-length"
LOCAL = Browsers(hosts=frozenset({"localhost", "127.0.0.1", "::1"}))


def test_loopback_without_a_token_lets_anyone_of_this_machine_in() -> None:
    assert parse_tokens("", "").actor_of("") == "local"


def test_a_token_s_name_is_the_actor() -> None:
    identities = parse_tokens(TOKEN, f"ann={TOKEN}-ann, ci={TOKEN}-ci")
    assert identities.actor_of(f"Bearer {TOKEN}-ci") == "ci"
    assert identities.actor_of(f"bearer {TOKEN}") == "token"


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", "Bearer \udce4"])
def test_no_token_or_a_wrong_one_is_refused(header: str) -> None:
    with pytest.raises(UnauthorizedError):
        parse_tokens(TOKEN, "").actor_of(header)


def test_a_page_may_ask_for_the_token_as_a_password() -> None:
    basic = "Basic " + base64.b64encode(f"me:{TOKEN}".encode()).decode()
    identities = parse_tokens(TOKEN, "")
    assert identities.actor_of(basic, allow_basic=True) == "token"
    with pytest.raises(UnauthorizedError):
        identities.actor_of(basic)


@pytest.mark.parametrize(("token", "tokens"), [("short", ""), ("", "no-name-at-all-here"), ("", "a=short")])
def test_weak_tokens_are_refused_at_the_start(token: str, tokens: str) -> None:
    with pytest.raises(ValueError, match=r"characters|name=token"):
        parse_tokens(token, tokens)


def test_an_open_address_without_a_token_does_not_start() -> None:
    with pytest.raises(ValidationError, match="MODELWRIGHT_API_TOKEN"):
        GatewaySettings(host="0.0.0.0")
    assert not GatewaySettings(host="0.0.0.0", api_token=SecretStr(TOKEN)).is_loopback


@pytest.mark.parametrize(
    ("request_line", "refused"),
    [
        (("POST", "localhost:8080", "", "", ""), False),
        (("POST", "127.0.0.1:8080", "http://127.0.0.1:8080", "same-origin", "cors"), False),
        (("POST", "[::1]:8080", "", "", ""), False),
        (("GET", "localhost:8080", "", "cross-site", "navigate"), False),
        (("POST", "localhost:8080", "http://evil.example", "cross-site", "cors"), True),
        (("POST", "localhost:8080", "null", "cross-site", "no-cors"), True),
        (("POST", "localhost:8080", "http://localhost:3000", "same-site", "cors"), True),
        (("POST", "localhost:8080", "", "cross-site", "navigate"), True),
        (("GET", "localhost:8080", "", "cross-site", "no-cors"), True),
        (("GET", "rebound.example:8080", "", "", ""), True),
        (("GET", "", "", "", ""), True),
    ],
)
def test_pages_of_other_sites_cannot_reach_a_loopback_gateway(request_line: tuple[str, ...], refused: bool) -> None:
    assert bool(LOCAL.objection(*request_line)) is refused
