"""The operator's tools beside `isthmus`."""

from __future__ import annotations

import shlex
import threading

from isthmus.lab import hosts
from isthmus.lab.central import Central

_writing = threading.Lock()


def offer(site: Central, name: str, program: str) -> None:
    """Inside the lab the tool is the program itself, outside a way in."""
    inside, outside = site.paths.programs / name, site.paths.outside / name
    with _writing:
        for path in (inside, outside):
            path.parent.mkdir(exist_ok=True)
            path.unlink(missing_ok=True)
        inside.symlink_to(program)
        words = [hosts.isthmus(), "lab", "exec", "--name", site.state.name, "operator", "--", str(inside)]
        outside.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n', encoding="utf-8")
        outside.chmod(0o755)
