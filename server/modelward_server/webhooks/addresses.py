"""Address filter for webhooks: public addresses only, also where IPv6 embeds an IPv4 address."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

GLOBAL_UNICAST = IPv6Network("2000::/3")
"""Range of public IPv6 addresses: no mapped, compatible, translated, unique-local, link-local or multicast ones."""
NAT64 = IPv6Network("64:ff9b::/96")
"""Addresses with which a network without IPv4 reaches public IPv4 addresses."""
ISATAP = {0x0000_5EFE, 0x0200_5EFE}
"""Bits 64 to 95 of an address that tunnels to the IPv4 address in its last 32 bits."""
INTERNAL = (
    IPv4Network("192.0.0.0/24"),  # Protocol assignments.
    IPv4Network("192.88.99.0/24"),  # 6to4 relays.
    IPv4Network("168.63.129.16/32"),  # The host of a virtual machine in Azure.
    IPv6Network("2001::/23"),  # Teredo and other protocols.
    IPv6Network("2002::/16"),  # 6to4, which RFC 7526 retired; newer Pythons count it as not global.
    IPv6Network("3fff::/20"),  # Documentation.
)
"""Networks that are not public though Python's `is_global` may report them as such."""


def is_public(address: str) -> bool:
    """Return whether an address is public; for one that embeds an IPv4 address, that must be public too."""
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv4Address):
        return _is_global(parsed)
    if parsed in NAT64:
        return _is_global(_last_32_bits(parsed))
    return parsed in GLOBAL_UNICAST and _is_global(parsed) and all(map(_is_global, _embedded(parsed)))


def _is_global(address: IPv4Address | IPv6Address) -> bool:
    return address.is_global and not address.is_multicast and not any(address in network for network in INTERNAL)


def _embedded(address: IPv6Address) -> Iterator[IPv4Address]:
    if (int(address) >> 32) & 0xFFFF_FFFF in ISATAP:
        yield _last_32_bits(address)


def _last_32_bits(address: IPv6Address) -> IPv4Address:
    return IPv4Address(int(address) & 0xFFFF_FFFF)
