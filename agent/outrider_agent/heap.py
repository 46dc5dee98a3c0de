"""The C library's heap, told to give large blocks back."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of mallopt(3)."""

LARGE_BYTES = 1 << 20


def give_back() -> None:
    """Keep blocks of a megabyte out of the heap, so that freeing them frees memory.

    glibc raises its limit to the largest block that was freed, such as a bundle's golden samples, and from
    then on such blocks leave holes: 10 to 15 MB of an agent after some swaps. Other libraries are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(M_TRIM_THRESHOLD, LARGE_BYTES)
