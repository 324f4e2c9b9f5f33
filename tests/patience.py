"""How long a test waits for what has to happen: far longer than any machine needs, so that its end means a defect.

What a test shows of time it says itself, with bounds of its own.
"""

from typing import Final

WAIT_S_MAX: Final = 90.0
