"""How long a test waits for what has to happen: far longer than any machine needs, so that its end means a defect.

What a test shows of time it says itself, with bounds of its own.
"""

from typing import Final

WAIT_S_MAX: Final = 90.0


def pause_s(took_s: float, least_s: float) -> float:
    """How long to wait before a condition is looked at again that took so long: most of a core stays free meanwhile."""
    return min(max(2 * took_s, least_s), 1.0)
