"""Where packets go by hand-written rows; the expected answers are ovn-trace's and northd's (23.03)."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.verify.path import End, Packet, Trace
from isthmus.verify.reach import Entry, World, traces
from worlds import Rows


class Small:
    """Router `r` with switches `s1` and `s2`, router `q` on `s2` with `s3`; switch `sN` is 10.N.0.0/24."""

    def __init__(self) -> None:
        self.rows = Rows("one")
        self.r, self.q = self.rows.router("r"), self.rows.router("q")
        self.switches = {n: self.rows.switch(n) for n in ("s1", "s2", "s3")}
        self.machines = {n: self.rows.machine(u, f"vm{n[1]}", [f"10.{n[1]}.0.10"]) for n, u in self.switches.items()}
        self.ports = {
            name: self.rows.router_port(router, name, [network])
            for name, router, network in (
                ("r1", self.r, "10.1.0.1/24"),
                ("r2", self.r, "10.2.0.1/24"),
                ("q2", self.q, "10.2.0.2/24"),
                ("q3", self.q, "10.3.0.1/24"),
            )
        }
        self.doors = {n: self.rows.door(self.switches[f"s{n[1]}"], n, f"to-{n}") for n in self.ports}
        self.rows.route(self.r, "10.3.0.0/24", "10.2.0.2")
        self.rows.route(self.q, "10.1.0.0/24", "10.2.0.1")

    def set(self, table: str, uuid: str, **columns: Any) -> None:
        self.rows.tables[table][uuid].update(columns)

    def go(self, dst: str, src: str = "10.1.0.10", protocol: str = "icmp", **more: int) -> tuple[Trace, ...]:
        entry = Entry("one", self.switches["s1"], "vm1")
        return traces(World({"one": self.rows.tables}), entry, Packet.make(src, dst, protocol, **more))

    def one(self, dst: str, **more: Any) -> Trace:
        (found,) = self.go(dst, **more)
        return found


@pytest.fixture
def small() -> Small:
    return Small()


def test_a_packet_crosses_two_routers_and_each_hop_names_its_row(small: Small) -> None:
    found = small.one("10.3.0.10")
    assert (found.end, found.lsp, found.packet.ttl) == (End.DELIVERED, "vm3", 62)
    assert [h.at.name for h in found.hops] == ["s1", "r", "s2", "q", "s3"]
    assert found.hops[1].rows[0].name == "10.3.0.0/24 via 10.2.0.2"


def test_an_address_that_no_port_has_arrives_on_the_segment(small: Small) -> None:
    found = small.one("10.3.0.77")
    assert (found.end, found.lsp, found.switch) == (End.DELIVERED, "", small.switches["s3"])


def test_the_routers_own_address_is_answered_by_the_router(small: Small) -> None:
    assert small.one("10.2.0.1").end is End.ROUTER
    assert small.one("10.3.0.1").row.name == "q3"


def test_the_ttl_ends_at_the_router_that_gets_one(small: Small) -> None:
    assert small.one("10.3.0.10", ttl=3).end is End.DELIVERED
    found = small.one("10.3.0.10", ttl=2)
    assert (found.end, found.reason, found.row.name) == (End.DROPPED, "TTL exceeded", "q")


def test_no_route_drops_at_the_router_that_has_none(small: Small) -> None:
    found = small.one("10.9.0.1")
    assert (found.end, found.row.table, found.row.name) == (End.DROPPED, "Logical_Router", "r")


def test_the_longest_prefix_wins_over_the_connected_network(small: Small) -> None:
    small.rows.route(small.r, "10.2.0.10/32", "discard")
    assert small.one("10.2.0.10").reason == "the route discards"


def test_connected_beats_static_for_the_same_prefix(small: Small) -> None:
    small.rows.route(small.r, "10.2.0.0/24", "10.1.0.99")
    assert small.one("10.2.0.10").lsp == "vm2"


def test_a_route_learned_as_connected_and_the_network_itself_are_a_toss_up(small: Small) -> None:
    small.rows.route(small.r, "10.2.0.0/24", "discard", options={"origin": "connected"})
    assert {t.end for t in small.go("10.2.0.10")} == {End.DELIVERED, End.DROPPED}


def test_equal_static_routes_are_all_explored(small: Small) -> None:
    small.rows.route(small.r, "10.3.0.0/24", "10.2.0.99")
    assert {t.end for t in small.go("10.3.0.10")} == {End.DELIVERED, End.DROPPED}


def test_a_source_route_is_used_for_its_sources_only(small: Small) -> None:
    small.rows.route(small.r, "10.1.0.8/29", "discard", policy="src-ip")
    assert small.one("10.3.0.10").end is End.DROPPED
    assert small.one("10.3.0.10", src="10.1.0.20").end is End.DELIVERED


def test_a_route_of_another_table_needs_a_port_of_that_table(small: Small) -> None:
    small.rows.route(small.r, "10.9.0.0/24", "10.2.0.2", route_table="t")
    assert small.one("10.9.0.1").reason == "r has no route to 10.9.0.1"
    small.set("Logical_Router_Port", small.ports["r1"], options={"route_table": "t"})
    assert small.one("10.9.0.1").row.name == "q"
    assert small.one("10.3.0.10").row.name == "r", "static routes of the main table are out of sight"
    assert small.one("10.2.0.10").end is End.DELIVERED, "connected ones are not"


def test_an_output_port_is_honoured_though_the_next_hop_is_elsewhere(small: Small) -> None:
    small.rows.route(small.r, "10.9.0.0/24", "192.0.2.1", output_port="r2")
    found = small.one("10.9.0.1")
    assert found.hops[-1].port == "r2"
    assert "next hop's address" in found.reason


def test_an_output_port_of_another_router_puts_the_route_there(small: Small) -> None:
    small.rows.route(small.r, "10.9.0.0/24", "10.3.0.10", output_port="q3")
    assert small.one("10.9.0.1").reason == "r has no route to 10.9.0.1"
    small.rows.route(small.r, "10.9.0.0/25", "10.2.0.2")
    assert small.one("10.9.0.1").lsp == "vm3"


def test_policies_decide_by_priority(small: Small) -> None:
    small.rows.policy(small.r, 10, "ip4.dst == 10.3.0.0/24", "drop")
    assert small.one("10.3.0.10").row.table == "Logical_Router_Policy"
    small.rows.policy(small.r, 20, 'inport == "r1" && icmp4', "allow")
    assert small.one("10.3.0.10").end is End.DELIVERED
    assert small.one("10.3.0.10", protocol="tcp").end is End.DROPPED


def test_equal_priorities_that_disagree_are_both_explored(small: Small) -> None:
    small.rows.policy(small.r, 10, "ip4.dst == 10.3.0.0/24", "drop")
    small.rows.policy(small.r, 10, "ip4.src == 10.1.0.0/24", "allow")
    assert {t.end for t in small.go("10.3.0.10")} == {End.DELIVERED, End.DROPPED}


def test_a_policy_reroutes_and_one_without_a_way_does_nothing(small: Small) -> None:
    small.rows.policy(small.r, 10, "ip4.dst == 10.9.0.0/24", "reroute", nexthops=frozenset({"10.2.0.2"}))
    small.rows.policy(small.r, 20, "ip4.dst == 10.3.0.0/24", "reroute", nexthops=frozenset({"192.0.2.7"}))
    assert small.one("10.9.0.1").reason == "r has no route to 10.9.0.1", "routing comes first"
    assert small.one("10.3.0.10").lsp == "vm3"
    small.rows.route(small.r, "0.0.0.0/0", "10.1.0.99")
    assert small.one("10.9.0.1").row.name == "q"


def test_a_policy_that_cannot_be_judged_makes_the_answer_unknown_and_is_named(small: Small) -> None:
    uuid = small.rows.policy(small.r, 10, 'is_chassis_resident("x")', "drop")
    found = small.one("10.3.0.10")
    assert (found.end, found.row.uuid) == (End.UNKNOWN, uuid)


def test_a_policy_that_cannot_be_judged_is_no_matter_where_it_would_say_the_same(small: Small) -> None:
    small.rows.policy(small.r, 10, 'is_chassis_resident("x")', "allow")
    assert small.one("10.3.0.10").end is End.DELIVERED


def test_a_match_that_ovn_refuses_has_no_effect(small: Small) -> None:
    small.rows.policy(small.r, 10, 'inport != "r2" && ip4', "drop")
    assert small.one("10.3.0.10").end is End.DELIVERED


@pytest.mark.parametrize(
    ("table", "which", "columns"),
    [
        ("Logical_Router", "q", {"enabled": False}),
        ("Logical_Router_Port", "r2", {"enabled": False}),
        ("Logical_Router_Port", "q2", {"enabled": False}),
        ("Logical_Switch_Port", "to-r1", {"enabled": False}),
        ("Logical_Switch_Port", "to-q2", {"enabled": False}),
        ("Logical_Switch_Port", "vm1", {"enabled": False}),
        ("Logical_Switch_Port", "to-q2", {"type": ""}),
        ("Logical_Switch_Port", "to-q2", {"options": {}}),
        ("Logical_Switch_Port", "to-q2", {"addresses": frozenset({"02:00:00:00:00:01"})}),
        ("Logical_Router_Port", "q2", {"networks": frozenset({"10.22.0.1/24"})}),
        ("Logical_Router_Port", "r2", {"mac": "no MAC"}),
    ],
)
def test_what_is_disabled_or_changed_drops(small: Small, table: str, which: str, columns: dict[str, Any]) -> None:
    uuid = next(u for u, r in small.rows.tables[table].items() if r["name"] == which)
    small.set(table, uuid, **columns)
    assert {t.end for t in small.go("10.3.0.10")} == {End.DROPPED}


def acl(small: Small, switch: str, direction: str, match: str, action: str, priority: int = 10) -> str:
    columns = {"direction": direction, "match": match, "action": action, "priority": priority}
    parent = ("Logical_Switch", small.switches[switch], "acls")
    return small.rows.add("ACL", f"{switch}{direction}{match}{action}", columns, parent)


def test_acls_drop_by_direction_port_and_priority(small: Small) -> None:
    uuid = acl(small, "s2", "to-lport", 'outport == "to-q2" && ip4', "drop")
    assert small.one("10.3.0.10").row.uuid == uuid
    assert small.one("10.2.0.10").end is End.DELIVERED
    acl(small, "s2", "to-lport", "icmp4", "allow-related", 20)
    assert small.one("10.3.0.10").end is End.DELIVERED
    assert small.one("10.3.0.10", protocol="udp").end is End.DROPPED


def test_an_acl_that_cannot_be_judged_is_unknown(small: Small) -> None:
    acl(small, "s1", "from-lport", "ct_label == 7", "drop")
    assert small.one("10.3.0.10").end is End.UNKNOWN


def test_port_security_refuses_a_forged_source(small: Small) -> None:
    row = small.rows.tables["Logical_Switch_Port"][small.machines["s1"]]
    row["port_security"] = row["addresses"]
    assert small.one("10.3.0.10").end is End.DELIVERED
    assert small.one("10.3.0.10", src="10.1.0.11").reason == "port security of vm1"


def test_peer_ports_join_two_routers_when_both_say_so(small: Small) -> None:
    third = small.rows.router("third")
    small.rows.router_port(small.r, "p1", ["192.0.2.1/30"], peer="p2")
    far = small.rows.router_port(third, "p2", ["192.0.2.2/30"], peer="p1")
    small.rows.router_port(third, "lone", ["10.9.0.1/24"])
    small.rows.route(small.r, "10.9.0.0/24", "192.0.2.2")
    assert small.one("10.9.0.1").end is End.ROUTER
    small.set("Logical_Router_Port", far, peer="elsewhere")
    assert small.one("10.9.0.1").reason == "port p1 leads nowhere"


def test_a_loop_is_a_drop(small: Small) -> None:
    small.rows.route(small.r, "10.9.0.0/24", "10.2.0.2")
    small.rows.route(small.q, "10.9.0.0/24", "10.2.0.1")
    assert "loop" in small.one("10.9.0.1").reason


def test_source_nat_changes_the_source_and_destination_nat_is_unknown(small: Small) -> None:
    small.set("Logical_Router_Port", small.ports["q3"], gateway_chassis=frozenset({"x"}))
    columns = {"type": "snat", "external_ip": "10.3.0.1", "logical_ip": "10.1.0.0/24"}
    small.rows.add("NAT", "nat", columns, ("Logical_Router", small.q, "nat"))
    assert str(small.one("10.3.0.10").packet.source) == "10.3.0.1"
    columns = {"type": "dnat_and_snat", "external_ip": "10.7.0.1", "logical_ip": "10.3.0.10"}
    small.rows.add("NAT", "dnat", columns, ("Logical_Router", small.r, "nat"))
    assert small.one("10.7.0.1").end is End.UNKNOWN


def test_a_load_balancers_address_is_unknown(small: Small) -> None:
    balancer = small.rows.add("Load_Balancer", "lb", {"name": "lb", "vips": {"10.3.0.10:80": "10.3.0.11:80"}})
    small.set("Logical_Router", small.r, load_balancer=frozenset({balancer}))
    assert small.one("10.3.0.10", protocol="tcp").end is End.UNKNOWN
    assert small.one("10.3.0.10").end is End.DELIVERED


def test_a_next_hop_behind_a_localnet_port_leaves(small: Small) -> None:
    columns = {"name": "ln", "type": "localnet", "addresses": frozenset({"unknown"})}
    small.rows.add("Logical_Switch_Port", "ln", columns, ("Logical_Switch", small.switches["s2"], "ports"))
    small.rows.route(small.r, "0.0.0.0/0", "10.2.0.254")
    assert small.one("198.51.100.1").end is End.LEFT
