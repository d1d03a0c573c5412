"""Which slot of the day's fixed grid a frame belongs to. Pure integer arithmetic."""

from __future__ import annotations

from datetime import date

import numpy as np
from numpy.typing import NDArray

from reprocess.campaign import SECONDS_PER_DAY

SURPLUS = -1
_US = 1_000_000


def place(
    acquired: NDArray[np.datetime64], day: date, cadence_s: int, phase_s: float
) -> NDArray[np.int64]:
    """Give each frame of a UTC day a slot of the grid, or none.

    Parameters
    ----------
    acquired : (n,) datetime64 array, UTC, ascending
        Frames of that day; equal times in the order that decides ties (by
        name). Not modified.
    day : date, UTC
    cadence_s : int, seconds, divides 86400
    phase_s : float, seconds, 0 <= phase_s < cadence_s
        Where slot 0 begins after midnight.

    Returns
    -------
    (n,) int64 array
        Slot in the day; -1 = surplus. No slot occurs twice.

    Raises
    ------
    ValueError
        If the times are not ascending or not of that day.

    Notes
    -----
    The natural slot is floor((t - phase) / cadence), never across a UTC day:
    frames before the phase belong to slot 0. In each slot the frame nearest
    its middle stays (the earlier of two equally near). Each other frame tries
    the neighbour whose edge lies within half a cadence of it, if no frame has
    that as its natural slot; where several want one slot the nearest to its
    edge gets it. The rest are surplus. A function of the times alone.
    """
    step = cadence_s * _US
    phase = round(phase_s * _US)
    n_slots = SECONDS_PER_DAY // cadence_s
    time = (acquired.astype("datetime64[us]") - np.datetime64(day, "us")).astype(np.int64)
    if np.any(np.diff(time) < 0):
        raise ValueError("frames must be in order of acquired")
    if len(time) and (time[0] < 0 or time[-1] >= SECONDS_PER_DAY * _US):
        raise ValueError(f"frames from {acquired[0]} to {acquired[-1]} are not all of {day}")
    natural = np.clip((time - phase) // step, 0, n_slots - 1)
    from_start = time - phase - natural * step
    from_middle = np.abs(2 * from_start - step)

    slot = np.full(len(time), SURPLUS, np.int64)
    order = np.lexsort((np.arange(len(time)), from_middle, natural))
    first = np.ones(len(order), bool)
    first[1:] = natural[order][1:] != natural[order][:-1]
    keepers = order[first]
    slot[keepers] = natural[keepers]
    taken = np.zeros(n_slots, bool)
    taken[natural] = True

    for frame, neighbour in _wishes(slot, natural, from_start, taken, step):
        if slot[frame] == SURPLUS and not taken[neighbour]:
            slot[frame] = neighbour
            taken[neighbour] = True
    return slot


def _wishes(
    slot: NDArray[np.int64],
    natural: NDArray[np.int64],
    from_start: NDArray[np.int64],
    taken: NDArray[np.bool_],
    step: int,
) -> list[tuple[int, int]]:
    """Pair displaced frames with free neighbours within half a cadence, nearest edge first."""
    displaced = np.flatnonzero(slot == SURPLUS)
    distance = np.concatenate([from_start[displaced], step - from_start[displaced]])
    target = np.concatenate([natural[displaced] - 1, natural[displaced] + 1])
    frame = np.concatenate([displaced, displaced])
    inside = (target >= 0) & (target < len(taken)) & (distance >= 0) & (2 * distance <= step)
    inside[inside] = ~taken[target[inside]]
    frame, target, distance = frame[inside], target[inside], distance[inside]
    order = np.lexsort((target, frame, distance))
    return list(zip(frame[order].tolist(), target[order].tolist(), strict=True))
