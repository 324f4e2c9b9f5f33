"""Reports and hellos that an agent has signed with its own key, as they travel: ``{"kind": …, "signed": JWS}``.

The whole record is inside of the signature. An agent that is not enrolled has no key, and says the bare record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field

from connectors.commands.reports import CommandReport, Hello, Record

if TYPE_CHECKING:
    from connectors.commands.signing import Kind, SigningKey

SIGNED_CHARS_MAX: Final = 190_000
JWS_KINDS: Final[dict[str, Kind]] = {"report": "lineside-report", "hello": "lineside-hello"}


class Sealed(Record):
    """``signed`` is a JWS of kind lineside-report or lineside-hello around the record."""

    kind: Literal["report", "hello"]
    signed: Annotated[str, Field(max_length=SIGNED_CHARS_MAX)]


def seal(record: CommandReport | Hello, key: SigningKey) -> bytes:
    """``record`` as it travels when it is signed with ``key``."""
    signed = key.sign(JWS_KINDS[record.kind], record.to_json())
    return Sealed(kind=record.kind, signed=signed).to_json()
