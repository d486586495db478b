"""The last so many numbers of a series, as an array without copying."""

from __future__ import annotations

from array import array

import numpy as np


class Window:
    """Appending costs some 0.1 us, an array of what is there (oldest first) less than 1 us, whatever the size."""

    __slots__ = ("_buffer", "_end", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._buffer = array("d", bytes(8 * 2 * size))  # filled from the left; when it is full, its right half moves
        self._end = 0

    def append(self, value: float) -> None:
        end = self._end
        if end == 2 * self.size:
            self._buffer[: self.size] = self._buffer[self.size :]
            end = self.size
        self._buffer[end] = value
        self._end = end + 1

    def __len__(self) -> int:
        return min(self._end, self.size)

    def array(self) -> np.ndarray:
        """A view of the numbers, which the next `append` may change."""
        return np.frombuffer(self._buffer)[max(0, self._end - self.size) : self._end]
