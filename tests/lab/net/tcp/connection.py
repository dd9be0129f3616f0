# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One TCP connection of a server: RFC 9293 with congestion control of RFC 5681 and 6582 (NewReno) and timers of RFC 6298.

Segments that arrive before their turn are kept and acknowledged selectively (RFC 2018): without that, Linux recovers from many losses in
one window only by time-outs that grow each time. Selective acknowledgments from the peer are not used: one loss is repaired per round trip.

Left out: active open, timestamps, urgent data, Nagle's delay, delayed acknowledgment, path MTU discovery. The server never closes first,
so there is no TIME-WAIT.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from lab.net.path import Path
from lab.net.tcp.reassembly import Reassembly
from lab.net.tcp.segment import ACK, FIN, MAX_SACK_BLOCKS, PSH, RST, SYN, Segment, SynOptions, build_segment, read_syn_options, sack_option
from lab.net.tcp.services import Service

_DEFAULT_MSS = {4: 536, 16: 1220}
"""By length of the IP address, for a peer that offers none (RFC 9293, section 3.7.1)."""
_MIN_MSS = 64
"""A smaller offer is ignored: it would only multiply frames."""
_INITIAL_SEGMENTS = 10
"""Initial congestion window (RFC 6928), and the least one here: losses are injected by tests, there is no router to relieve, and with fewer
segments on their way a loss is often followed by too few to make three duplicate acknowledgments."""
_DUPLICATE_ACKS = 3
_RTO_INITIAL = 1.0
_RTO_MIN = 0.2
"""Seconds, as in Linux; RFC 6298 says 1."""
_RTO_MAX = 8.0
"""Seconds. RFC 6298 wants at least 60; in a lab a shorter pause finds out sooner that the peer is back."""
_MAX_TIMEOUTS = 12
_WINDOW_SCALE = 5
MAX_BUFFER = 0xFFFF << _WINDOW_SCALE
"""The largest window that can be advertised, 2 MiB less 32 bytes."""


class State(enum.Enum):
    """Names as in RFC 9293, section 3.3.2."""

    SYN_RECEIVED = enum.auto()
    ESTABLISHED = enum.auto()
    CLOSE_WAIT = enum.auto()
    """The peer has closed; what is buffered goes out, then a FIN."""
    LAST_ACK = enum.auto()
    """That FIN was sent."""
    CLOSED = enum.auto()


@dataclass(slots=True)
class TcpCounters:
    """Plain counters of all connections of a server."""

    accepted: int = 0
    """Connections for which a SYN was answered."""
    completed: int = 0
    """Connections that ended with a FIN from both sides."""
    refused: int = 0
    """SYNs for a port without a service, or while the table was full."""
    reset: int = 0
    """Connections that the peer reset."""
    expired: int = 0
    """Connections given up: idle, or no answer to many retransmissions."""
    bytes_received: int = 0
    """Payload taken in order, repeats not counted."""
    bytes_sent: int = 0
    """Payload sent, repeats not counted."""
    out_of_order: int = 0
    """Segments that came while one before them was missing."""
    fast_retransmits: int = 0
    timeouts: int = 0


class Connection:
    """State of one connection and everything that happens to it.

    Sequence numbers inside are plain integers that never wrap; `_unwrap` maps those on the wire to the nearest one. Names of variables as
    in RFC 9293, section 3.3.1: `snd_una` is the oldest byte not acknowledged, `snd_nxt` the next to send, `rcv_nxt` the next to arrive.

    There is one buffer, `_outgoing`, from `snd_una` on. Received bytes go to the service at once and its answer into that buffer, so its
    free room is the window to advertise: a peer that does not read its echo is stopped from sending.
    """

    def __init__(
        self,
        syn: Segment,
        path: Path,
        ports: tuple[int, int],
        service: Service,
        *,
        send: Callable[[bytes], None],
        counters: TcpCounters,
        mss: int,
        buffer_size: int,
        initial_sequence: int,
        now: float,
    ) -> None:
        """Answer `syn`. `mss` is what this side can take in one segment, `buffer_size` the bytes to buffer, at most MAX_BUFFER."""
        self.path = path
        self.state = State.SYN_RECEIVED
        self.last_heard = now
        self.timer: float | None = None
        """When to retransmit or to probe."""
        self._ports = ports
        self._service = service
        self._send = send
        self._counters = counters
        self._own_mss = mss
        self._buffer_size = min(buffer_size, MAX_BUFFER)

        offer = read_syn_options(syn.options)
        self._mss = min(mss, max(offer.mss or _DEFAULT_MSS[len(path.src)], _MIN_MSS))
        self._is_scaling = offer.window_scale is not None
        self._peer_scale = offer.window_scale or 0
        self._is_sack_permitted = offer.sack
        self.irs = syn.sequence
        self._rcv_nxt = syn.sequence + 1
        self._advertised = self._rcv_nxt
        """The first byte beyond the window that was last advertised."""
        self._iss = initial_sequence
        self._snd_una = initial_sequence
        self._snd_nxt = initial_sequence + 1
        self._snd_max = initial_sequence + 1
        """The highest `snd_nxt` so far: after a timeout `snd_nxt` goes back."""
        self._snd_wnd = syn.window
        self._outgoing = bytearray()
        self._early = Reassembly()
        self._fin_at: int | None = None
        """The number of the peer's FIN, once it was seen."""
        self._is_ack_due = False

        self._cwnd = _INITIAL_SEGMENTS * self._mss
        self._ssthresh = self._buffer_size
        self._duplicates = 0
        self._recover = initial_sequence
        """Recovery from a loss ends when this is acknowledged."""
        self._is_recovering = False

        self._rto = _RTO_INITIAL
        self._srtt: float | None = None
        self._rttvar = 0.0
        self._timed: tuple[int, float] | None = None
        """A byte number whose acknowledgment is being timed, and when it was sent."""
        self._timeouts_in_row = 0

        counters.accepted += 1
        self._send_syn_ack(now)

    @property
    def buffered(self) -> int:
        """Bytes that wait to be sent or acknowledged."""
        return len(self._outgoing)

    # Receiving

    def receive(self, segment: Segment, now: float) -> None:
        """Process one segment of this connection (RFC 9293, section 3.10.7.4)."""
        sequence = _unwrap(segment.sequence, self._rcv_nxt)
        if segment.flags & RST:
            # Only the exact number resets, so that a stray or forged segment does not (RFC 5961, section 3.2).
            if sequence == self._rcv_nxt:
                self._counters.reset += 1
                self._close()
            return
        self.last_heard = now
        if segment.flags & SYN:
            if self.state is State.SYN_RECEIVED and segment.sequence == self.irs:
                self._send_syn_ack(now)
            else:
                self._send_ack()
            return
        if not segment.flags & ACK or not self._take_acknowledgment(segment, now):
            return
        if segment.payload or segment.flags & FIN:
            self._take_data(segment, sequence)
        self._produce()
        self._transmit(now)
        # Growth of the window is news only in large steps (RFC 9293, section 3.8.6.2.2).
        step = min(self._buffer_size // 2, 2 * self._own_mss)
        if self._is_ack_due or self._rcv_nxt + self._window(self._scale) - self._advertised >= step:
            self._send_ack()

    def _take_acknowledgment(self, segment: Segment, now: float) -> bool:
        """Process the acknowledgment and window of a segment; False if the rest of the segment must be ignored."""
        ack = _unwrap(segment.acknowledgment, self._snd_una)
        if self.state is State.SYN_RECEIVED:
            if ack != self._iss + 1:
                self._emit(RST, segment.acknowledgment)
                return False
            self.state = State.ESTABLISHED
            self._snd_una = ack
            self._snd_wnd = segment.window << self._peer_scale
            self._restart_timer(now)
            return True
        if ack > self._snd_max:
            self._send_ack()
            return False
        if ack < self._snd_una:
            return True
        window = segment.window << self._peer_scale
        is_duplicate = ack == self._snd_una and not segment.length and window == self._snd_wnd and self._snd_max > self._snd_una
        self._snd_wnd = window
        if ack > self._snd_una:
            self._advance(ack, now)
        elif is_duplicate:
            self._count_duplicate(now)
        return self.state is not State.CLOSED

    def _advance(self, ack: int, now: float) -> None:
        """Forget what was acknowledged and adapt the congestion window."""
        if self._timed is not None and ack > self._timed[0]:
            self._measure(now - self._timed[1])
            self._timed = None
        acknowledged = ack - self._snd_una
        is_fin_acknowledged = acknowledged > len(self._outgoing)
        del self._outgoing[:acknowledged]
        self._snd_una = ack
        self._snd_nxt = max(self._snd_nxt, ack)
        self._duplicates = 0
        self._timeouts_in_row = 0
        self._rto = self._measured_rto()
        if is_fin_acknowledged:
            self._counters.completed += 1
            self._close()
            return
        if self._is_recovering and ack < self._recover:
            # A partial acknowledgment: the next segment was lost as well (RFC 6582, section 3.2).
            self._retransmit_first()
            self._cwnd = max(self._cwnd - acknowledged + self._mss, self._mss)
        elif self._is_recovering:
            self._is_recovering = False
            self._cwnd = self._ssthresh
        elif self._cwnd < self._ssthresh:
            self._cwnd += min(acknowledged, 2 * self._mss)
        else:
            self._cwnd += max(self._mss * self._mss // self._cwnd, 1)
        self._cwnd = min(self._cwnd, self._buffer_size)
        self._restart_timer(now)

    def _count_duplicate(self, now: float) -> None:
        """Take one more sign that a segment was lost and later ones arrived."""
        self._duplicates += 1
        if self._is_recovering:
            self._cwnd += self._mss
        elif self._duplicates == _DUPLICATE_ACKS:
            self._counters.fast_retransmits += 1
            self._is_recovering = True
            self._recover = self._snd_max
            self._ssthresh = self._half_flight()
            self._cwnd = self._ssthresh + _DUPLICATE_ACKS * self._mss
            self._retransmit_first()
            self._restart_timer(now)

    def _take_data(self, segment: Segment, sequence: int) -> None:
        """Pass on the payload that is next in order, as far as there is room, and keep what is early."""
        if self.state is not State.ESTABLISHED:
            self._is_ack_due = True
            return
        if segment.flags & FIN:
            self._fin_at = sequence + len(segment.payload)
        # Beyond the window nothing is kept, so what is early takes no more memory than what the window promised.
        end = self._rcv_nxt + self._room
        if sequence > self._rcv_nxt:
            self._counters.out_of_order += 1
            self._early.insert(sequence, segment.payload[: max(end - sequence, 0)])
            # This acknowledgment must go out by itself: only without data does the peer count it as a duplicate.
            self._send_ack()
            return
        self._is_ack_due = True
        self._deliver(segment.payload[self._rcv_nxt - sequence : end - sequence])
        if self._early:
            self._deliver(self._early.take(self._rcv_nxt))
        if self._rcv_nxt == self._fin_at:
            self._rcv_nxt += 1
            self.state = State.CLOSE_WAIT

    def _deliver(self, data: bytes) -> None:
        if data:
            self._rcv_nxt += len(data)
            self._counters.bytes_received += len(data)
            self._outgoing += self._service.receive(data)

    @property
    def _room(self) -> int:
        return max(self._buffer_size - len(self._outgoing), 0)

    @property
    def _scale(self) -> int:
        return _WINDOW_SCALE if self._is_scaling else 0

    def _window(self, scale: int) -> int:
        """Return the window in bytes as the field in the header can tell it."""
        return min(self._room >> scale, 0xFFFF) << scale

    # Sending

    def _produce(self) -> None:
        # Half of the buffer at most: the other half remains the peer's window.
        room = self._buffer_size // 2 - len(self._outgoing)
        if self.state is State.ESTABLISHED and room > 0:
            self._outgoing += self._service.produce(room)

    def _transmit(self, now: float) -> None:
        """Send what the windows of the peer and of congestion control allow."""
        window = min(self._cwnd, self._snd_wnd)
        while True:
            in_flight = self._snd_nxt - self._snd_una
            waiting = len(self._outgoing) - in_flight
            size = min(self._mss, waiting, window - in_flight)
            # No small segment only because the window is nearly used up (RFC 9293, section 3.8.6.2.1).
            if size <= 0 or (size < self._mss and size < waiting and in_flight):
                break
            self._emit_data(in_flight, size)
            self._note_sent(self._snd_nxt + size, now)
        # In LAST_ACK too: after a timeout the FIN is sent again.
        is_all_sent = self._snd_nxt == self._snd_una + len(self._outgoing)
        if is_all_sent and self.state in (State.CLOSE_WAIT, State.LAST_ACK):
            self._emit(FIN | ACK, self._snd_nxt)
            self._note_sent(self._snd_nxt + 1, now)
            self.state = State.LAST_ACK
        if self.timer is None and (self._outgoing or self._snd_nxt > self._snd_una) and self.state is not State.CLOSED:
            self.timer = now + self._rto

    def _note_sent(self, snd_nxt: int, now: float) -> None:
        if snd_nxt > self._snd_max:
            first_new = max(self._snd_max, self._snd_nxt)
            self._counters.bytes_sent += min(snd_nxt, self._snd_una + len(self._outgoing)) - first_new
            if self._timed is None and self._snd_nxt == self._snd_max:
                self._timed = (self._snd_nxt, now)
            self._snd_max = snd_nxt
        self._snd_nxt = snd_nxt

    def _emit_data(self, offset: int, size: int) -> None:
        flags = ACK | PSH if offset + size == len(self._outgoing) else ACK
        self._emit(flags, self._snd_una + offset, payload=bytes(self._outgoing[offset : offset + size]))

    def _retransmit_first(self) -> None:
        # An acknowledgment now could be for either transmission, so it must not be timed (Karn's algorithm, RFC 6298 section 3).
        self._timed = None
        if self._outgoing:
            self._emit_data(0, min(self._mss, len(self._outgoing)))
        elif self.state is State.LAST_ACK:
            self._emit(FIN | ACK, self._snd_una)

    def _send_syn_ack(self, now: float) -> None:
        scale = _WINDOW_SCALE if self._is_scaling else None
        self._emit(SYN | ACK, self._iss, options=SynOptions(self._own_mss, scale, self._is_sack_permitted).build())
        self.timer = now + self._rto

    def _send_ack(self) -> None:
        blocks = self._early.blocks(MAX_SACK_BLOCKS) if self._is_sack_permitted else []
        self._emit(ACK, self._snd_max, options=sack_option(blocks))

    def _emit(self, flags: int, sequence: int, *, options: bytes = b"", payload: bytes = b"") -> None:
        # The window of a SYN is never scaled (RFC 7323, section 2.2).
        scale = 0 if flags & SYN else self._scale
        window = self._window(scale)
        self._advertised = self._rcv_nxt + window
        self._is_ack_due = False
        acknowledgment = self._rcv_nxt if flags & ACK else 0
        frame = build_segment(
            self.path,
            self._ports,
            sequence=sequence,
            acknowledgment=acknowledgment,
            flags=flags,
            window=window >> scale,
            options=options,
            payload=payload,
        )
        self._send(frame)

    # Time

    def tick(self, now: float) -> None:
        """Retransmit or probe if that is due."""
        if self.timer is None or now < self.timer:
            return
        self._timed = None
        self._rto = min(self._rto * 2, _RTO_MAX)
        self.timer = now + self._rto
        if self.state is State.SYN_RECEIVED:
            self._count_timeout()
            if self.state is State.SYN_RECEIVED:
                self._send_syn_ack(now)
        elif self._snd_wnd == 0 and self._outgoing:
            # A byte beyond the window makes the peer tell its window (RFC 9293, section 3.8.6.1). It may answer for ever.
            self._emit_data(0, 1)
            self._snd_max = max(self._snd_max, self._snd_una + 1)
        else:
            self._count_timeout()
            if self.state is not State.CLOSED:
                self._go_back(now)

    def _count_timeout(self) -> None:
        self._counters.timeouts += 1
        self._timeouts_in_row += 1
        if self._timeouts_in_row > _MAX_TIMEOUTS:
            self.expire()

    def _go_back(self, now: float) -> None:
        """Start again from the oldest byte that was not acknowledged, slowly (RFC 5681, section 3.1)."""
        self._ssthresh = self._half_flight()
        self._cwnd = _INITIAL_SEGMENTS * self._mss
        self._is_recovering = False
        self._duplicates = 0
        self._snd_nxt = self._snd_una
        self._transmit(now)

    def expire(self) -> None:
        """Give the connection up and tell the peer."""
        self._counters.expired += 1
        self._emit(RST | ACK, self._snd_max)
        self._close()

    def _close(self) -> None:
        self.state = State.CLOSED
        self.timer = None
        self._outgoing.clear()
        self._early = Reassembly()

    def _half_flight(self) -> int:
        return max((self._snd_max - self._snd_una) // 2, _INITIAL_SEGMENTS * self._mss)

    def _restart_timer(self, now: float) -> None:
        self.timer = now + self._rto if self._snd_max > self._snd_una else None

    def _measure(self, rtt: float) -> None:
        """Take one round-trip time in seconds (RFC 6298, section 2)."""
        if self._srtt is None:
            self._srtt, self._rttvar = rtt, rtt / 2
        else:
            self._rttvar += (abs(self._srtt - rtt) - self._rttvar) / 4
            self._srtt += (rtt - self._srtt) / 8
        self._rto = self._measured_rto()

    def _measured_rto(self) -> float:
        # RFC 6298, section 5 would keep a doubled time-out until the next measurement. Progress is enough here: loss delays, not load.
        if self._srtt is None:
            return _RTO_INITIAL
        return min(max(self._srtt + 4 * self._rttvar, _RTO_MIN), _RTO_MAX)


def _unwrap(wire: int, near: int) -> int:
    """Return the number closest to `near` whose low 32 bits are `wire`."""
    return near + ((wire - near + 0x80000000) & 0xFFFFFFFF) - 0x80000000
