"""API services under uWSGI: one process of several threads for each.

No master process: what is killed, stopped or paused by its process id is then the service itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from isthmus.lab.openstack.cloud import Cloud
from isthmus.lab.state import Daemon

THREADS = 4


def daemon(cloud: Cloud, name: str, port: int, env: Mapping[str, str]) -> Daemon:
    """The daemon; `configure` writes what it reads.

    env  how the service finds its files. Not in uWSGI's file: Python runs already when that is read
    """
    return Daemon(
        cloud.name,
        [cloud.program("pyuwsgi"), "--ini", f"/run/etc/{name}/uwsgi.ini"],
        str(cloud.run / f"{name}.pid"),
        foreground=True,
        answers=cloud.url(port, "/"),
        patience=300.0,
        env={"TMPDIR": "/run/tmp", **env},
    )


def configure(cloud: Cloud, name: str, port: int, module: str, extra: Sequence[str] = ()) -> None:
    """uWSGI's own file, with `extra` lines. Without post-buffering and the closing header clients see resets.

    A client that is kept from sending or reading for some seconds, on a machine with too much to do, is cut off without
    a word by default: hence the timeout, in seconds.
    """
    lines = [
        "[uwsgi]",
        f"http-socket = {cloud.address}:{port}",
        f"module = {module}",
        "start-time = %t",
        "processes = 1",
        f"threads = {THREADS}",
        "enable-threads = true",
        "lazy-apps = true",
        "need-app = true",
        "die-on-term = true",
        "buffer-size = 65535",
        "post-buffering = 4096",
        "socket-timeout = 120",
        "add-header = Connection: close",
        *extra,
    ]
    cloud.write(f"{name}/uwsgi.ini", "\n".join(lines) + "\n")
