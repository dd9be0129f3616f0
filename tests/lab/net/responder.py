# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A station inside the server that answers: something for a guest to talk to before there is a second guest."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass
from struct import pack, unpack_from

from lab.net.checksum import IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP, internet_checksum, pseudo_header_sum
from lab.net.frame import ETH_P_ARP, Frame, parse
from lab.net.offload import verify
from lab.net.path import Path, reply_l2
from lab.net.port import Port
from lab.net.switch import Switch
from lab.net.tcp.server import TcpServer

ECHO_PORT = 7

_ARP_ETHERNET_IPV4 = pack("!HHBB", 1, 0x0800, 6, 4)
_ARP_REQUEST = 1
_ARP_REPLY = 2
_ICMP_ECHO_REPLY = 0
_ICMP_ECHO_REQUEST = 8
_ICMPV6_ECHO_REQUEST = 128
_ICMPV6_ECHO_REPLY = 129
_NEIGHBOR_SOLICITATION = 135
_NEIGHBOR_ADVERTISEMENT = 136
_NA_SOLICITED = 0x40000000
_NA_OVERRIDE = 0x20000000
_OPTION_TARGET_LINK_LAYER = 2
_ND_HOP_LIMIT = 255
_ALL_NODES = ipaddress.IPv6Address("ff02::1").packed
_UNSPECIFIED = bytes(16)


@dataclass(slots=True)
class ResponderCounters:
    """Plain counters of what was answered."""

    received: int = 0
    """Frames that were for this station or for a group."""
    bad_checksum: int = 0
    """Frames dropped because verify() or ICMP's checksum found an error."""
    fragments: int = 0
    """Fragments dropped: nothing is reassembled."""
    arp: int = 0
    neighbor: int = 0
    ping: int = 0
    udp_echo: int = 0


class Responder(Port):
    """Answers ARP, neighbour discovery, ping (IPv4 and IPv6), UDP echo on port 7 and TCP on ports 7 (echo), 9 (discard) and 19 (chargen).

    Answers go to the MAC that asked, with the VLAN tags of the question, from any VLAN, so neither routes nor neighbour tables are needed
    and peers in any subnet are answered. Only whole packets are answered; fragments are counted and dropped. Checksums of everything that
    comes in are checked and those of everything that goes out are right.
    """

    def __init__(
        self,
        switch: Switch,
        *,
        mac: bytes,
        ipv4: str | None = None,
        ipv6: tuple[str, ...] | None = None,
        mtu: int = 9000,
        clock: Callable[[], float] = time.monotonic,
        max_connections: int = 64,
        buffer_size: int = 1 << 20,
        idle_timeout: float = 300.0,
    ) -> None:
        """Attach to `switch` as station `mac` (6 bytes).

        `ipv4` and each of `ipv6` may have a prefix length ("10.0.0.1/24"); it only documents the subnet. Without `ipv6` there is one
        link-local address made from the MAC (RFC 4291, appendix A). `mtu` bounds what TCP sends in one packet; the peer's MSS bounds it
        too, so the default suits guests with any MTU. `clock` counts seconds, in step with what `tick()` is given.
        """
        self.counters = ResponderCounters()
        self.mac = mac
        self.ipv4 = None if ipv4 is None else ipaddress.IPv4Interface(ipv4)
        self.ipv6 = tuple(ipaddress.IPv6Interface(text) for text in ipv6) if ipv6 is not None else (link_local(mac),)
        self._addresses = {address.packed for address in (*(() if self.ipv4 is None else (self.ipv4,)), *self.ipv6)}
        self._switch = switch
        self._clock = clock
        self.tcp = TcpServer(
            self._send,
            mtu=mtu,
            max_connections=max_connections,
            buffer_size=buffer_size,
            idle_timeout=idle_timeout,
        )
        switch.attach(self)

    def close(self) -> None:
        """Leave the switch; connections are forgotten without a word."""
        self._switch.detach(self)

    def tick(self, now: float) -> None:
        """Let TCP's timers expire; call it a few times a second, or when `next_deadline()` has come."""
        self.tcp.tick(now)

    def next_deadline(self) -> float | None:
        """Return the clock's value at which `tick()` has something to send; None if never."""
        return self.tcp.next_deadline()

    def receive(self, frame: bytes) -> None:
        """Answer one frame if there is something to answer."""
        if frame[:6] != self.mac and not (frame and frame[0] & 1):
            return
        self.counters.received += 1
        parsed = parse(frame)
        if parsed.ethertype == ETH_P_ARP:
            self._answer_arp(frame, parsed)
        elif parsed.ip_version is not None:
            self._answer_ip(frame, parsed)

    def _send(self, frame: bytes) -> None:
        self._switch.send(self, frame)

    def _answer_arp(self, frame: bytes, parsed: Frame) -> None:
        """Answer "who has my address" (RFC 826), probes from 0.0.0.0 included (RFC 5227)."""
        start = parsed.l2_length
        if self.ipv4 is None or parsed.length < start + 28 or frame[start : start + 6] != _ARP_ETHERNET_IPV4:
            return
        operation, sender_mac, sender_ip, _, target_ip = unpack_from("!H6s4s6s4s", frame, start + 6)
        if operation != _ARP_REQUEST or target_ip != self.ipv4.packed:
            return
        self.counters.arp += 1
        reply = pack("!6sH6s4s6s4s", _ARP_ETHERNET_IPV4, _ARP_REPLY, self.mac, target_ip, sender_mac, sender_ip)
        self._send(reply_l2(frame, parsed, self.mac) + reply)

    def _answer_ip(self, frame: bytes, parsed: Frame) -> None:
        if parsed.is_fragment:
            self.counters.fragments += 1
            return
        if parsed.l4_offset is None or parsed.is_truncated or parsed.is_routed:
            return
        verdict = verify(frame, parsed)
        if False in (verdict.ip, verdict.tcp, verdict.udp):
            self.counters.bad_checksum += 1
            return
        if parsed.l4_protocol == IPPROTO_ICMPV6 and parsed.ip_version == 6:
            self._answer_icmpv6(frame, parsed)
        elif parsed.dst not in self._addresses or frame[0] & 1:
            return
        elif parsed.l4_protocol == IPPROTO_ICMP and parsed.ip_version == 4:
            self._answer_icmp(frame, parsed)
        elif parsed.l4_protocol == IPPROTO_UDP and parsed.l4_header_length:
            self._answer_udp(frame, parsed)
        elif parsed.l4_protocol == IPPROTO_TCP and parsed.l4_header_length:
            self.tcp.receive(frame, parsed, self._path(frame, parsed), self._clock())

    def _path(self, frame: bytes, parsed: Frame, src: bytes | None = None) -> Path:
        return Path(reply_l2(frame, parsed, self.mac), src or parsed.dst, parsed.src)

    def _answer_icmp(self, frame: bytes, parsed: Frame) -> None:
        message = bytearray(frame[parsed.l4_offset : parsed.l3_end])
        if len(message) < 8 or message[0] != _ICMP_ECHO_REQUEST or message[1]:
            return
        if internet_checksum(message):
            self.counters.bad_checksum += 1
            return
        self.counters.ping += 1
        self._send(self._echo(message, _ICMP_ECHO_REPLY, IPPROTO_ICMP, self._path(frame, parsed)))

    def _answer_icmpv6(self, frame: bytes, parsed: Frame) -> None:
        message = bytearray(frame[parsed.l4_offset : parsed.l3_end])
        if len(message) < 8 or message[1]:
            return
        if internet_checksum(message, pseudo_header_sum(parsed.src, parsed.dst, IPPROTO_ICMPV6, len(message))):
            self.counters.bad_checksum += 1
        elif message[0] == _NEIGHBOR_SOLICITATION:
            self._answer_solicitation(frame, parsed, bytes(message[8:24]))
        elif message[0] == _ICMPV6_ECHO_REQUEST and (parsed.dst in self._addresses or (parsed.dst == _ALL_NODES and self.ipv6)):
            # A group cannot be the source of an answer (RFC 4443, section 2.2).
            src = self.ipv6[0].packed if parsed.dst == _ALL_NODES else parsed.dst
            self.counters.ping += 1
            self._send(self._echo(message, _ICMPV6_ECHO_REPLY, IPPROTO_ICMPV6, self._path(frame, parsed, src)))

    @staticmethod
    def _echo(message: bytearray, reply_type: int, protocol: int, path: Path) -> bytes:
        header = message[:8]
        header[0] = reply_type
        return path.packet(protocol, header, 2, memoryview(message)[8:])

    def _answer_solicitation(self, frame: bytes, parsed: Frame, target: bytes) -> None:
        """Advertise this station's MAC (RFC 4861, section 7.2.4); to everybody if the asker has no address yet."""
        assert parsed.l3_offset is not None
        # A hop limit of 255 proves that no router passed it on.
        if frame[parsed.l3_offset + 7] != _ND_HOP_LIMIT or len(target) != 16 or target not in self._addresses:
            return
        self.counters.neighbor += 1
        flags = _NA_OVERRIDE
        l2, dst = reply_l2(frame, parsed, self.mac), parsed.src
        if dst == _UNSPECIFIED:
            dst = _ALL_NODES
            l2 = b"\x33\x33" + dst[12:] + l2[6:]
        else:
            flags |= _NA_SOLICITED
        body = pack("!BBHI16sBB6s", _NEIGHBOR_ADVERTISEMENT, 0, 0, flags, target, _OPTION_TARGET_LINK_LAYER, 1, self.mac)
        self._send(Path(l2, target, dst).packet(IPPROTO_ICMPV6, bytearray(body), 2, hop_limit=_ND_HOP_LIMIT))

    def _answer_udp(self, frame: bytes, parsed: Frame) -> None:
        # Never answer an echo port: two echo services would talk for ever.
        if parsed.dst_port != ECHO_PORT or parsed.src_port == ECHO_PORT:
            return
        assert parsed.l4_offset is not None
        start = parsed.l4_offset
        (length,) = unpack_from("!H", frame, start + 4)
        if not 8 <= length <= parsed.l4_length:
            return
        self.counters.udp_echo += 1
        header = bytearray(pack("!HHHH", parsed.dst_port, parsed.src_port, length, 0))
        self._send(self._path(frame, parsed).packet(IPPROTO_UDP, header, 6, memoryview(frame)[start + 8 : start + length]))


def link_local(mac: bytes) -> ipaddress.IPv6Interface:
    """Return the link-local address whose interface identifier is the modified EUI-64 of `mac` (RFC 4291, appendix A)."""
    identifier = bytes((mac[0] ^ 0x02, *mac[1:3], 0xFF, 0xFE, *mac[3:6]))
    return ipaddress.IPv6Interface((b"\xfe\x80" + bytes(6) + identifier, 64))
