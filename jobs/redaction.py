"""Masking of e-mail addresses, phone numbers and postal addresses (property 55).

A key that names personal data masks whatever it holds; text is searched for patterns. Patterns ask
for the punctuation people write (``@``, ``+``, separated groups, a street's name), so that ids,
dates, amounts and digests pass untouched: bare digits are taken for an id unless a key or a word
such as "phone" says otherwise.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date, time
from numbers import Integral
from typing import Any

MASK = "[redacted]"

_KEY = re.compile(
    r"(?:^|_)(?:e_?mails?|phones?|telephone|tel|mobile|fax|msisdn|address(?:es)?|street"
    r"|postal_?code|post_?code|zip(?:_?code)?)(?:_?(?:number|no|addr(?:ess)?|line_?\d?|\d))*$"
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")

# lengths are bounded, or long tokens would take quadratic time
_EMAIL = r"(?<![\w.+-])\w[\w.+'-]{0,63}(?:@|%40)\w[\w-]*(?:\.[\w-]+)*\.[^\W\d_]{2,}"
_FREE = r"(?<![\w.,:/+-])"
_END = r"(?![\w-]|[.,:]\d)"
_PHONE = (
    # international, E.164 with any spacing: +49 (0)30 123-4567
    r"(?<![\w+])\+[1-9](?:[ ().-]{0,3}\d){7,14}(?!\d)"
    # North American, an optional country code before three groups: 1-415-555-2671
    rf"|{_FREE}(?:1[ .-])?(?:\(\d{{3}}\) ?|\d{{3}}[ .-])\d{{3}}[ .-]\d{{4}}{_END}"
    # national with a trunk zero, in pairs or in long groups: 01 23 45 67 89, 020 7946 0958
    rf"|{_FREE}0[1-9]([ .-])\d\d(?:\1\d\d){{3}}{_END}"
    rf"|{_FREE}\(?0[1-9]\d{{1,3}}\)?[ /-]\d{{3,4}}[ -]?\d{{3,5}}{_END}"
)
_PHONE_BY_NAME = (
    r"\b(?P<named>(?:(?:tele|mobile ?)?phone|tel|mobile|fax|msisdn|whatsapp)"
    r"(?: (?:number|no|nr))?\W{1,3})(?!\d{4}-\d\d-\d\d)[+(]?\d(?:[ ().-]{0,2}\d){5,14}"
)
_STREETS = (
    r"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Way|Place|Pl|Square"
    r"|Sq|Terrace|Highway|Hwy|Parkway|Pkwy|Close|Crescent|Circle)\b\.?"
)
_FLAT = r"(?:,? +(?:Apt|Apartment|Suite|Ste|Unit|Flat|#)\.? *[\w-]+)?"
_TOWN = (
    r"(?:,? +[A-Z]{2} +\d{5}(?:-\d{4})?|,? +\d{5}(?: +[A-Z][\w-]+)?"
    r"|, +(?:[A-Z][a-z][\w-]+ ?){1,3}(?=[^\w ]|$))*"
)
_ADDRESS = (
    rf"{_FREE}\d{{1,6}}[A-Za-z]? +(?:[A-Z0-9][\w'.-]* +){{1,4}}{_STREETS}{_FLAT}{_TOWN}"
    rf"|{_FREE}\d{{1,6}}[a-z]? +(?:[a-z]+ +){{1,3}}(?:street|avenue|boulevard)\b{_FLAT}{_TOWN}"
    rf"|\b[A-ZÄÖÜ][\wäöüß-]*(?i:straße|strasse|str\.|weg|platz|allee|gasse) +\d+ ?[a-z]?\b{_TOWN}"
    rf"|{_FREE}\d{{1,4}},? +(?:rue|boulevard|chemin|impasse|quai)"
    rf" +(?:(?:de|du|des|la|le|les) +|d'|l')*\w[\w'-]*{_TOWN}"
    r"|\bP\.? ?O\.? ?Box +\d+"
)
_QUOTED = (
    r"(?i:\b(?P<key>\w{0,40}?(?:e_?mail|phone|mobile|fax|msisdn|address|street)"
    r"(?:_?(?:number|address|line))?))(?P<sep>['\"]?\s{0,3}[:=]\s{0,3})(?P<quote>['\"])"
    r"(?:(?!(?P=quote)).)*(?P=quote)"
)

_SUBSTITUTIONS = (
    (re.compile(_QUOTED), rf"\g<key>\g<sep>\g<quote>{MASK}\g<quote>"),
    (re.compile(_EMAIL), "[email]"),
    (re.compile(_ADDRESS), "[address]"),
    (re.compile(_PHONE), "[phone]"),
    (re.compile(_PHONE_BY_NAME, re.IGNORECASE), r"\g<named>[phone]"),
)


def is_personal(key: str) -> bool:
    """Tell whether ``key`` names an e-mail address, a phone number or a postal address.

    >>> [is_personal(k) for k in ("email", "customerPhone", "address_line_2", "email_count")]
    [True, True, True, False]
    """
    return _KEY.search(_CAMEL.sub("_", key).lower()) is not None


def redact_text(text: str) -> str:
    """Return ``text`` with every recognised piece of personal data masked.

    >>> redact_text("order 31198570044 of ann@example.org, +1 415 555 2671, 12 Oak Street")
    'order 31198570044 of [email], [phone], [address]'
    """
    for pattern, mask in _SUBSTITUTIONS:
        text = pattern.sub(mask, text)
    return text


def redact(value: Any, key: str = "", depth: int = 6) -> Any:
    """Return ``value`` as plain JSON data with personal data masked at every level.

    What JSON has no word for becomes text; so does anything nested deeper than ``depth``.
    """
    if is_personal(key):
        return MASK
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, date | time):
        return value.isoformat()
    return _redact_nested(value, depth - 1) if depth else _redact_other(value)


def _redact_nested(value: Any, depth: int) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return {redact_text(str(k)): redact(v, str(k), depth) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [redact(item, depth=depth) for item in value]
    return _redact_other(value)


def _redact_other(value: Any) -> str:
    try:
        return redact_text(str(value))
    except Exception:  # noqa: BLE001 - whatever a stranger's __str__ does, logging must not stop work
        return f"<{type(value).__qualname__}>"
