"""The transit switch: one per Interconnect, in the interconnect northbound database."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from isthmus.compile import names
from isthmus.model.rows import IC_NB, Row, Value


def row(owner: str, interconnect: str, members: Mapping[str, Sequence[str]]) -> Row:
    """members: site -> gateway chassis that have, or may still have, the switch's datapath; it outlives them all."""
    record = json.dumps({site: sorted(chassis) for site, chassis in members.items()}, sort_keys=True)
    columns: dict[str, Value] = {
        "name": names.transit_switch(owner, interconnect),
        "external_ids": {"isthmus:members": record},
    }
    return Row(IC_NB, "Transit_Switch", f"{interconnect}/transit", columns, None, "spec")
