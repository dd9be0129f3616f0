# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The responder: every protocol frame by frame with a clock of the test's own, then against the kernel of this machine."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import random
import socket
import struct
import threading

import frames
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.net.frame import parse
from lab.net.offload import fill_checksums, verify
from lab.net.responder import Responder, link_local
from lab.net.switch import Switch
from lab.net.tcp.reassembly import MAX_ISLANDS, Reassembly
from lab.net.tcp.segment import ACK, FIN, PSH, RST, SYN, SynOptions, read_sack_blocks, read_segment, read_syn_options
from lab.net.tcp.services import CHARGEN_PERIOD
from tap_port import TapPort, Unavailable
from test_checksum import naive_sum

ALL_NODES = bytes.fromhex("ff020000000000000000000000000001")


class Wire:
    """A peer with a scripted hand: sends frames with right checksums and keeps what comes back."""

    def __init__(self, **options) -> None:
        self.now = 1000.0
        self.switch = Switch()
        self.switch.attach(self)
        self.received: list[bytes] = []
        options = {"ipv4": "192.0.2.2/24", "ipv6": ("2001:db8::2/64",), **options}
        self.responder = Responder(self.switch, mac=frames.MAC_B, clock=lambda: self.now, **options)

    def receive(self, frame: bytes) -> None:
        self.received.append(frame)

    def ask(self, frame: bytes) -> list[bytes]:
        """Send a frame and return the answers, whose checksums are checked."""
        self.received.clear()
        buffer = bytearray(frame)
        fill_checksums(buffer, ip=True, tcp=True, udp=True)
        self.switch.send(self, bytes(buffer))
        return self.answers()

    def answers(self) -> list[bytes]:
        answers, self.received = self.received, []
        for answer in answers:
            verdict = verify(answer)
            assert False not in (verdict.ip, verdict.tcp, verdict.udp)
        return answers

    def wait(self, seconds: float) -> list[bytes]:
        self.now += seconds
        self.responder.tick(self.now)
        return self.answers()


def arp(target: bytes, operation: int = 1) -> bytes:
    return struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, operation, frames.MAC_A, frames.IP4_A, bytes(6), target)


@pytest.mark.parametrize("vlans", [(), (0x600A,), (5, 6)])
def test_arp(vlans):
    wire = Wire()
    (answer,) = wire.ask(frames.ethernet(0x0806, arp(frames.IP4_B), vlans=vlans, dst=b"\xff" * 6))
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + frames.MAC_B + frames.IP4_B + frames.MAC_A + frames.IP4_A
    assert answer == frames.ethernet(0x0806, body, vlans=vlans, src=frames.MAC_B, dst=frames.MAC_A)


@pytest.mark.parametrize("body", [arp(frames.IP4_A), arp(frames.IP4_B, 2), arp(frames.IP4_B)[:-1], b"\0\2" + arp(frames.IP4_B)[2:]])
def test_other_arp_is_not_answered(body):
    assert Wire().ask(frames.ethernet(0x0806, body, dst=b"\xff" * 6)) == []


def icmp4(kind: int, rest: bytes) -> bytes:
    message = bytes([kind, 0, 0, 0]) + rest
    return bytes([kind, 0]) + struct.pack("!H", naive_sum(message) ^ 0xFFFF) + rest


def icmp6(kind: int, rest: bytes, src: bytes, dst: bytes) -> bytes:
    total = naive_sum(src + dst + struct.pack("!II", 4 + len(rest), 58) + bytes([kind, 0, 0, 0]) + rest)
    return bytes([kind, 0]) + struct.pack("!H", total ^ 0xFFFF) + rest


@pytest.mark.parametrize("size", [0, 1, 56, 8972])
def test_ping(size):
    wire = Wire()
    rest = b"\0\1\0\2" + bytes(range(256)) * 36
    rest = rest[: 4 + size]
    (answer,) = wire.ask(frames.ethernet(0x0800, frames.ipv4(1, icmp4(8, rest)), vlans=(5,)))
    assert answer[:18] == frames.ethernet(0x0800, b"", vlans=(5,), src=frames.MAC_B, dst=frames.MAC_A)
    assert answer[18 + 12 : 18 + 20] == frames.IP4_B + frames.IP4_A
    assert answer[38:] == icmp4(0, rest)


@pytest.mark.parametrize("group", [False, True])
def test_ping6(group):
    wire = Wire()
    rest = b"\0\1\0\2odd"
    dst = ALL_NODES if group else frames.IP6_B
    mac = bytes.fromhex("333300000001") if group else frames.MAC_B
    (answer,) = wire.ask(frames.ethernet(0x86DD, frames.ipv6(58, icmp6(128, rest, frames.IP6_A, dst), dst=dst), dst=mac))
    assert answer[22:54] == frames.IP6_B + frames.IP6_A
    assert answer[54:] == icmp6(129, rest, frames.IP6_B, frames.IP6_A)


@pytest.mark.parametrize("version", [4, 6])
def test_damaged_pings_are_counted_and_dropped(version):
    wire = Wire()
    body = icmp4(8, b"abcd") if version == 4 else icmp6(128, b"abcd", frames.IP6_A, frames.IP6_B)
    body = body[:-1] + b"x"
    frame = frames.ethernet(0x0800, frames.ipv4(1, body)) if version == 4 else frames.ethernet(0x86DD, frames.ipv6(58, body))
    assert wire.ask(frame) == []
    assert wire.responder.counters.bad_checksum == 1


@pytest.mark.parametrize(("src", "flags"), [(frames.IP6_A, 0x60000000), (bytes(16), 0x20000000)])
def test_neighbour_solicitation(src, flags):
    wire = Wire()
    group = bytes.fromhex("ff0200000000000000000001ff000002")
    body = icmp6(135, bytes(4) + frames.IP6_B, src, group)
    packet = frames.ipv6(58, body, src=src, dst=group, hops=255)
    (answer,) = wire.ask(frames.ethernet(0x86DD, packet, dst=bytes.fromhex("3333ff000002")))
    dst, mac = (frames.IP6_A, frames.MAC_A) if any(src) else (ALL_NODES, bytes.fromhex("333300000001"))
    rest = struct.pack("!I", flags) + frames.IP6_B + b"\2\1" + frames.MAC_B
    body = icmp6(136, rest, frames.IP6_B, dst)
    assert answer == frames.ethernet(0x86DD, frames.ipv6(58, body, src=frames.IP6_B, dst=dst, hops=255), src=frames.MAC_B, dst=mac)


def test_solicitations_that_a_router_passed_on_or_for_others_are_not_answered():
    wire = Wire()
    for target, hops in ((frames.IP6_B, 254), (frames.IP6_A, 255)):
        body = icmp6(135, bytes(4) + target, frames.IP6_A, frames.IP6_B)
        assert wire.ask(frames.ethernet(0x86DD, frames.ipv6(58, body, hops=hops))) == []


def test_link_local_address_from_the_mac():
    assert str(link_local(bytes.fromhex("000d3a123456"))) == "fe80::20d:3aff:fe12:3456/64"
    assert Wire(ipv6=None).responder.ipv6 == (link_local(frames.MAC_B),)


@pytest.mark.parametrize("version", [4, 6])
def test_udp_echo(version):
    wire = Wire()
    (answer,) = wire.ask(frames.udp_frame(version, b"hello", dst_port=7, vlans=(5,)) + b"padding")
    parsed = parse(answer)
    assert (parsed.src_port, parsed.dst_port, parsed.vlan_tci) == (7, 1000, 5)
    assert answer[parsed.l4_offset + 8 :] == b"hello"
    assert verify(answer).udp is True


def test_udp_that_is_not_answered():
    wire = Wire()
    assert wire.ask(frames.udp_frame(4, b"x", dst_port=8)) == []
    assert wire.ask(frames.udp_frame(4, b"x", dst_port=7, src_port=7)) == []
    assert wire.ask(frames.ethernet(0x0800, frames.ipv4(17, frames.udp(b"x", dst_port=7), dst=bytes([192, 0, 2, 3])))) == []
    assert wire.ask(frames.ethernet(0x0800, frames.ipv4(17, frames.udp(b"x", dst_port=7)), dst=frames.MAC_A[:5] + b"\x09")) == []
    assert wire.ask(frames.ethernet(0x0800, frames.ipv4(17, frames.udp(b"x", dst_port=7), fragment=0x2000))) == []
    assert wire.responder.counters.fragments == 1


@given(st.binary(max_size=100), st.sampled_from([b"\x08\x06", b"\x08\0E", b"\x86\xdd`", b"\x81\0\0\5\x08\0E\0"]))
def test_no_frame_raises(data, kind):
    wire = Wire()
    wire.ask(b"\xff" * 6 + frames.MAC_A + kind + data)
    wire.ask(frames.MAC_B + frames.MAC_A + kind + data)
    wire.ask(frames.ethernet(0x0800, frames.ipv4(6, data)))


class Client:
    """One TCP connection from the test's side; `say` sends exactly what it is told."""

    def __init__(
        self, wire: Wire, port: int = 7, *, version: int = 4, isn: int = 0xFFFFFF00, src_port: int = 1000, window: int = 60000, **offer
    ):
        self.wire = wire
        self.fixed = {"src_port": src_port, "dst_port": port}
        self.version = version
        self.window = window
        self.sequence = isn + 1
        offer = {"mss": 1000, "window_scale": 0, "sack": True, **offer}
        (self.syn_ack,) = self._send(SYN, isn, 0, options=SynOptions(**offer).build())
        self.acknowledgment = self.syn_ack.sequence + 1

    def _send(self, flags, sequence, acknowledgment, payload=b"", options=b""):
        frame = frames.tcp_frame(
            self.version,
            payload,
            vlans=(5,),
            flags=flags,
            sequence=sequence & 0xFFFFFFFF,
            acknowledgment=acknowledgment & 0xFFFFFFFF,
            options=options,
            window=self.window,
            **self.fixed,
        )
        return self.segments(self.wire.ask(frame))

    @staticmethod
    def segments(answers):
        assert all(parse(answer).vlan_tci == 5 for answer in answers)
        return [read_segment(answer, parse(answer)) for answer in answers]

    def say(self, flags=ACK, payload=b"", *, offset=0, ack=0):
        """Send at `offset` from the next sequence number, acknowledging `ack` bytes more than before."""
        self.acknowledgment += ack
        return self._send(flags, self.sequence + offset, self.acknowledgment, payload)

    def wait(self, seconds):
        return self.segments(self.wire.wait(seconds))


def connected(**options) -> Client:
    client = Client(Wire(), **options)
    client.say()
    return client


@pytest.mark.parametrize("version", [4, 6])
def test_handshake(version):
    client = Client(Wire(mtu=1500), version=version)
    assert client.syn_ack.flags == SYN | ACK
    assert client.syn_ack.acknowledgment == client.sequence & 0xFFFFFFFF
    offer = read_syn_options(client.syn_ack.options)
    assert (offer.mss, offer.window_scale, offer.sack) == (1460 if version == 4 else 1440, 5, True)
    # A SYN can tell of 65535 bytes at most, so the whole window is news.
    assert (client.syn_ack.window, offer.window_scale) == (0xFFFF, 5)
    (update,) = client.say()
    assert (update.window << 5, update.payload) == (1 << 20, b"")
    assert client.say() == []
    assert len(client.wire.responder.tcp) == 1


def test_options_are_offered_only_to_those_who_offer_them():
    offer = read_syn_options(Client(Wire(), window_scale=None, sack=False).syn_ack.options)
    assert (offer.window_scale, offer.sack) == (None, False)


def test_without_scaling_a_window_that_cannot_be_told_is_no_news():
    client = Client(Wire(), window_scale=None)
    assert client.say() == []
    (answer,) = client.say(payload=b"abc")
    assert answer.window == 0xFFFF
    client.sequence += 3
    assert client.say(ack=3) == []


def test_echo_over_the_wrap_of_sequence_numbers():
    client = connected(isn=0xFFFFFFFE)
    (answer,) = client.say(PSH | ACK, b"hello")
    assert (answer.payload, answer.flags) == (b"hello", PSH | ACK)
    assert answer.acknowledgment == (client.sequence + 5) & 0xFFFFFFFF
    client.sequence += 5
    assert client.say(ack=5) == []


def test_own_sequence_numbers_wrap_as_well():
    wire = Wire()
    wire.responder.tcp._initial_sequence = lambda: 0xFFFFFFFE
    client = Client(wire)
    client.say()
    for _ in range(3):
        (answer,) = client.say(payload=b"abc")
        assert (answer.payload, answer.sequence) == (b"abc", client.acknowledgment & 0xFFFFFFFF)
        client.sequence += 3
        client.acknowledgment += 3


def test_repeated_syn_gets_the_same_answer():
    client = Client(Wire())
    (again,) = client._send(SYN, client.sequence - 1, 0)
    assert (again.sequence, again.flags) == (client.syn_ack.sequence, SYN | ACK)
    (timed,) = client.wait(1.0)
    assert timed.sequence == client.syn_ack.sequence


def test_segments_respect_the_mss_and_the_window_of_the_peer():
    client = connected(mss=100, window=250)
    sent = client.say(payload=bytes(range(200)) * 3)
    assert [len(segment.payload) for segment in sent if segment.payload] == [100, 100]
    client.sequence += 600
    sent = client.say(ack=200)
    assert [len(segment.payload) for segment in sent] == [100, 100]


def test_early_segments_are_kept_and_acknowledged_selectively():
    client = connected()
    base = client.sequence & 0xFFFFFFFF
    (duplicate,) = client.say(payload=b"cc", offset=4)
    assert (duplicate.payload, duplicate.acknowledgment) == (b"", base)
    assert read_sack_blocks(duplicate.options) == [(base + 4, base + 6)]
    (duplicate,) = client.say(payload=b"ee", offset=8)
    assert read_sack_blocks(duplicate.options) == [(base + 8, base + 10), (base + 4, base + 6)]
    (answer,) = client.say(payload=b"aabb")
    assert (answer.payload, answer.acknowledgment) == (b"aabbcc", base + 6)
    assert client.wire.responder.tcp.counters.out_of_order == 2


def test_repeated_bytes_are_taken_once():
    client = connected()
    client.say(payload=b"abc")
    (answer,) = client.say(payload=b"abcde")
    assert answer.payload == b"de"
    (answer,) = client.say(payload=b"abc")
    assert (answer.payload, answer.acknowledgment) == (b"", (client.sequence + 5) & 0xFFFFFFFF)


def test_three_duplicate_acknowledgments_bring_the_missing_segment():
    client = connected(mss=100)
    client.say(payload=bytes(600))
    client.sequence += 600
    assert [len(client.say()) for _ in range(2)] == [0, 0]
    (again,) = client.say()
    assert (again.sequence, len(again.payload)) == (client.acknowledgment & 0xFFFFFFFF, 100)
    # The next was lost as well: a partial acknowledgment asks for it.
    (again,) = client.say(ack=100)
    assert again.sequence == client.acknowledgment & 0xFFFFFFFF
    assert client.say(ack=500) == []
    assert client.wire.responder.tcp.counters.fast_retransmits == 1


def test_time_out_sends_again_with_growing_pauses_and_gives_up():
    client = connected()
    client.say(payload=b"abc")
    client.sequence += 3
    pauses, waited = [], 0.0
    for _ in range(100000):
        waited += 0.05
        sent = client.wait(0.05)
        if sent:
            pauses.append(waited)
            waited = 0.0
            if sent[0].flags & RST:
                break
            assert sent[0].payload == b"abc"
    assert pauses[0] == pytest.approx(1.0, abs=0.1)
    assert all(later >= earlier for earlier, later in itertools.pairwise(pauses))
    assert len(pauses) == 13
    assert len(client.wire.responder.tcp) == 0


def test_next_deadline_tells_when_a_tick_is_due():
    client = connected()
    responder = client.wire.responder
    assert responder.next_deadline() is None
    client.say(payload=b"abc")
    deadline = responder.next_deadline()
    assert client.segments(client.wire.wait(deadline - client.wire.now - 0.001)) == []
    assert [segment.payload for segment in client.wait(0.001)] == [b"abc"]


def test_a_closed_window_is_probed():
    client = connected(window=0)
    assert all(not segment.payload for segment in client.say(payload=b"abc"))
    client.sequence += 3
    (probe,) = client.wait(8.0)
    assert probe.payload == b"a"
    client.window = 1000
    (answer,) = client.say(ack=1)
    assert answer.payload == b"bc"


def test_the_window_closes_when_the_echo_is_not_read():
    client = Client(Wire(buffer_size=1000), window=0, window_scale=None)
    client.say()
    (answer,) = client.say(payload=bytes(900))
    assert answer.window == 100
    client.sequence += 900
    (answer,) = client.say(payload=bytes(900))
    assert (answer.window, answer.acknowledgment) == (0, (client.sequence + 100) & 0xFFFFFFFF)
    client.sequence += 100
    client.window = 60000
    sent = client.say()
    assert sum(len(segment.payload) for segment in sent) == 1000
    (update,) = client.say(ack=1000)
    assert (update.window, update.payload) == (1000, b"")


def test_close_by_the_peer_is_answered_with_a_fin_after_the_data():
    client = connected()
    data, fin = client.say(FIN | ACK, b"bye")
    assert (data.payload, fin.payload) == (b"bye", b"")
    assert fin.flags & FIN
    assert fin.acknowledgment == (client.sequence + 4) & 0xFFFFFFFF
    client.sequence += 4
    assert client.say(ack=4) == []
    assert len(client.wire.responder.tcp) == 0
    assert client.wire.responder.tcp.counters.completed == 1


def test_an_early_fin_counts_when_the_gap_is_filled():
    client = connected()
    client.say(FIN | ACK, b"def", offset=3)
    sent = client.say(payload=b"abc")
    assert [segment.payload for segment in sent] == [b"abcdef", b""]
    assert sent[-1].flags & FIN


def test_a_lost_fin_is_sent_again():
    client = connected()
    client.say(FIN | ACK)
    client.sequence += 1
    (again,) = client.wait(1.0)
    assert again.flags & FIN
    client.say(ack=1)
    assert len(client.wire.responder.tcp) == 0


def test_ports_without_a_service_are_reset():
    wire = Wire()
    client = Client(wire, port=8)
    assert (client.syn_ack.flags, client.syn_ack.acknowledgment) == (RST | ACK, client.sequence & 0xFFFFFFFF)
    (reset,) = client.say(payload=b"x")
    assert (reset.flags, reset.sequence) == (RST, client.acknowledgment)
    assert client.say(RST) == []


def test_only_the_exact_reset_ends_a_connection():
    client = connected()
    client.say(RST, offset=1)
    assert len(client.wire.responder.tcp) == 1
    client.say(RST)
    assert len(client.wire.responder.tcp) == 0


def test_discard_counts():
    client = connected(port=9)
    (answer,) = client.say(payload=bytes(100))
    assert answer.payload == b""
    assert client.wire.responder.tcp.counters.bytes_received == 100


def test_chargen_sends_its_pattern():
    client = Client(Wire(), port=19, mss=1400)
    received = b""
    sent = client.say()
    while len(received) < 20000:
        new = b"".join(segment.payload for segment in sent)
        received += new
        sent = client.say(ack=len(new))
    assert received == (CHARGEN_PERIOD * 9)[: len(received)]
    assert received[:5] == b' !"#$'
    sent = client.say(FIN | ACK)
    client.sequence += 1
    for _ in range(1000):
        if any(segment.flags & FIN for segment in sent):
            break
        sent = client.say(ack=sum(len(segment.payload) for segment in sent))
    assert any(segment.flags & FIN for segment in sent)


def test_the_table_is_bounded_and_half_open_connections_make_room():
    wire = Wire(max_connections=2)
    Client(wire, src_port=1)
    second = Client(wire, src_port=2)
    second.say()
    third = Client(wire, src_port=3)
    third.say()
    assert len(wire.responder.tcp) == 2
    assert Client(wire, src_port=4).syn_ack.flags == RST | ACK
    assert wire.responder.tcp.counters.refused == 1


def test_idle_connections_are_reset():
    client = Client(Wire(idle_timeout=10.0))
    client.say()
    assert client.wait(9.0) == []
    (reset,) = client.wait(2.0)
    assert reset.flags & RST
    assert len(client.wire.responder.tcp) == 0


def test_tcp_with_a_wrong_checksum_is_dropped():
    client = connected()
    frame = bytearray(frames.tcp_frame(4, b"abc", sequence=client.sequence & 0xFFFFFFFF, vlans=(5,), **client.fixed))
    fill_checksums(frame, ip=True, tcp=True, udp=False)
    frame[-1] ^= 1
    client.wire.switch.send(client.wire, bytes(frame))
    assert client.wire.received == []
    assert client.wire.responder.counters.bad_checksum == 1


@given(st.data())
def test_reassembly_gives_back_what_was_cut(data):
    text = data.draw(st.binary(min_size=1, max_size=60))
    store, have, position = Reassembly(), set(), 0
    cuts = st.tuples(st.integers(0, len(text)), st.integers(0, len(text)))
    for first, last in data.draw(st.lists(cuts, max_size=20)):
        if first < last and first >= position:
            store.insert(1000 + first, text[first:last])
            have |= set(range(first, last))
    assert len(store) == len(have)
    blocks = sorted(store.blocks(MAX_ISLANDS))
    assert {number - 1000 for start, end in blocks for number in range(start, end)} == have
    assert all(left[1] < right[0] for left, right in itertools.pairwise(blocks))
    while position < len(text):
        got = store.take(1000 + position)
        assert got == text[position : position + len(got)]
        assert bool(got) == (position in have)
        position += len(got) or 1
    assert len(store) == 0


def test_reassembly_is_bounded():
    store = Reassembly()
    for number in range(MAX_ISLANDS + 10):
        store.insert(number * 2, b"x")
    assert len(store) == MAX_ISLANDS


# Against the kernel of this machine


@pytest.fixture(params=[False, True], ids=["plain", "offload"])
def kernel(request):
    """Join a responder and the kernel's stack, which leaves checksums and segmentation to lab.net.offload or does them itself."""
    switch = Switch()
    responder = Responder(switch, mac=frames.MAC_B, ipv4="192.0.2.2/24", ipv6=("2001:db8::2/64",))
    addresses = ["192.0.2.1/24", "2001:db8::1/64 nodad"]
    try:
        tap = TapPort(switch, offload=request.param, addresses=addresses, tick=responder.tick)
    except Unavailable as error:
        pytest.skip(str(error))
    tap.responder, tap.switch, tap.is_offload = responder, switch, request.param
    yield tap
    tap.close()
    assert tap.bad == 0
    assert responder.counters.bad_checksum == 0


HOSTS = pytest.mark.parametrize("host", ["192.0.2.2", "2001:db8::2"])


def family(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


@HOSTS
def test_kernel_ping(kernel, host):
    protocol = socket.IPPROTO_ICMPV6 if ":" in host else socket.IPPROTO_ICMP
    with kernel.run(lambda: socket.socket(family(host), socket.SOCK_RAW, protocol)) as ping:
        ping.settimeout(30)
        # The kernel computes the checksum of ICMPv6 for raw sockets.
        request = icmp4(8, b"\0\7\0\1abcd") if protocol == socket.IPPROTO_ICMP else b"\x80\0\0\0\0\7\0\1abcd"
        ping.sendto(request, (host, 0))
        while True:
            answer = ping.recv(2000)
            answer = answer[20:] if protocol == socket.IPPROTO_ICMP else answer
            if answer[0] in (0, 129):
                break
        assert answer[4:] == b"\0\7\0\1abcd"


@HOSTS
def test_kernel_udp_echo(kernel, host):
    with kernel.run(lambda: socket.socket(family(host), socket.SOCK_DGRAM)) as udp:
        udp.settimeout(30)
        for size in (0, 1, 1000, 1400):
            udp.sendto(bytes(size), (host, 7))
            assert udp.recv(2000) == bytes(size)


def echo(kernel, host, size):
    """Echo `size` random bytes and compare."""
    # Not what this machine happens to prefer: the behaviour under loss depends on it.
    with kernel.run(lambda: socket.socket(family(host), socket.SOCK_STREAM)) as stream:
        with contextlib.suppress(OSError):
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
        stream.settimeout(60)
        stream.connect((host, 7))
        data = random.Random(host).randbytes(size)

        def send():
            stream.sendall(data)
            stream.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        digest, received = hashlib.sha256(), 0
        while chunk := stream.recv(1 << 18):
            digest.update(chunk)
            received += len(chunk)
        sender.join()
    assert received == size
    assert digest.digest() == hashlib.sha256(data).digest()


@HOSTS
def test_kernel_tcp_echo(kernel, host):
    echo(kernel, host, 4 << 20)
    assert kernel.is_offload == (kernel.segmented > 0)


@HOSTS
def test_kernel_tcp_echo_with_loss(kernel, host):
    chance = random.Random(7)
    kernel.switch.tap = lambda port, frame: None if chance.random() < 0.01 else frame
    echo(kernel, host, 1 << 20)
    assert kernel.switch.counters.dropped_tap > 0


def test_kernel_tcp_refused(kernel):
    with kernel.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as stream:
        stream.settimeout(30)
        with pytest.raises(ConnectionRefusedError):
            stream.connect(("192.0.2.2", 8))
