"""Questions by HTTP to programs on this machine.

``httpx.get`` and its like read the authorities of the system each time: 0.02 CPU-seconds, for nothing where no TLS is
spoken, and most of a core where a test asks again and again whether a program is ready.
"""

from __future__ import annotations

import ssl
from typing import Any, Final

import httpx

from tests.patience import WAIT_S_MAX

_TRUSTS_NOBODY: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def ask(method: str, url: str, *, timeout_s: float = WAIT_S_MAX, **more: Any) -> httpx.Response:
    """The answer of a program on this machine, on a connection of its own; ``more`` is as for ``httpx.request``."""
    return httpx.request(method, url, timeout=timeout_s, trust_env=False, verify=_TRUSTS_NOBODY, **more)
