"""`isthmus agent`: probes from this chassis, until it is told to stop. See docs/agent.md."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from isthmus.cli.common import listen_address
from isthmus.cli.output import Output
from isthmus.errors import EXIT_OK, IntentError, Problem

if TYPE_CHECKING:
    from isthmus.agent.agent import Settings


CNI = {"socket": "/run/isthmus/cni.sock", "plugins": "/opt/cni/bin", "networks": "/etc/cni/net.d"}
"""Where container runtimes look by default."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--chassis", help="default: external_ids:system-id of the local database")
    parser.add_argument("--sb", metavar="REMOTE[,REMOTE]", help="default: external_ids:ovn-remote")
    for name, what in (("ca", "CA certificates"), ("cert", "certificate"), ("key", "private key")):
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"{what}; default: the SSL table's")
    parser.add_argument("--server-name", metavar="NAME", help="in the server's certificate; default: its host")
    parser.add_argument("--ovs", default="unix:/var/run/openvswitch/db.sock", metavar="unix:PATH")
    parser.add_argument(
        "--listen", metavar="IP:PORT", type=listen_address, help="serve metrics over TLS; default: do not"
    )
    parser.add_argument("--client-ca", type=Path, metavar="FILE", help="who may read the metrics; default: as --ca")
    parser.add_argument(
        "--gateway", action="store_true", help="set external_ids:ovn-is-interconn=true where it is not, and keep it"
    )
    parser.add_argument(
        "--cni", action="store_true", help="give the Pods of this node their interfaces: be its network plugin"
    )
    for name, path in CNI.items():
        parser.add_argument(f"--cni-{name}", type=Path, default=Path(path), metavar="PATH", help=f"default: {path}")
    parser.add_argument("--retire", action="store_true", help="remove what an agent left on this chassis, and exit")


def run(args: argparse.Namespace, out: Output) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    settings = _settings(args)
    if args.retire:
        from isthmus.agent.agent import retire  # noqa: PLC0415

        asyncio.run(retire(settings))
        out.line("retired")
    else:
        asyncio.run(_serve(settings))
    return EXIT_OK


def _settings(args: argparse.Namespace) -> Settings:
    from isthmus.agent.agent import Settings  # noqa: PLC0415
    from isthmus.agent.desired import Overrides  # noqa: PLC0415
    from isthmus.agent.pods import Place  # noqa: PLC0415

    if not args.ovs.startswith("unix:"):
        raise IntentError(Problem("Usage", "--ovs takes unix:PATH", remedy="run the agent on the chassis itself"))
    overrides = Overrides(args.chassis, args.sb, args.ca, args.cert, args.key, args.server_name)
    pods = Place(args.cni_socket, args.cni_plugins, args.cni_networks) if args.cni else None
    return Settings(args.ovs, overrides, args.listen, args.client_ca, args.gateway, pods)


async def _serve(settings: Settings) -> None:
    """Until SIGTERM or SIGINT; both are a clean exit."""
    from isthmus.agent.agent import Agent  # noqa: PLC0415

    task = asyncio.create_task(Agent(settings).run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        if not task.cancelled():
            raise
