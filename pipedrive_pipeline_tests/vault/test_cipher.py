"""A sealed secret opens in its own place, with a key of the list, unaltered; else never."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.fernet import Fernet
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import SecretStr

from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.cipher import Cipher, SecretLocation
from pipedrive_pipeline.vault.errors import SecretUnreadable, WrongKey

ACME = SecretLocation(Scope(Tenant("acme"), "pipedrive"), "access_token", generation=3)
TOKEN = SecretStr("v1u:canary")
OLD, NEW = (SecretStr(Fernet.generate_key().decode()) for _ in range(2))
SEALED = Cipher([OLD]).seal(TOKEN, ACME)
BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_="


@given(st.text())
def test_an_encrypted_value_decrypts_in_its_own_place(secret: str) -> None:
    """Tokens are opaque and long: any text must come back as it was."""
    assume(not any("\ud800" <= letter <= "\udfff" for letter in secret))
    cipher = Cipher([OLD])

    opened = cipher.open(cipher.seal(SecretStr(secret), ACME), ACME)

    assert opened.get_secret_value() == secret


def test_the_secret_does_not_show_in_the_sealed_text_or_the_cipher() -> None:
    """A dump or a traceback shows no secret."""
    assert "canary" not in SEALED
    assert "acme" not in SEALED
    assert OLD.get_secret_value() not in repr(Cipher([OLD]))


@pytest.mark.parametrize(
    "other",
    [
        replace(ACME, scope=Scope(Tenant("bravo"), "pipedrive")),
        replace(ACME, scope=Scope(Tenant("acme"), "hubspot")),
        replace(ACME, column="refresh_token"),
        replace(ACME, generation=2),
    ],
    ids=["tenant", "system", "column", "generation"],
)
def test_a_sealed_secret_moved_to_another_place_is_refused(other: SecretLocation) -> None:
    """Fernet has no associated data: without the place inside, rows could be swapped."""
    with pytest.raises(SecretUnreadable, match="another row"):
        Cipher([OLD]).open(SEALED, other)


@given(st.integers(min_value=9, max_value=len(SEALED) - 1), st.sampled_from(BASE64))
def test_a_sealed_secret_with_one_character_changed_is_refused(at: int, letter: str) -> None:
    """Also in base64's unused last bits, which decode to the same bytes."""
    assume(SEALED[at] != letter)

    with pytest.raises(SecretUnreadable):
        Cipher([OLD]).open(SEALED[:at] + letter + SEALED[at + 1 :], ACME)


@pytest.mark.parametrize("text", ["", "plain-token", SEALED + " ", SEALED[9:], SEALED[:-4], "ä"])
def test_text_that_was_never_sealed_is_refused(text: str) -> None:
    """A token that someone writes into the row by hand is not sent anywhere."""
    with pytest.raises(SecretUnreadable):
        Cipher([OLD]).open(text, ACME)


def test_a_missing_key_is_the_operators_mistake_not_the_rows() -> None:
    """Else a deploy with the wrong key would send every tenant back to its consent page."""
    with pytest.raises(WrongKey) as refused:
        Cipher([NEW]).open(SEALED, ACME)

    assert refused.value.key_ids == (SEALED[:8],)
    assert "TOKEN_ENCRYPTION_KEYS" in str(refused.value)


def test_the_first_key_seals_and_every_key_opens() -> None:
    """So that a new key can be put in front while old rows are still read."""
    both = Cipher([NEW, OLD])

    assert both.open(SEALED, ACME) == TOKEN
    assert not both.is_current(SEALED)
    assert both.is_current(both.seal(TOKEN, ACME))
    assert both.missing_keys([SEALED[:8], "00000000"]) == ("00000000",)
