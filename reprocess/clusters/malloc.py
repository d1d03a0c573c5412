"""How glibc hands out memory in a worker: the buffers of a network are kept, not mapped anew.

Dask's nanny sets the first of the two, to 64 KiB. Setting it at all ends glibc's own raising of the
second, which then stays at 128 KiB: every larger buffer is mapped, faulted in and given back each
time. Measured with the small network on two cores: 26.8 frames/s as the nanny sets it, 29.4 with
only the first raised, 47.4 with both, 46.8 with none.
"""

MALLOC = {
    "MALLOC_TRIM_THRESHOLD_": 256 << 20,
    "MALLOC_MMAP_THRESHOLD_": 32 << 20,  # the largest that glibc takes
}
"""Environment of a worker, bytes."""
