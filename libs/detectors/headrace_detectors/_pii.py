"""Personal data: contact details, accounts, addresses of machines. National ids are in `_national`."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address

from headrace_detectors._checksums import iban_ok, luhn_lengths
from headrace_detectors._national import NATIONAL
from headrace_detectors._pattern import Accepted, Candidate, Pattern

_LETTER = r"A-Za-z\x{C0}-\x{24F}\x{370}-\x{52F}"
# More than the standard allows: a long or odd address is better masked than refused, and the automaton stays small.
_EMAIL = rf"[{_LETTER}0-9_][{_LETTER}0-9._%+'-]*@[{_LETTER}0-9][{_LETTER}0-9.-]*\.[{_LETTER}]{{2,}}"

_EXTENSION = r"(?:\s?(?:x|ext\.?)\s?\d{1,5})?"
_PHONE_INTERNATIONAL = rf"(?:\+|\b00)[1-9](?:[ ./()-]{{0,3}}\d){{6,14}}{_EXTENSION}\b"
_PHONE_NORTH_AMERICAN = rf"(?:\b1[ .-])?(?:\(\d{{3}}\) ?|\b\d{{3}}[ .-])\d{{3}}[ .-]\d{{4}}{_EXTENSION}\b"
_PHONE_NATIONAL = r"(?:\(0[1-9]\d{0,3}\)|\b0[1-9]\d{0,3})(?:[ ./-]{0,2}\d){5,10}\b"
_PHONE_WITH_AREA = r"\(\d{2,4}\) ?\d{3,5}[ -]\d{3,4}\b"
_PHONE_NAMED = (
    r"(?i)\b(?:phone|telephone|tel|mobile|cell|cellphone|fax|call|dial|ring|whatsapp|sms)"
    r"(?:[ .:#=]|no|number|is|us|me|him|her|them|at|on)+(\(?\d(?:[ ()./-]{0,2}\d){4,13})\b"
)
_PHONE_NAMED_AFTER = r"(?i)(?:\(|\b)(\d(?:[ ()./-]{0,2}\d){5,13})[ ,;:()\\-]{1,3}(?:office|mobile|cell|fax|phone)\b"
_DATE = re.compile(r"(?:\d{1,2}[./-]){2}\d{2,4}|\d{4}[./-]\d{1,2}[./-]\d{1,2}")

_IBAN = r"\b[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]{4}){2,7}(?:[ -]?[A-Za-z0-9]{1,3})?\b"
_CARD = r"\b\d(?:[ -]?\d){12,18}\b"

_CARD_DIGITS = 13
_ISSUED = re.compile(r"4|5|6|3[4-8]|30|2[2-7]\d{14}$")
"""How the numbers of the large networks begin."""

_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4 = rf"\b((?:{_OCTET}\.){{3}}{_OCTET})(?:[^.\w]|\.[^\d]|\.?\z)"
_IPV6 = r"(?:[0-9A-Fa-f]{0,4}:){2,7}(?:(?:\d{1,3}\.){3}\d{1,3}|[0-9A-Fa-f]{0,4})"


def _digits(value: str) -> str:
    return "".join(char for char in value if char.isdigit())


def _compact(value: str) -> str:
    return "".join(char for char in value if char.isalnum()).upper()


def _phone_international(candidate: Candidate) -> Accepted | None:
    if candidate.before.isalnum():
        return None
    # `00` may also open a long number of another sort: what is grouped is more likely a phone.
    sure = candidate.value.startswith("+") or not candidate.value.isdigit()
    return Accepted(0.9 if sure else 0.4, len(candidate.value))


def _phone_north_american(candidate: Candidate) -> Accepted | None:
    digits = _digits(candidate.value)
    area = digits[1:4] if digits[0] == "1" else digits[:3]
    return Accepted(0.75 if area[0] in "23456789" else 0.55, len(candidate.value))


def _phone_named(candidate: Candidate) -> Accepted | None:
    """A number beside a word that announces one."""
    return None if _DATE.fullmatch(candidate.value) else Accepted(0.7, len(candidate.value))


def _phone_with_area(candidate: Candidate) -> Accepted | None:
    return Accepted(0.6, len(candidate.value))


def _phone_national(candidate: Candidate) -> Accepted | None:
    if candidate.before in {".", ",", "/", "-"} or _DATE.match(candidate.value):
        return None
    digits = len(_digits(candidate.value))
    if not 9 <= digits <= 12:
        return None
    return Accepted(0.4 if candidate.value.isdigit() else 0.6, len(candidate.value))


def _iban(candidate: Candidate) -> Accepted | None:
    length = iban_ok(candidate.value)
    return Accepted(1.0, length) if length else None


def _card(candidate: Candidate) -> Accepted | None:
    """A card number, or the longest beginning of the digits that is one."""
    if candidate.value[0] not in "23456":
        return None
    number = _digits(candidate.value)
    if len(set(number)) == 1:
        return None
    ends = [index + 1 for index, char in enumerate(candidate.value) if char.isdigit()]
    for length in reversed(luhn_lengths(number)):
        end = ends[length - 1]
        if length >= _CARD_DIGITS and not candidate.value[end : end + 1].isdigit():
            return Accepted(1.0 if _ISSUED.match(number[:length]) else 0.6, end)
    return None


def _ipv4(candidate: Candidate) -> Accepted | None:
    if candidate.before == ".":
        return None
    return Accepted(0.8, len(candidate.value))


def _ipv6(candidate: Candidate) -> Accepted | None:
    value = candidate.value
    # Nothing that begins within it could be one either: a letter, a digit or a colon would stand before that.
    none = Accepted(0.0, len(value))
    if candidate.before.isalnum() or candidate.before == ":" or candidate.after.isalnum() or candidate.after == ":":
        return none
    if value.endswith(":") and not value.endswith("::"):
        value = value[:-1]
    try:
        IPv6Address(value)
    except AddressValueError:
        return none
    groups = [group for group in value.split(":") if group]
    # `::` also stands in source code, between names that happen to be made of a to f.
    sure = len(groups) >= 3 and any(char.isdigit() for char in value)
    return Accepted(0.9 if sure else 0.4, len(value))


PATTERNS: dict[str, tuple[Pattern, ...]] = {
    "email": (Pattern("email", _EMAIL, identity=str.lower),),
    "phone": (
        Pattern("phone", _PHONE_INTERNATIONAL, accept=_phone_international, identity=_digits),
        Pattern("phone", _PHONE_NORTH_AMERICAN, accept=_phone_north_american, identity=_digits),
        Pattern("phone", _PHONE_NATIONAL, accept=_phone_national, identity=_digits),
        Pattern("phone", _PHONE_WITH_AREA, accept=_phone_with_area, identity=_digits),
        Pattern("phone", _PHONE_NAMED, accept=_phone_named, group=1, identity=_digits),
        Pattern("phone", _PHONE_NAMED_AFTER, accept=_phone_named, group=1, identity=_digits),
    ),
    "iban": (Pattern("iban", _IBAN, accept=_iban, identity=_compact),),
    "card": (Pattern("card", _CARD, accept=_card, identity=_digits),),
    "ip": (
        Pattern("ip", _IPV4, accept=_ipv4, group=1),
        Pattern("ip", _IPV6, accept=_ipv6, identity=str.lower),
    ),
    **{pattern.kind: (pattern,) for pattern in NATIONAL},
}
"""What finds each kind. Earlier kinds win where two find the same with equal confidence."""

PII_KINDS = tuple(PATTERNS)
"""Every kind of personal data there is a pattern for."""
