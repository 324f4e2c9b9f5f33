"""Bounds on what reading an input may cost: CPU time and memory, linear in its size.

"No hang, no unbounded memory" is shown by these bounds. They are far above what any machine needs for code that goes
through its input once, and far below what a loop without end, a quadratic one, or an input that unfolds takes.
"""

from __future__ import annotations

import re
import signal
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

CPU_S: Final = 2.0
CPU_US_PER_BYTE: Final = 50.0
MEMORY_BYTES: Final = 4_000_000
MEMORY_PER_BYTE: Final = 400
OUTSIDE_PYTHON_BYTES: Final = 64_000_000
"""What libraries in C may hold for themselves, which Python's own count does not have: arenas, caches, page tables."""


class _TooLong(BaseException):
    """Breaks off what takes too long; no ``except Exception`` of the code at test keeps it."""


@contextmanager
def bounded_effort(
    size_bytes: int,
    *,
    cpu_s: float = CPU_S,
    cpu_us_per_byte: float = CPU_US_PER_BYTE,
    memory_bytes: int = MEMORY_BYTES,
    memory_per_byte: int = MEMORY_PER_BYTE,
    is_traced: bool = True,
) -> Iterator[None]:
    """Fail when the block takes more CPU time, or more memory at any time, than an input of ``size_bytes`` may cost.

    CPU time is that of this process, so that a busy machine makes no difference; a block that takes too long is broken
    off as soon as it is back in Python. Main thread only, as it takes a signal. Without ``is_traced`` memory is counted
    for the process as a whole only, less exactly, and the block runs at its own speed.
    """
    cpu_s_max = cpu_s + cpu_us_per_byte * 1e-6 * size_bytes
    bytes_max = memory_bytes + memory_per_byte * size_bytes
    before = signal.signal(signal.SIGPROF, _break_off)
    if is_traced:
        tracemalloc.start()
    Path("/proc/self/clear_refs").write_text("5")  # the process's own peak begins anew (proc_pid_clear_refs)
    resident_bytes = _resident_peak_bytes()
    traced_bytes = tracemalloc.get_traced_memory()[0]
    started_s = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, cpu_s_max)
    try:
        yield
    except _TooLong:
        raise AssertionError(f"{size_bytes} bytes take more than {cpu_s_max:.1f} s of CPU time") from None
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        took_s = time.process_time() - started_s
        python_bytes = tracemalloc.get_traced_memory()[1] - traced_bytes
        tracemalloc.stop()
    all_bytes = _resident_peak_bytes() - resident_bytes
    assert took_s <= cpu_s_max, f"{size_bytes} bytes take {took_s:.1f} s of CPU time; {cpu_s_max:.1f} is the bound"
    assert python_bytes <= bytes_max, f"{size_bytes} bytes become {python_bytes:,} in memory; {bytes_max:,} allowed"
    assert all_bytes <= bytes_max + OUTSIDE_PYTHON_BYTES, f"{size_bytes} bytes take {all_bytes:,} of the machine"


def _break_off(_number: int, _frame: FrameType | None) -> None:
    raise _TooLong


def _resident_peak_bytes() -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024
