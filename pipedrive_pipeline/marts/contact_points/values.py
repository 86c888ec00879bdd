"""Phone numbers, e-mail addresses and websites in one form each, as they are looked up.

A text that cannot be read has no value; it is kept as it was entered, and listed.
Source: https://github.com/daviddrysdale/python-phonenumbers (read 2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

RULES: Final = "1"  # grows with each change of the rules below, so that every text is read again
PHONE_MAX_CHARACTERS: Final = 250  # of the library
ADDRESS_MAX_CHARACTERS: Final = 320  # 64 before the @, 255 after it
DOMAIN_MAX_CHARACTERS: Final = 253
# `a@b.example`, `mailto:a@b.example` or `Ann <a@b.example>`.
_ADDRESS: Final = re.compile(
    r"(?:[^<>]*<)?(?:mailto:)?([^\s<>@,;]+)@([^\s<>@,;]+?)>?", re.IGNORECASE
)
_DOMAIN: Final = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]*[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]")


@dataclass(frozen=True)
class PointValue:
    """The one form of a text; ``value`` is None if the text is no phone number, address or site."""

    value: str | None = None
    extension: str | None = None
    domain: str | None = None


UNREADABLE: Final = PointValue()


def phone(entered: str, country: str | None) -> PointValue:
    """A phone number in E.164, with its extension.

    Args:
        entered: as a person wrote it: ``030 1234567 ext. 12``, ``tel:+49-30-1234567``.
        country: ISO code of the country of a number without a country code; None: it has none, and
            ``00`` before a number means ``+``.
    """
    import phonenumbers  # 0.1 s, which every process would pay

    text = entered.strip()
    if country is None and text.startswith("00"):
        text = f"+{text[2:]}"
    if len(text) > PHONE_MAX_CHARACTERS:
        return UNREADABLE
    try:
        number = phonenumbers.parse(text, country)
    except phonenumbers.NumberParseException:
        return UNREADABLE
    # Possible, not valid: a country opens ranges that the installed metadata does not know yet.
    possible = phonenumbers.ValidationResult.IS_POSSIBLE
    if phonenumbers.is_possible_number_with_reason(number) != possible:  # or without its area code
        return UNREADABLE
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return PointValue(e164, number.extension or None)


def spellings(e164: str) -> tuple[str, ...]:
    """How people write a number: in their country, with its country code, without spaces."""
    import phonenumbers

    number = phonenumbers.parse(e164)
    formats = phonenumbers.PhoneNumberFormat
    written = [
        phonenumbers.format_number(number, each)
        for each in (formats.INTERNATIONAL, formats.NATIONAL)
    ]
    return tuple(dict.fromkeys((e164, *written)))


def is_country(code: str) -> bool:
    """True of an ISO 3166 code, in capitals, whose phone numbers are known."""
    import phonenumbers

    return code in phonenumbers.SUPPORTED_REGIONS


def email(entered: str) -> PointValue:
    """An e-mail address in lower case, with its domain unless many companies share that."""
    match = _ADDRESS.fullmatch(entered.strip())
    if match is None or len(entered) > ADDRESS_MAX_CHARACTERS:
        return UNREADABLE
    domain = domain_name(match[2])
    if domain is None:
        return UNREADABLE
    return PointValue(f"{match[1].lower()}@{domain}", domain=_own(domain))


def website(entered: str) -> PointValue:
    """The domain of a website, without ``www.``; a path or port is left out."""
    text = entered.strip()
    try:
        host = urlsplit(text if "//" in text else f"//{text}").hostname
    except ValueError:
        return UNREADABLE
    domain = domain_name(host or "")
    return UNREADABLE if domain is None else PointValue(domain, domain=_own(domain))


def domain_name(text: str) -> str | None:
    """A domain in lower case and ASCII, without ``www.``; None if the text is none."""
    name = text.strip().rstrip(".").lower().removeprefix("www.")
    try:
        name = name.encode("idna").decode()
    except UnicodeError:
        return None
    is_domain = len(name) <= DOMAIN_MAX_CHARACTERS and _DOMAIN.fullmatch(name)
    return name if is_domain else None


def is_free_mail(domain: str) -> bool:
    """True if anybody may have an address there: it says nothing about the company."""
    return domain in _free_mail_domains()


READ: Final[Mapping[str, Callable[[str, str | None], PointValue]]] = MappingProxyType(
    {
        "phone": phone,
        "email": lambda entered, _country: email(entered),
        "website": lambda entered, _country: website(entered),
    }
)


@cache
def read_with(kind: str, country: str | None) -> str:
    """What a text of this kind is read with; another answer means that it must be read again."""
    if kind == "phone":
        return f"{RULES} {version('phonenumbers')} {country or '-'}"
    return RULES


def _own(domain: str) -> str | None:
    return None if is_free_mail(domain) else domain


@cache
def _free_mail_domains() -> frozenset[str]:
    text = Path(__file__).with_name("free_mail_domains.txt").read_text(encoding="utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))
