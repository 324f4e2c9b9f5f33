"""Values of tags as JSON has them."""

from __future__ import annotations

import base64
import math
from typing import Any


def json_value(value: Any) -> Any:
    """Bytes as base64, and what JSON has no number for as a text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value
