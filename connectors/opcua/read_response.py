"""Read responses in bytes, as the body of a notification, so that one decoder knows both (Part 4, 5.11.2.2)."""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import nodeid_from_binary, struct_from_binary
from numpy.typing import NDArray

from connectors.model.errors import PayloadInvalid
from connectors.opcua.data_values import HAS_VALUE, fixed_size, leading, rest_of_item, value_at

_ALIKE_MIN: Final = 4
_I32: Final = struct.Struct("<i")


def read_read_response(data: Buffer, handles: NDArray[Any]) -> bytes:
    """The body of the notification that would carry the values of a Read response, each behind its handle.

    ``handles`` (``<u4``) are those of the values that were asked for, in order. Raises ``UaError`` for a bad service
    result, and any of ``DECODING_ERRORS`` when the bytes are no response with so many values.
    """
    nodeid_from_binary(data)
    header = struct_from_binary(ua.ResponseHeader, data)
    header.ServiceResult.check()
    raw = data.read(len(data))
    count = _I32.unpack_from(raw, 0)[0]
    if count != len(handles):
        raise PayloadInvalid(f"the server answered {count} values when asked for {len(handles)}")
    return with_handles(raw, 4, handles)


def with_handles(raw: bytes, at: int, handles: NDArray[Any]) -> bytes:
    """``len(handles)`` DataValues, which begin at ``at``, each behind its handle, and the count before all of them."""
    flat = np.frombuffer(raw, np.uint8)
    parts = [_I32.pack(len(handles))]
    done = 0
    while done < len(handles):
        taken, size = _alike(flat, at, len(handles) - done)
        if taken:
            block = np.empty((taken, 4 + size), np.uint8)
            block[:, :4] = handles[done : done + taken].view(np.uint8).reshape(taken, 4)
            block[:, 4:] = flat[at : at + taken * size].reshape(taken, size)
            parts.append(block.tobytes())
        else:
            taken, size = 1, _size_of(raw, at)
            parts.append(handles[done : done + 1].tobytes() + raw[at : at + size])
        at += taken * size
        done += taken
    return b"".join(parts)


def _alike(flat: NDArray[np.uint8], at: int, left: int) -> tuple[int, int]:
    """How many DataValues from ``at`` on have one shape, and the bytes of each; (0, 0) where it does not pay."""
    if at + 2 > len(flat):
        return 0, 0
    size = fixed_size(int(flat[at]), int(flat[at + 1]))
    count = min(left, (len(flat) - at) // size) if size else 0
    if count < _ALIKE_MIN:
        return 0, 0
    shapes = flat[at : at + count * size].reshape(count, size)[:, :2]
    count = leading((shapes == shapes[0]).all(axis=1))
    return (count, size) if count >= _ALIKE_MIN else (0, 0)


def _size_of(raw: bytes, at: int) -> int:
    mask = raw[at]
    end = value_at(raw, at + 1)[0] if mask & HAS_VALUE else at + 1
    return rest_of_item(raw, at, end, mask, 0)[0]
