"""Node time: the wall clock where it can be believed, the last sure time plus uptime where it cannot.

Boards without a clock chip boot in 1970, or at the minute of their last shutdown; a wrong battery gives
2099. So a node keeps its *last sure time* in the store, saved every minute. A wall clock is believed
("sure") when the kernel says that a time server disciplines it, or when it stands between the last sure
time and 30 days after it. Any other wall clock is ignored: node time is then the last sure time plus the
monotonic time since. An unsure node signs, serves and syncs; it expires nothing and refuses nothing for
its time.
"""

import ctypes
import ctypes.util
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

DAY_MS = 86_400_000
BELIEF_SPAN_MS = 30 * DAY_MS
"""A wall clock this far after the last sure time is still believed: a board that lay in a drawer for a
month.
"""

STEP_BACK_MS_MAX = 10 * 60_000
"""How far a wall clock that was sure may be set back while we run and still count as sure (a slewing
time daemon).
"""

LAST_SURE = "last_sure_ms"
"""Under this name the store keeps the last time that was sure."""

STATUS_UNSYNCHRONISED = 0x0040
"""STA_UNSYNC of the kernel's timex.h: set until a time daemon disciplines the clock."""

TIMEX_BYTES = 512
"""Room for the kernel's `struct timex` (208 bytes on 64-bit systems)."""

TIMEX_STATUS_INDEX = 10 if ctypes.sizeof(ctypes.c_long) == 8 else 5
"""Index of `status` in `struct timex` counted in 4-byte words: modes, padding, then four longs before
it.
"""


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at the clock: node time in milliseconds since 1970, and whether it is sure."""

    now_ms: int
    sure: bool


def wall_ms() -> int:
    """Return what the system's wall clock says, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def monotonic_ms() -> int:
    """Return milliseconds of a clock that nobody can set."""
    return time.monotonic_ns() // 1_000_000


def kernel_synchronised() -> bool:
    """Tell whether the kernel says that a time server disciplines the wall clock; False where it cannot
    be asked.
    """
    try:
        library = ctypes.CDLL(ctypes.util.find_library("c") or "libc.so.6", use_errno=True)
        timex = ctypes.create_string_buffer(TIMEX_BYTES)  # modes = 0: only read
        if library.adjtimex(timex) < 0:
            return False
    except (OSError, AttributeError):
        return False
    words = (ctypes.c_uint32 * (TIMEX_BYTES // 4)).from_buffer(timex)
    return not words[TIMEX_STATUS_INDEX] & STATUS_UNSYNCHRONISED


class NodeClock:
    """The one clock of a node. It never goes backwards within a run. Any thread may read it.

    `last_sure_ms` is what the store kept from the run before (0: never sure). The three functions are
    the clocks to read; tests give their own.
    """

    def __init__(
        self,
        last_sure_ms: int,
        *,
        wall: Callable[[], int] = wall_ms,
        monotonic: Callable[[], int] = monotonic_ms,
        synchronised: Callable[[], bool] = kernel_synchronised,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._synchronised = synchronised
        self._asked_ms: int | None = None
        self._kernel_sure = False
        self._base_ms = last_sure_ms
        self._base_monotonic_ms = monotonic()
        self._was_sure = False
        self._latest_ms = 0
        self._lock = threading.Lock()
        self.last_sure_ms = last_sure_ms

    def read(self) -> Reading:
        """Return node time and whether it is sure; each reading is at least the one before."""
        with self._lock:
            steady_ms = self._base_ms + self._monotonic() - self._base_monotonic_ms
            wall = self._wall()
            sure = self._believes(wall, steady_ms)
            self._latest_ms = max(self._latest_ms, wall if sure else steady_ms)
            if sure:
                self._settle(self._latest_ms)
            return Reading(self._latest_ms, sure)

    def now_ms(self) -> int:
        """Return node time in milliseconds since 1970."""
        return self.read().now_ms

    @property
    def sure(self) -> bool:
        """Whether node time can be believed at this moment."""
        return self.read().sure

    def steady(self) -> Callable[[], int]:
        """Return a clock for deadlines: it shows node time now and never jumps, whatever node time does."""
        offset_ms = self.now_ms() - self._monotonic()
        return lambda: self._monotonic() + offset_ms

    def confirm(self, now_ms: int) -> None:
        """Take the word of a person that it is `now_ms`; node time does not go back below what it
        already said.
        """
        with self._lock:
            self._latest_ms = max(self._latest_ms, now_ms)
            self._settle(self._latest_ms)

    def _believes(self, wall: int, steady_ms: int) -> bool:
        floor_ms = steady_ms - STEP_BACK_MS_MAX if self._was_sure else self._base_ms
        return floor_ms <= wall <= steady_ms + BELIEF_SPAN_MS or self._ask_kernel()

    def _settle(self, now_ms: int) -> None:
        self._was_sure = True
        self._base_ms = self.last_sure_ms = now_ms
        self._base_monotonic_ms = self._monotonic()

    def _ask_kernel(self) -> bool:
        """Ask at most once a second: the answer changes rarely, and every record taken in reads the clock."""
        now = self._monotonic()
        if self._asked_ms is None or now - self._asked_ms >= 1_000:
            self._asked_ms = now
            self._kernel_sure = self._synchronised()
        return self._kernel_sure
