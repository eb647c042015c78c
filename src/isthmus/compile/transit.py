"""The transit switch: one per Interconnect, in the interconnect northbound database."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from isthmus.compile import names
from isthmus.model.rows import IC_NB, Row, Value

MEMBERS, NUMBERS = "isthmus:members", "isthmus:numbers"


def row(owner: str, interconnect: str, members: Mapping[str, Sequence[str]], numbers: Mapping[str, int]) -> Row:
    """The switch, which outlives all edges.

    members  site -> gateway chassis that have, or may still have, its datapath
    numbers  site -> transit address of the site's port: nobody else's, while the site may still have it
    """
    record = json.dumps({site: sorted(chassis) for site, chassis in members.items()}, sort_keys=True)
    columns: dict[str, Value] = {
        "name": names.transit_switch(owner, interconnect),
        "external_ids": {MEMBERS: record, NUMBERS: json.dumps(dict(numbers), sort_keys=True)},
    }
    return Row(IC_NB, "Transit_Switch", f"{interconnect}/transit", columns, None, "spec")
