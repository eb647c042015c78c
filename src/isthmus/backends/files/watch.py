"""Hear of changed files at once, by inotify(7); the standard library has no door to it.

Only a hint: whoever listens still looks at the files now and then, since not every file system tells.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
from collections.abc import Callable
from pathlib import Path

_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC
_CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _DELETE = 0x8, 0x40, 0x80, 0x200
_DELETE_SELF, _MOVE_SELF, _IGNORED = 0x400, 0x800, 0x8000
_MASK = _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _DELETE | _DELETE_SELF | _MOVE_SELF
_GONE = _DELETE_SELF | _MOVE_SELF | _IGNORED
_HEADER = struct.Struct("iIII")


class Watch:
    """Calls `changed` when something in a directory changes, or in the directory of a file.

    alive  False where nothing will be heard: the path is missing, or the system has no inotify
    """

    def __init__(self, path: Path, changed: Callable[[], None]) -> None:
        self._path, self._changed = path, changed
        self._fd = -1

    @property
    def alive(self) -> bool:
        return self._fd >= 0

    def start(self) -> None:
        """Begin to listen, in the running loop; where it cannot be done now, `alive` stays False."""
        if self.alive:
            return
        folder = self._path if self._path.is_dir() else self._path.parent
        libc = ctypes.CDLL(None, use_errno=True)
        fd = int(libc.inotify_init1(_FLAGS))
        if fd < 0:
            return
        if int(libc.inotify_add_watch(fd, os.fsencode(folder), _MASK)) < 0:
            os.close(fd)
            return
        self._fd = fd
        asyncio.get_running_loop().add_reader(fd, self._heard)

    def stop(self) -> None:
        if self.alive:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _heard(self) -> None:
        data, at, masks = os.read(self._fd, 1 << 16), 0, 0
        while at < len(data):
            _, mask, _, length = _HEADER.unpack_from(data, at)
            masks |= mask
            at += _HEADER.size + length
        if masks & _GONE:
            self.stop()
        self._changed()
