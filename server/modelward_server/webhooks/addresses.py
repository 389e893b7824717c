"""Which addresses webhooks may call: those of the public network, seen through what wraps IPv4 into IPv6."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

GLOBAL_UNICAST = IPv6Network("2000::/3")
"""Where all public IPv6 addresses lie: no mapped, compatible, translated, unique-local, link-local or multicast one."""
NAT64 = IPv6Network("64:ff9b::/96")
"""How a network without IPv4 reaches public IPv4 addresses."""
ISATAP = {0x0000_5EFE, 0x0200_5EFE}
"""How the last 64 bits begin of an address that tunnels to the IPv4 address in its last 32."""
INSIDE = (
    IPv4Network("192.0.0.0/24"),  # Of protocols.
    IPv4Network("192.88.99.0/24"),  # The relays of 6to4.
    IPv4Network("168.63.129.16/32"),  # The host of a virtual machine in Azure.
    IPv6Network("2001::/23"),  # Teredo and other protocols.
    IPv6Network("3fff::/20"),  # Of documentation.
)
"""Networks that Python's `is_global` may call public."""


def is_public(address: str) -> bool:
    """Tell whether an address is one of the public network; of one that wraps IPv4, whether that is, too."""
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv4Address):
        return _is_global(found)
    if found in NAT64:
        return _is_global(_last_32_bits(found))
    return found in GLOBAL_UNICAST and _is_global(found) and all(map(_is_global, _wrapped(found)))


def _is_global(address: IPv4Address | IPv6Address) -> bool:
    return address.is_global and not address.is_multicast and not any(address in network for network in INSIDE)


def _wrapped(address: IPv6Address) -> Iterator[IPv4Address]:
    if address.sixtofour:
        yield address.sixtofour
    if (int(address) >> 32) & 0xFFFF_FFFF in ISATAP:
        yield _last_32_bits(address)


def _last_32_bits(address: IPv6Address) -> IPv4Address:
    return IPv4Address(int(address) & 0xFFFF_FFFF)
