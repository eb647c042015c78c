"""The transit switch: one per Interconnect, in the interconnect northbound database."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.compile import names
from isthmus.compile.view import Joined
from isthmus.model.rows import IC_NB, Row


def rows(joined: Joined) -> Iterator[Row]:
    yield Row(
        IC_NB,
        "Transit_Switch",
        f"{joined.name}/transit",
        {"name": names.transit_switch(joined.owner, joined.name)},
        None,
        "spec",
    )
