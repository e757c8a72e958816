"""Memory that a picture has freed stays with the process for the next one: to ask the system for it anew, page by page, takes as long
as the arithmetic that fills it."""

import ctypes
import os

_SETTINGS = {-3: 1 << 28, -1: 1 << 30}  # glibc's M_MMAP_THRESHOLD and M_TRIM_THRESHOLD, bytes
_SET_BY_USERS = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed() -> None:
    """Let the C library keep up to 1 GB of freed memory, if it is glibc and the environment does not set it otherwise."""
    if os.name == "posix" and not any(name in os.environ for name in _SET_BY_USERS):
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        for parameter, size in _SETTINGS.items() if mallopt else ():
            mallopt(parameter, size)
