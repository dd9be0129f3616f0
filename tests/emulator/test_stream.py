# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages out of a stream: cut anywhere, glued together, with descriptors that belong to one of them."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab.device.stream import MAX_MESSAGE_SIZE, MAX_MSG_FDS, MessageStream, StreamError


def message(msg_id: int, payload: bytes = b"") -> bytes:
    return struct.pack("<HHIII", msg_id, 4, 16 + len(payload), 0, 0) + payload


def fd_count() -> int:
    return len(os.listdir("/proc/self/fd"))


def is_same(fd: int, other: int) -> bool:
    return os.fstat(fd).st_ino == os.fstat(other).st_ino


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, MessageStream]]:
    """A client's socket, and the server's stream at its other end."""
    client, server = socket.socketpair()
    client.settimeout(20)  # a test that waits for nothing fails
    stream = MessageStream(server)
    yield client, stream
    stream.close()
    client.close()


Pair = tuple[socket.socket, MessageStream]


def test_a_message_behind_a_part_of_another(pair: Pair) -> None:
    client, stream = pair
    first, second, third = message(1, b"a" * 100), message(2, b"b" * 200), message(3, b"c" * 300)
    client.send(first + second[:50])
    stream.fill()
    got = stream.next_message()
    assert got and (got.msg_id, bytes(got.payload)) == (1, b"a" * 100)
    assert stream.next_message() is None
    client.send(second[50:] + third[:7])
    stream.fill()
    got = stream.next_message()
    assert got and (got.msg_id, bytes(got.payload)) == (2, b"b" * 200)
    assert stream.next_message() is None
    client.send(third[7:])
    stream.fill()
    got = stream.next_message()
    assert got and (got.msg_id, bytes(got.payload)) == (3, b"c" * 300)
    assert stream.next_message() is None


def test_descriptors_between_messages_without_any(pair: Pair) -> None:
    client, stream = pair
    files = [os.memfd_create(str(number), os.MFD_CLOEXEC) for number in range(2)]
    before = fd_count()
    client.send(message(1))
    socket.send_fds(client, [message(2)], files[:1])
    client.send(message(3))
    socket.send_fds(client, [message(4)[:3]], files[1:])
    client.send(message(4)[3:] + message(5))
    seen: dict[int, list[int]] = {}
    while len(seen) < 5:
        stream.fill()
        while got := stream.next_message():
            seen[got.msg_id] = got.fds
    assert {number: len(fds) for number, fds in seen.items()} == {1: 0, 2: 1, 3: 0, 4: 1, 5: 0}
    assert is_same(seen[2][0], files[0]) and is_same(seen[4][0], files[1])
    assert fd_count() == before + 2
    for fd in seen[2] + seen[4] + files:
        os.close(fd)


def test_received_descriptors_are_not_inherited(pair: Pair) -> None:
    client, stream = pair
    with open("/dev/null") as file:
        socket.send_fds(client, [message(1)], [file.fileno()])
    stream.fill()
    got = stream.next_message()
    assert got and not os.get_inheritable(got.fds[0])
    got.close_fds()
    assert got.fds == []


def test_descriptors_of_an_endless_message_are_bounded(pair: Pair) -> None:
    client, stream = pair
    before = fd_count()
    with open("/dev/null") as file:
        for byte in message(1, b"x" * 30)[:-1]:
            socket.send_fds(client, [bytes([byte])], [file.fileno()] * 10)
            stream.fill()
            assert stream.next_message() is None
            assert fd_count() <= before + 1 + MAX_MSG_FDS
    client.send(b"x" + message(2))
    stream.fill()
    got = stream.next_message()
    assert got and got.fds_lost and len(got.fds) == MAX_MSG_FDS
    got.close_fds()
    got = stream.next_message()
    assert got and not got.fds_lost and not got.fds
    assert fd_count() == before


def test_close_closes_what_was_not_handed_out(pair: Pair) -> None:
    client, stream = pair
    before = fd_count()
    with open("/dev/null") as file:
        socket.send_fds(client, [message(1)[:5]], [file.fileno()])
        stream.fill()
        assert stream.next_message() is None
        socket.send_fds(client, [message(1)[5:]], [file.fileno()])
        stream.fill()
    assert fd_count() == before + 2
    stream.close()
    assert fd_count() == before - 1


def test_the_largest_message(pair: Pair) -> None:
    client, stream = pair
    data = os.urandom(MAX_MESSAGE_SIZE - 16)
    client.setblocking(False)
    unsent = message(1) + message(2, data)
    got = None
    while got is None or got.msg_id == 1:
        if unsent:
            unsent = unsent[client.send(unsent) :]
        stream.fill()
        got = stream.next_message() or got
        if got and got.msg_id == 1:
            got = stream.next_message()
    assert got.payload == data


@pytest.mark.parametrize("header", [(15, 0), (MAX_MESSAGE_SIZE + 1, 0), (16, 1)])
def test_what_cannot_be_a_message(pair: Pair, header: tuple[int, int]) -> None:
    client, stream = pair
    client.send(message(1) + struct.pack("<HHIII", 2, 4, *header, 0))
    stream.fill()
    assert stream.next_message()
    with pytest.raises(StreamError):
        stream.next_message()


def test_the_end(pair: Pair) -> None:
    client, stream = pair
    client.send(message(1))
    client.close()
    stream.fill()
    assert stream.next_message()
    with pytest.raises(StreamError, match="closed"):
        stream.fill()


def test_what_the_socket_does_not_take_is_kept_in_order(pair: Pair) -> None:
    client, stream = pair
    sent = b""
    while not stream.blocked:
        sent += (part := os.urandom(50000))
        stream.send(part)
    for _ in range(3):
        sent += (part := os.urandom(200000))
        stream.send(part)
    # Now the socket could take this one, but others are waiting.
    received = client.recv(100000)
    sent += b"middle"
    stream.send(b"middle")
    while len(received) < len(sent):
        if stream.blocked:
            stream.flush()
        received += client.recv(30000)
    assert received == sent
    assert not stream.blocked


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 80), st.integers(0, 2)), min_size=1, max_size=12), st.data())
def test_any_cut_gives_the_same_messages(shapes: list[tuple[int, int]], data: st.DataObject) -> None:
    """As the protocol wants it, a message's descriptors go with its first byte. How the rest is cut does not matter."""
    before = fd_count()
    client, server = socket.socketpair()
    client.settimeout(20)
    stream = MessageStream(server)
    file = os.memfd_create("sent", os.MFD_CLOEXEC)
    got: list[tuple[int, int, int]] = []

    def take() -> None:
        while received := stream.next_message():
            got.append((received.msg_id, len(received.payload), len(received.fds)))
            received.close_fds()

    for msg_id, (size, fds) in enumerate(shapes):
        raw = message(msg_id, bytes(size))
        cut = data.draw(st.integers(1, len(raw)))
        socket.send_fds(client, [raw[:cut]], [file] * fds)
        if data.draw(st.booleans()):
            stream.fill()
            take()
        if raw[cut:]:
            client.send(raw[cut:])
    while len(got) < len(shapes):
        stream.fill()
        take()
    assert got == [(msg_id, size, fds) for msg_id, (size, fds) in enumerate(shapes)]
    stream.close()
    client.close()
    os.close(file)
    assert fd_count() == before
