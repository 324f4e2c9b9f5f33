"""A product as cells of a table. Pure: no I/O, no clock.

Columns: ``code``, ``category``, ``unit``, ``sold``, ``tax_rate``, ``weight_kg``, ``routing``, ``media`` (addresses with
spaces between them, or JSON), and as many as are needed of ``name.<language>``, ``description.<language>``,
``price.<currency>`` (``12.50; 13.00 from 2027-01-01T00:00Z to 2028-01-01T00:00Z``) and ``attribute.<name>``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from cloud_ingest.catalog.models import CODE
from cloud_ingest.catalog.rules import Attribute

PLAIN: Final = ("code", "category", "unit", "sold", "tax_rate", "weight_kg", "routing", "media")
_GROUPS: Final = (("name", "names"), ("description", "descriptions"), ("price", "prices"), ("attribute", "attributes"))
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "'")
_PRICE: Final = re.compile(r"(\S+)(?:\s+from\s+(\S+))?(?:\s+to\s+(\S+))?")
_FLAGS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class CodeInvalid(ValueError):
    """A row that cannot be understood, in a sentence."""


def columns_of(bodies: Iterable[Mapping[str, Any]]) -> list[str]:
    """The columns that a table of ``bodies`` needs."""
    more: dict[str, set[str]] = {column: set() for column, _ in _GROUPS}
    for body in bodies:
        for column, field in _GROUPS:
            more[column] |= {price["currency"] for price in body[field]} if column == "price" else set(body[field])
    return [*PLAIN, *(f"{column}.{name}" for column, _ in _GROUPS for name in sorted(more[column]))]


def row_of(code: str, body: Mapping[str, Any]) -> dict[str, str]:
    """The cells of a product. What a spreadsheet would take for a formula has an apostrophe before it."""
    row = {name: _text(body[name]) for name in PLAIN if name not in ("code", "media")}
    row |= {"code": code, "media": _media(body["media"])}
    row |= {f"name.{language}": _text(text) for language, text in body["names"].items()}
    row |= {f"description.{language}": _text(text) for language, text in body["descriptions"].items()}
    row |= {f"attribute.{name}": _text(value) for name, value in body["attributes"].items()}
    for currency in {price["currency"] for price in body["prices"]}:
        prices = [_price(price) for price in body["prices"] if price["currency"] == currency]
        row[f"price.{currency}"] = "; ".join(prices)
    return row


def body_of(cells: Mapping[str, str], schema: Mapping[str, Attribute]) -> tuple[str, dict[str, Any]]:
    """Code and body of a row, not validated yet. Raises ``CodeInvalid``. An empty cell says nothing."""
    code = _read(cells.get("code", ""))
    if not re.match(CODE, code):
        raise CodeInvalid(f"{code!r} is no code: letters, digits, '.', '_' and '-', 64 at most")
    body: dict[str, Any] = {"names": {}, "descriptions": {}, "attributes": {}, "prices": []}
    for column, cell in cells.items():
        group, _, name = column.partition(".")
        text = _read(cell)
        if not text or column == "code":
            continue
        if column == "media":
            body["media"] = _media_of(text)
        elif column == "sold":
            body["sold"] = _flag(text, column)
        elif column in PLAIN:
            body[column] = text
        elif group == "price":
            body["prices"] += [_price_of(name, one) for one in text.split(";")]
        elif group == "attribute":
            body["attributes"][name] = _attribute(text, schema.get(name), name)
        elif group in ("name", "description"):
            body[f"{group}s"][name] = text
        else:
            raise CodeInvalid(f"nobody knows the column {column!r}")
    return code, body


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.15g}"
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _read(cell: str) -> str:
    text = cell.strip()
    return text[1:] if text.startswith("'") else text


def _media(media: Iterable[Mapping[str, Any]]) -> str:
    if all(one["kind"] == "image" and not one["alt"] for one in media):
        return " ".join(one["url"] for one in media)
    return json.dumps(list(media), ensure_ascii=False)


def _media_of(text: str) -> list[Any]:
    if not text.startswith("["):
        return [{"url": url} for url in text.split()]
    try:
        media: list[Any] = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise CodeInvalid(f"media: this is no JSON: {exc}") from exc
    return media


def _price(price: Mapping[str, Any]) -> str:
    begin = f" from {price['from']}" if price["from"] is not None else ""
    end = f" to {price['to']}" if price["to"] is not None else ""
    return f"{price['amount']}{begin}{end}"


def _price_of(currency: str, text: str) -> dict[str, Any]:
    found = _PRICE.fullmatch(text.strip())
    if found is None:
        raise CodeInvalid(f"price.{currency}: {text.strip()!r} is none; write '12.50', or '12.50 from TIME to TIME'")
    return {"currency": currency, "amount": found[1], "from": found[2], "to": found[3]}


def _attribute(text: str, attribute: Attribute | None, name: str) -> Any:
    if attribute is not None and attribute.kind == "number":
        try:
            return float(text)
        except ValueError as exc:
            raise CodeInvalid(f"attribute.{name}: {text!r} is no number") from exc
    if attribute is not None and attribute.kind == "flag":
        return _flag(text, f"attribute.{name}")
    return text


def _flag(text: str, column: str) -> bool:
    flag = _FLAGS.get(text.lower())
    if flag is None:
        raise CodeInvalid(f"{column}: {text!r} is neither true nor false")
    return flag
