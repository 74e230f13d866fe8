"""Numbers of spreadsheets as they are shown (ECMA-376 Part 1, 18.8.30 and 18.8.31), for the formats in common use."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

# built-in formats by number; those left out of the standard's list are General here
BUILT_IN = {
    1: "0", 2: "0.00", 3: "#,##0", 4: "#,##0.00", 9: "0%", 10: "0.00%", 11: "0.00E+00",
    14: "yyyy-mm-dd", 15: "d-mmm-yy", 16: "d-mmm", 17: "mmm-yy", 18: "h:mm AM/PM", 19: "h:mm:ss AM/PM", 20: "h:mm",
    21: "h:mm:ss", 22: "yyyy-mm-dd h:mm", 37: "#,##0", 38: "#,##0", 39: "#,##0.00", 40: "#,##0.00", 45: "mm:ss",
    46: "[h]:mm:ss", 47: "mm:ss.0", 48: "0.0E+0",
}  # fmt: skip
_LITERAL = re.compile(r'"([^"]*)"|\\(.)|_.|\*.|\[\$([^\]-]*)[^\]]*\]|\[(?!h+\]|m+\]|s+\])[^\]]*\]')
_TOKEN = re.compile(r"\[h+\]|\[m+\]|\[s+\]|y+|m+|d+|h+|s+|AM/PM|A/P|\.0+", re.IGNORECASE)
_NUMBER = re.compile(r"([#0?,]*[#0?](?:\.[#0?]+)?(?:E[+-]0+)?)(,*)", re.IGNORECASE)
_DAYS, _SECONDS = 2_958_465, 86_400
_MOST_FORMAT = 500
# characters for private use stand for literal texts while a format is taken apart
_KEPT = 0xE000


def general(value: float) -> str:
    """A number with no format: at most 15 significant digits, as they are stored."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else f"{value:.15g}"


def shown(value: float, code: str, date1904: bool = False) -> str:
    """The number in this format; as General where the format is none that is known here.

    A date counts days from 1899-12-30, or from 1904-01-01. Dates in the locale's order are written as in ISO 8601.
    """
    sections = code[:_MOST_FORMAT].split(";")
    negative = value < 0 and len(sections) > 1 and bool(sections[1].strip())
    chosen, value = (sections[1], -value) if negative else (sections[0], value)
    if value == 0 and len(sections) > 2 and sections[2].strip():
        chosen = sections[2]
    literals: list[str] = []

    def kept(match: re.Match[str]) -> str:
        literals.append(match[1] or match[2] or match[3] or "")
        return chr(_KEPT + len(literals) - 1)

    bare = _LITERAL.sub(kept, chosen)
    if bare.strip().lower() in ("general", "@", ""):
        return general(value)
    dated = re.search(r"[ymdhs]", bare, re.IGNORECASE)
    text = _date(value, bare, date1904) if dated else _number(value, bare)
    return "".join(literals[ord(c) - _KEPT] if 0 <= ord(c) - _KEPT < len(literals) else c for c in text).strip()


def _number(value: float, code: str) -> str:
    """Digits, thousands, percent and exponent; a format without digits is its own text."""
    found = _NUMBER.search(code)
    if found is None:
        return code
    if "/" in code:
        return general(value)
    digits, _, exponent = found[1].upper().partition("E")
    # each comma after the digits leaves out a thousand
    value *= 100.0 ** code.count("%") / 1000.0 ** len(found[2])
    text = _scientific(value, digits, exponent) if exponent else _fixed(value, digits)
    return code[: found.start()] + text + code[found.end() :]


def _scientific(value: float, digits: str, exponent: str) -> str:
    """One digit, the fraction, E, and the exponent of at least so many digits; a plus where the format has one."""
    places = len(digits.partition(".")[2])
    mantissa, power = f"{value:.{places}E}".split("E")
    sign = "-" if power[0] == "-" else exponent[0].replace("-", "")
    return f"{mantissa}E{sign}{power[1:].lstrip('0').zfill(len(exponent) - 1)}"


def _fixed(value: float, digits: str) -> str:
    """Zeros in the format are digits that are always there, the others only where they are not zero."""
    whole, _, fraction = digits.partition(".")
    head, _, tail = f"{abs(value):{',' if ',' in whole else ''}.{len(fraction)}f}".partition(".")
    always = len(fraction.rstrip("#?"))
    tail = tail[:always] + tail[always:].rstrip("0")
    least = whole.count("0")
    head = head.zfill(least) if least or head != "0" else ""
    negative = value < 0 and any(c in "123456789" for c in head + tail)
    return "-" * negative + head + ("." + tail if tail else "")


def _date(value: float, code: str, date1904: bool) -> str:
    """Date and time by the format's tokens; `m` after an hour or before a second is minutes."""
    days = value + (1462 if date1904 else 0)
    if not 0 <= days <= _DAYS:
        return general(value)
    tokens = list(_TOKEN.finditer(code))
    finest = 10.0 ** -max((len(t[0]) - 1 for t in tokens if t[0].startswith(".")), default=0)
    seconds = round(days * _SECONDS / finest) * finest
    # the 29th of February 1900, which never was, is day 60
    at = datetime(1899, 12, 30) + timedelta(days=1 if days < 60 and not date1904 else 0, seconds=seconds)
    clock12 = any(t[0].upper() in ("AM/PM", "A/P") for t in tokens)
    texts, last = [], 0
    for number, token in enumerate(tokens):
        texts += [code[last : token.start()], _part(token[0], at, seconds, clock12, _minutes(tokens, number))]
        last = token.end()
    return "".join([*texts, code[last:]])


def _minutes(tokens: list[re.Match[str]], at: int) -> bool:
    """Whether an `m` here is minutes."""
    before = tokens[at - 1][0].lower().strip("[]") if at else ""
    after = tokens[at + 1][0].lower().strip("[]") if at + 1 < len(tokens) else ""
    return before[:1] == "h" or after[:1] == "s"


def _part(token: str, at: datetime, seconds: float, clock12: bool, minutes: bool) -> str:
    """One token's text."""
    low, size = token.lower(), len(token)
    if low.startswith("["):
        return str(int(seconds // {"h": 3600, "m": 60, "s": 1}[low[1]])).zfill(size - 2)
    if low.startswith("."):
        return f".{at.microsecond:06d}"[:size]
    if low in ("am/pm", "a/p"):
        return ("AM" if at.hour < 12 else "PM")[: 1 if low == "a/p" else 2]
    if low[0] == "m" and not minutes:
        return {1: f"{at.month}", 2: f"{at.month:02d}", 3: f"{at:%b}", 5: f"{at:%b}"[:1]}.get(size, f"{at:%B}")
    if low[0] == "d":
        return {1: f"{at.day}", 2: f"{at.day:02d}", 3: f"{at:%a}"}.get(size, f"{at:%A}")
    if low[0] == "y":
        return f"{at.year:04d}" if size > 2 else f"{at.year % 100:02d}"
    hour = (at.hour % 12 or 12) if clock12 else at.hour
    return str({"h": hour, "m": at.minute, "s": at.second}[low[0]]).zfill(min(size, 2))
