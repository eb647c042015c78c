"""Addresses and MACs of one Subnet's Pods: given once, and not given again while anybody has them.

A pool only remembers; what stands in rows and what running Pods show is told to it with `hold`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_interface

from isthmus.compile import names
from isthmus.compile.networks import Lease
from isthmus.errors import Problem
from isthmus.model.facts import Interface
from isthmus.model.intent import Address, Prefix
from isthmus.model.networks import Subnet

Shunned = Callable[[Address], bool]
"""Whether an address should be given only when there is no other."""


class Pool:
    """Of one Subnet; `holder` is whoever an address is given to, by a name of the caller's."""

    def __init__(self, subnet: Subnet) -> None:
        self._subnet = subnet
        self._families = [_Family(subnet, gateway) for gateway in subnet.gateways]
        self._leases: dict[str, Lease] = {}
        self._macs: dict[str, str] = {}

    def __len__(self) -> int:
        """How many have addresses of it."""
        return len(self._leases)

    def lease(self, holder: str) -> Lease | None:
        return self._leases.get(holder)

    def holder(self, address: Address) -> str:
        """Who has it, or ""."""
        return next((f.holder(address) for f in self._families if address in f.prefix), "")

    @property
    def versions(self) -> tuple[int, ...]:
        """IP versions of its networks."""
        return tuple(family.prefix.version for family in self._families)

    def used(self, version: int) -> int:
        """How many addresses of an IP version somebody has."""
        return len(self) if version in self.versions else 0

    def free(self, version: int) -> int:
        """How many addresses of an IP version could still be given to whoever names none."""
        return sum(family.left for family in self._families if family.prefix.version == version)

    def hold(self, holder: str, addresses: tuple[Address, ...], mac: str) -> bool:
        """Let a holder keep what it has; False where that is not of this pool, or somebody else's."""
        chosen = self._fixed(holder, addresses)
        if isinstance(chosen, Problem) or len(chosen) != len(self._families) or self._macs.get(mac, holder) != holder:
            return False
        self._give(holder, chosen, mac)
        return True

    def give(self, holder: str, wanted: tuple[Address, ...], mac: str, shunned: Shunned) -> Lease | Problem:
        """Addresses for a holder, the same as before where it has some and wants no others.

        wanted   what it names itself, of none, one or every family; `mac` likewise, or ""
        """
        had = self._leases.get(holder)
        fixed = self._fixed(holder, wanted)
        if isinstance(fixed, Problem):
            return fixed
        if mac and self._macs.get(mac, holder) != holder:
            return Problem("AddressInUse", f"{mac} is {self._macs[mac]}'s", remedy="name another MAC, or none")
        if had is not None and set(fixed) <= {a.ip for a in had.addresses} and mac in ("", had.mac):
            return had
        chosen = []
        for family in self._families:
            own = next((a for a in fixed if a.version == family.prefix.version), None)
            found = own if own is not None else family.next(shunned)
            if found is None:
                said = f"no address of {family.prefix} is free"
                return Problem("Exhausted", said, remedy="make Pods fewer, or the Subnet's excludeIps")
            chosen.append(found)
        return self._give(holder, tuple(chosen), mac or (had.mac if had else self.new_mac(holder)))

    def release(self, holder: str) -> None:
        """Nobody has them any more."""
        lease = self._leases.pop(holder, None)
        if lease is not None:
            del self._macs[lease.mac]
            for family, address in zip(self._families, lease.addresses, strict=True):
                family.release(address.ip)

    def _give(self, holder: str, addresses: tuple[Address, ...], mac: str) -> Lease:
        self.release(holder)
        interfaces = []
        for family in self._families:
            (address,) = (a for a in addresses if a.version == family.prefix.version)
            interfaces.append(family.take(address, holder))
        lease = Lease(self._subnet.name, tuple(interfaces), mac)
        self._leases[holder], self._macs[mac] = lease, holder
        return lease

    def _fixed(self, holder: str, wanted: tuple[Address, ...]) -> tuple[Address, ...] | Problem:
        """The same addresses, if a holder may have them."""
        for address in wanted:
            family = next((f for f in self._families if address in f.prefix), None)
            if family is None:
                said = f"{address} is not in {' or '.join(str(f.prefix) for f in self._families)}"
                return Problem("AddressOutside", said, remedy="name one of the Subnet, or none")
            if address in family.never:
                said = f"{address} is the router's, or no machine's"
                return Problem("AddressReserved", said, remedy="name another, or none")
            if (other := family.holder(address)) not in ("", holder):
                return Problem("AddressInUse", f"{address} is {other}'s", remedy="name another, or none")
        return wanted

    def new_mac(self, holder: str) -> str:
        """One that nobody has: the same for a holder as long as nobody took it."""
        for turn in range(1000):
            mac = names.mac(self._subnet.name, holder, str(turn))
            if mac not in self._macs:
                return mac
        raise AssertionError("a thousand hashes are taken")


class _Family:
    """One network of a Subnet. The next address is the one after the last that was given: none comes back at once."""

    def __init__(self, subnet: Subnet, gateway: Interface) -> None:
        self.prefix: Prefix = gateway.network
        self._length = gateway.network.prefixlen
        first, last = int(self.prefix.network_address), int(self.prefix.broadcast_address)
        self.never: set[Address] = {gateway.ip, self.prefix.network_address}
        if self.prefix.version == 4 and self._length < 31:
            self.never.add(self.prefix.broadcast_address)
        self._excluded = _merged(
            [
                *((int(a), int(b)) for a, b in subnet.excluded if a.version == self.prefix.version),
                *((int(a), int(a)) for a in self.never),
            ],
            first,
            last,
        )
        self._first, self._last = first, last
        self._taken: dict[int, str] = {}
        self._given = first - 1
        self._outside = sum(b - a + 1 for a, b in self._excluded)
        self._inside = 0

    @property
    def left(self) -> int:
        return self._last - self._first + 1 - self._outside - (len(self._taken) - self._inside)

    def holder(self, address: Address) -> str:
        return self._taken.get(int(address), "")

    def take(self, address: Address, holder: str) -> Interface:
        number = int(address)
        if number not in self._taken:
            self._inside += self._is_excluded(number)
        self._taken[number] = holder
        return _interface(address, self._length)

    def release(self, address: Address) -> None:
        if self._taken.pop(int(address), None) is not None:
            self._inside -= self._is_excluded(int(address))

    def next(self, shunned: Shunned) -> Address | None:
        """The next free address, rather one that is not shunned; None where there is none."""
        if self.left <= 0:
            return None
        second: Address | None = None
        for number in self._from_last():
            if number in self._taken:
                continue
            address = _address(number, self.prefix.version)
            if not shunned(address):
                self._given = number
                return address
            second = second or address
        if second is not None:
            self._given = int(second)
        return second

    def _from_last(self) -> Iterator[int]:
        """Every address that may be given to whoever names none, once."""
        for begin, end in ((self._given + 1, self._last), (self._first, self._given)):
            number = begin
            for a, b in self._excluded:
                if b < number:
                    continue
                yield from range(number, min(a, end + 1))
                number = max(number, b + 1)
            yield from range(number, end + 1)

    def _is_excluded(self, number: int) -> bool:
        return any(a <= number <= b for a, b in self._excluded)


def _merged(ranges: list[tuple[int, int]], first: int, last: int) -> list[tuple[int, int]]:
    """Ranges within first and last, in order, none touching another."""
    found: list[tuple[int, int]] = []
    for begin, end in sorted((max(a, first), min(b, last)) for a, b in ranges):
        if begin > end:
            continue
        if found and begin <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((begin, end))
    return found


def _address(number: int, version: int) -> Address:
    return ip_address(number) if version == 4 or number >= 2**32 else ip_address(number.to_bytes(16, "big"))


def _interface(address: Address, length: int) -> Interface:
    return ip_interface((address, length))
