# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""_vf_check, _traffic and _traffic_server: what is measured, from recorded counters and over real sockets of this host."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import typing as t

import pytest
import trees
from ansible_collections.accelnet.mana.plugins.module_utils import _answers, _facts, _traffic, _traffic_server, _vf_check
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.module_utils._traffic import Endpoint
from ansible_collections.accelnet.mana.plugins.module_utils._vf_check import Counters, Reading, Target, Window
from ansible_collections.accelnet.mana.plugins.modules import vf_check
from ansible_collections.accelnet.mana.plugins.plugin_utils import _compat
from ansible_collections.accelnet.mana.plugins.plugin_utils._assess import assess
from hypothesis import given
from hypothesis import strategies as st

MIB = 1 << 20
MAC = "00:22:48:71:c2:8c"
GUID = "00224871-c28c-0022-4871-c28c00224871"
ADDRESS = "7870:00:00.0"
TOKEN = "a token of the tests"


def a_host(*nets: dict[str, t.Any], vf: bool = True, master: str | None = "eth0", ethtool: bool = True, **values: int) -> dict[str, t.Any]:
    """The arguments of trees.facts for one NIC of Azure: hv_netvsc's eth0 and a MANA VF."""
    counted = {"rx_bytes": 1000, "tx_bytes": 2000, "vf_rx_bytes": 900, "vf_tx_bytes": 1900, "driver_rx": 500, "driver_tx": 600, **values}
    statistics = {"statistics/rx_bytes": counted["rx_bytes"], "statistics/tx_bytes": counted["tx_bytes"], "ifindex": 2}
    files = [trees.vmbus(GUID), trees.netdev("eth0", MAC, trees.vmbus_path(GUID), **statistics)]
    if vf:
        own = {"statistics/rx_bytes": counted["driver_rx"], "statistics/tx_bytes": counted["driver_tx"], "ifindex": values.get("index", 3)}
        parent = trees.pci_path(ADDRESS)
        files += [trees.pci(ADDRESS), trees.netdev("enP30832s1", MAC, parent, master=master, **own)]
    answers = {"netlink": {"addresses": {"eth0": ["10.0.0.4/24"]}, "default_routes": ["eth0"]}}
    if ethtool:
        answers["ethtool"] = {"eth0": {key: counted[key] for key in ("vf_rx_bytes", "vf_tx_bytes")}}
    return {"files": trees.merged(*files, *nets), **answers}


def nics_of(host: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    return trees.facts(host["files"], hardware=True, subset=["nics"], **{key: value for key, value in host.items() if key != "files"})[
        "nics"
    ]


def target_of(host: dict[str, t.Any]) -> Target:
    (target,), rows = _vf_check.choose(nics_of(host), [])
    assert rows == []
    return target


def counters_of(host: dict[str, t.Any], target: Target | None = None) -> Counters:
    answers = _answers.RecordedAnswers({key: value for key, value in host.items() if key != "files"})
    return Counters(trees.snapshot(host["files"]), answers, target or target_of(host))


# --- which NICs, which counters


def test_the_vf_is_counted_by_hv_netvsc() -> None:
    counters = counters_of(a_host())
    assert counters.source == "ethtool"
    assert counters.read() == Reading(1000, 2000, 900, 1900, (2, 3))


def test_without_its_answers_by_the_driver_of_the_vf() -> None:
    counters = counters_of(a_host(ethtool=False))
    assert counters.source == "sysfs"
    assert counters.read() == Reading(1000, 2000, 500, 600, (2, 3))


def test_a_nic_without_partner_is_its_vf() -> None:
    parent = trees.pci_path(ADDRESS)
    host = {"files": trees.merged(trees.pci(ADDRESS), trees.netdev("eth0", MAC, parent, ifindex=4))}
    counters = counters_of(host)
    assert counters.source == "interface"
    assert counters.read() == Reading(1000, 2000, 1000, 2000, (4, 4))


def test_an_answer_that_stops_coming_is_unknown_and_not_taken_from_elsewhere() -> None:
    host = a_host()
    answers = _answers.RecordedAnswers(host)
    counters = Counters(trees.snapshot(host["files"]), answers, target_of(host))
    host["ethtool"] = {}
    assert counters.source == "ethtool"
    assert counters.read() is None


def test_a_vf_that_is_gone_cannot_be_read() -> None:
    target = target_of(a_host())
    assert counters_of(a_host(vf=False), target).read() is None


@pytest.mark.parametrize(
    ("host", "words"),
    [(a_host(vf=False), "no virtual function"), (a_host(master=None), "not attached")],
    ids=["no VF", "VF not attached"],
)
def test_what_cannot_be_measured_is_said_only_of_nics_that_were_named(host: dict[str, t.Any], words: str) -> None:
    nics = nics_of(host)
    assert _vf_check.choose(nics, []) == ([], [])
    targets, (row,) = _vf_check.choose(nics, ["eth0"])
    assert targets == []
    assert (row["mac"], row["reason"], row["sample"]) == (MAC, "nic_not_measurable", None)
    assert words in row["message"]


@pytest.mark.parametrize("word", ["eth0", MAC, MAC.upper(), MAC.replace(":", "-")])
def test_a_nic_is_named_by_interface_or_mac(word: str) -> None:
    (target,), _rows = _vf_check.choose(nics_of(a_host()), [word, "eth0"])
    assert target == Target(MAC, "eth0", "enP30832s1", True, True, ["10.0.0.4"])


@pytest.mark.parametrize("word", ["eth9", "enP30832s1", "00:22:48:00:00:01"])
def test_a_nic_that_is_not_there(word: str) -> None:
    with pytest.raises(AccelnetError, match=r"eth0 \(00:22:48:71:c2:8c\)") as error:
        _vf_check.choose(nics_of(a_host()), [word])
    assert error.value.reason == "nic_not_found"


def test_a_nic_that_user_space_has_is_left_out() -> None:
    nic = {**nics_of(a_host())[0], "use": "userspace"}
    assert _vf_check.choose([nic], []) == ([], [])


# --- from readings to samples

BYTES = st.integers(0, 1 << 64)
STEPS = st.lists(st.tuples(BYTES, BYTES, BYTES, BYTES), min_size=1, max_size=6)


def readings_of(steps: list[tuple[int, int, int, int]]) -> list[Reading | None]:
    """Counters that start anywhere and only grow: by these steps."""
    totals = [0, 0, 0, 0]
    readings: list[Reading | None] = []
    for step in steps:
        totals = [total + more for total, more in zip(totals, step)]
        readings.append(Reading(*totals, (2, 3)))
    return readings


@given(STEPS)
def test_a_sample_is_what_was_added_after_the_first_reading(steps: list[tuple[int, int, int, int]]) -> None:
    sample = _vf_check.sample_of(MAC, readings_of(steps))
    expected = [sum(step[i] for step in steps[1:]) for i in range(4)]
    assert sample == {"mac": MAC, **dict(zip(("rx_bytes", "tx_bytes", "vf_rx_bytes", "vf_tx_bytes"), expected))}


@given(STEPS, st.data())
def test_a_counter_that_goes_back_tells_nothing(steps: list[tuple[int, int, int, int]], data: st.DataObject) -> None:
    readings = readings_of([*steps, (1, 1, 1, 1)])
    last = readings[-1]
    assert last is not None
    name = data.draw(st.sampled_from(Reading._fields[:4]))
    value = data.draw(st.integers(0, getattr(last, name) - 1))
    at = data.draw(st.integers(1, len(readings)))
    readings.insert(at, last._replace(**{name: value}) if at == len(readings) else readings[at - 1])
    if at != len(readings) - 1:
        readings.append(last._replace(**{name: value}))
    with pytest.raises(AccelnetError) as error:
        _vf_check.sample_of(MAC, readings)
    assert error.value.reason == "counters_unusable"


@given(STEPS, st.data(), st.sampled_from(["gone", "another"]))
def test_an_interface_that_went_tells_nothing(steps: list[tuple[int, int, int, int]], data: st.DataObject, how: str) -> None:
    readings = readings_of([(0, 0, 0, 0), *steps])
    last = readings[-1]
    assert last is not None
    readings[-1] = None if how == "gone" else last._replace(devices=(2, 9))
    with pytest.raises(AccelnetError) as error:
        _vf_check.sample_of(MAC, readings)
    assert error.value.reason == "counters_unusable"


def test_without_any_reading_nothing_is_told() -> None:
    with pytest.raises(AccelnetError):
        _vf_check.sample_of(MAC, [])


# --- the window, with a clock of its own


class Wire(_traffic.Load):
    """Traffic of so many bytes per second, of which the VF carries a share; also the clock."""

    def __init__(self, per_second: int, share: float, trouble_at: float | None = None) -> None:
        super().__init__()
        self.now = 100.0
        self.source = "ethtool"
        self.pumped: list[float] = []
        self.closed = False
        self.change: t.Callable[[Reading, float], Reading | None] = lambda reading, _now: reading
        self._per_second = per_second
        self._share = share
        self._trouble_at = trouble_at

    def pump(self, seconds: float) -> None:
        self.pumped.append(seconds)
        self.now += seconds
        if self._trouble_at is not None and self.now > self._trouble_at:
            raise AccelnetError("peer_unreachable", "broke off")

    def close(self) -> None:
        self.closed = True

    def read(self) -> Reading | None:
        count = int(self._per_second * (self.now - 100))
        part = int(count * self._share)
        return self.change(Reading(count, count, part, part, (2, 3)), self.now)

    def measure(self, window: Window = Window(1.0, 30.0, 64 * MIB)) -> dict[str, t.Any]:
        target = Target(MAC, "eth0", "enP1", True, True, [])
        return _vf_check.measure(target, self, lambda: self, window, lambda: self.now)  # type: ignore[arg-type]


def test_the_measurement_ends_when_there_is_enough() -> None:
    wire = Wire(32 * MIB, 1.0)
    row = wire.measure()
    assert wire.pumped == [1.0, 0.5, 0.5, 0.5, 0.5]
    assert (row["seconds"], row["sample"]["rx_bytes"], row["share"], row["reason"]) == (2.0, 64 * MIB, {"rx": 1.0, "tx": 1.0}, None)
    assert wire.closed


def test_what_was_before_the_window_does_not_count() -> None:
    wire = Wire(32 * MIB, 1.0)
    # In the first second all took the synthetic path.
    wire.change = lambda r, now: r._replace(vf_rx_bytes=r.vf_rx_bytes - 32 * MIB, vf_tx_bytes=r.vf_tx_bytes - 32 * MIB)
    assert wire.measure()["share"] == {"rx": 1.0, "tx": 1.0}


def test_it_ends_when_the_time_is_over() -> None:
    wire = Wire(1 * MIB, 0.5)
    row = wire.measure()
    assert sum(wire.pumped) == 31.0
    assert row["sample"]["rx_bytes"] == 30 * MIB
    assert row["share"] == {"rx": 0.5, "tx": 0.5}


def test_without_traffic_there_is_no_share() -> None:
    assert Wire(0, 1.0).measure()["share"] == {"rx": None, "tx": None}


def test_a_load_that_breaks_off_leaves_what_was_measured_before() -> None:
    wire = Wire(MIB, 1.0, trouble_at=105.0)
    row = wire.measure()
    assert (row["reason"], row["message"]) == ("peer_unreachable", "broke off")
    assert row["sample"]["rx_bytes"] == 4 * MIB
    assert wire.closed


def test_a_load_that_cannot_be_opened() -> None:
    def refused() -> _traffic.Load:
        raise AccelnetError("peer_unreachable", "refused")

    target = Target(MAC, "eth0", "enP1", True, True, [])
    row = _vf_check.measure(target, Wire(0, 0), refused, Window(1, 1, 1))  # type: ignore[arg-type]
    assert (row["reason"], row["sample"], row["seconds"]) == ("peer_unreachable", None, None)


def test_a_vf_that_goes_ends_the_measurement_and_proves_nothing() -> None:
    wire = Wire(MIB, 1.0)
    wire.change = lambda reading, now: None if now > 103 else reading
    row = wire.measure()
    assert (row["reason"], row["sample"]) == ("counters_unusable", None)
    assert sum(wire.pumped) == 3.5
    assert wire.closed


@given(st.integers(0, 200 * MIB), st.floats(0, 1), st.integers(1, 100 * MIB))
def test_samples_are_what_assess_takes(per_second: int, share: float, min_bytes: int) -> None:
    row = Wire(per_second, share).measure(Window(1.0, 5.0, min_bytes))
    facts = {"schema_version": 1, "nics": nics_of(a_host()), "pci_functions": [], "vmbus_devices": []}
    (verdict,) = assess(facts, [row["sample"]])
    least, good = _compat.limit("vf_min_bytes"), _compat.limit("vf_share")
    sample = row["sample"]
    if sample["rx_bytes"] < least:
        assert verdict["proven"] is None
    else:
        assert verdict["proven"] is (sample["vf_rx_bytes"] / sample["rx_bytes"] >= good)


def test_the_default_of_min_bytes_is_what_assess_asks_for() -> None:
    assert f"default: {_compat.limit('vf_min_bytes')}\n" in vf_check.DOCUMENTATION


def test_a_measurement_ends_by_force_and_nothing_swallows_that() -> None:
    reader, writer = socket.socketpair()
    with reader, writer, pytest.raises(AccelnetError) as error, _vf_check.time_limit(0.05), contextlib.suppress(OSError, AccelnetError):
        reader.recv(1)
    assert error.value.reason == "measurement_timeout"


# --- real connections


@contextlib.contextmanager
def running(server: _traffic_server.Server, seconds: float = 60) -> t.Iterator[threading.Thread]:
    thread = threading.Thread(target=server.run, args=(seconds,))
    thread.start()
    try:
        yield thread
    finally:
        _traffic.end_peer(Endpoint("127.0.0.1", server.port, None, []), TOKEN)
        thread.join(60)
        assert not thread.is_alive()


def a_server() -> _traffic_server.Server:
    return _traffic_server.Server("127.0.0.1", 0, TOKEN)


def test_a_source_sends_and_a_sink_takes() -> None:
    server = a_server()
    end = Endpoint("127.0.0.1", server.port, None, [])
    with running(server):
        source, bound = _traffic.command(end, TOKEN, "source")
        sink, _bound = _traffic.command(end, TOKEN, "sink")
        with source, sink:
            assert bound == "routes"
            sink.sendall(bytes(8 * MIB))
            left = 8 * MIB
            while left > 0:
                left -= len(source.recv(1 << 18))


def test_open_peer_moves_bytes_both_ways() -> None:
    server = a_server()
    with running(server):
        load = _traffic.open_peer(Endpoint("127.0.0.1", server.port, None, []), TOKEN)
        try:
            sink, source = load._connections
            assert load._senders == [sink]
            load.pump(0.2)
            sink.setblocking(True)
            sink.sendall(b"x")  # the server still takes what is sent
            source.setblocking(True)
            assert source.recv(1)
        finally:
            load.close()


def test_an_echo_service_that_is_slow_does_not_block_both_ends() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    echoed = []

    def echo() -> None:
        connection = listener.accept()[0]
        with connection, contextlib.suppress(OSError):
            while True:
                part = connection.recv(1 << 12)
                if not part:
                    return
                connection.sendall(part)
                echoed.append(len(part))

    thread = threading.Thread(target=echo)
    thread.start()
    with listener:
        load = _traffic.open_echo(Endpoint("127.0.0.1", listener.getsockname()[1], None, []))
        while sum(echoed) < 16 * MIB:
            load.pump(0.05)
        load.close()
        thread.join(60)
    assert not thread.is_alive()


@pytest.mark.parametrize("line", [b"", b"garbage\n", b"00 sink\n", b"x" * 500, b"\xff\xfe sink\n", b"a b c\n", None])
def test_who_does_not_know_the_token_is_not_served(line: bytes | None) -> None:
    server = a_server()
    with running(server), socket.create_connection(("127.0.0.1", server.port), timeout=60) as stranger:
        assert len(stranger.recv(33, socket.MSG_WAITALL)) == 33
        if line is None:
            # The right proof, for another nonce: what was overheard is of no use.
            line = f"{_traffic.proof(TOKEN, '0' * 32, 'source')} source\n".encode()
        if line:
            stranger.sendall(line)
        else:
            stranger.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            assert stranger.recv(1) == b""


def test_a_wrong_token_is_said() -> None:
    server = a_server()
    with running(server), pytest.raises(AccelnetError, match="is the token the right one") as error:
        _traffic.open_peer(Endpoint("127.0.0.1", server.port, None, []), "another token of ours")
    assert error.value.reason == "peer_unreachable"


def test_who_stays_silent_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_traffic_server, "_LOGIN_LIMIT", 0.05)
    server = a_server()
    with running(server), socket.create_connection(("127.0.0.1", server.port), timeout=60) as stranger:
        assert len(stranger.recv(33, socket.MSG_WAITALL)) == 33
        assert stranger.recv(1) == b""


def test_strangers_do_not_keep_a_client_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_traffic_server, "_LOGIN_LIMIT", 0.2)
    server = a_server()
    with running(server), contextlib.ExitStack() as stack:
        for _number in range(_traffic_server._MOST + 4):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60))
        load = _traffic.open_peer(Endpoint("127.0.0.1", server.port, None, []), TOKEN)
        load.pump(0.01)
        load.close()


def test_the_server_ends_when_its_time_is_over() -> None:
    server = a_server()
    thread = threading.Thread(target=server.run, args=(0.05,))
    thread.start()
    with socket.create_connection(("127.0.0.1", server.port), timeout=60):
        thread.join(60)
    assert not thread.is_alive()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", server.port), timeout=60)


def test_a_server_that_is_left_ends_with_the_measurement() -> None:
    server = a_server()
    end = Endpoint("127.0.0.1", server.port, None, [])
    pid = _traffic_server.leave(server, 60)
    _traffic.open_peer(end, TOKEN).close()
    _traffic.end_peer(end, TOKEN)
    assert os.waitpid(pid, 0) == (pid, 0)


def test_a_server_that_is_left_ends_by_itself() -> None:
    pid = _traffic_server.leave(a_server(), 1)
    assert os.waitpid(pid, 0) == (pid, 0)


def test_it_cannot_listen_where_somebody_does() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(AccelnetError) as error:
        _traffic_server.Server("127.0.0.1", other.getsockname()[1], TOKEN)
    assert error.value.reason == "bad_load"


def test_the_traffic_is_led_through_the_nic() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        connection, bound = _traffic.connect(Endpoint("127.0.0.1", port, "lo", ["fe80::1", "127.0.0.5"]))
        with connection, listener.accept()[0] as accepted:
            assert accepted.getpeername()[0] == "127.0.0.5"
            # Kernels before 5.7 let only root choose a device.
            assert bound == "device" or os.geteuid() != 0
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).startswith(b"lo" if bound == "device" else b"")
        with pytest.raises(AccelnetError):
            _traffic.connect(Endpoint("127.0.0.1", port, "no-such-device", ["127.0.0.5"]))


def test_who_may_not_choose_a_device_chooses_an_address() -> None:
    class Plain(socket.socket):
        def setsockopt(self, *_: t.Any) -> None:
            raise PermissionError

    with Plain(socket.AF_INET, socket.SOCK_STREAM) as connection:
        assert _traffic._bind(connection, socket.AF_INET, Endpoint("127.0.0.1", 1, "lo", ["127.0.0.5"])) == "address"
        assert connection.getsockname()[0] == "127.0.0.5"


def test_a_member_of_a_bond_has_no_address_to_be_bound_to() -> None:
    with socket.socket() as connection:
        assert _traffic._bind(connection, socket.AF_INET, Endpoint("127.0.0.1", 1, "eth0", [])) == "routes"


@pytest.mark.parametrize("address", ["127.0.0.1", "no such name.invalid"])
def test_a_peer_that_does_not_listen(address: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(AccelnetError) as error:
        _traffic.connect(Endpoint(address, port, "eth0", []))
    assert error.value.reason == "peer_unreachable"
    assert "through eth0" in error.value.message


def test_an_echo_service_that_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        load = _traffic.open_echo(Endpoint("127.0.0.1", listener.getsockname()[1], None, []))
        listener.accept()[0].close()
        with pytest.raises(AccelnetError) as error:
            load.pump(60)
        load.close()
    assert error.value.reason == "peer_unreachable"


@pytest.mark.parametrize(("family", "expected"), [(socket.AF_INET, "10.0.0.4"), (socket.AF_INET6, "fd00::4")], ids=["IPv4", "IPv6"])
def test_the_source_is_of_the_peers_family_and_not_link_local(family: int, expected: str) -> None:
    assert _traffic.source_for(family, ["fe80::1", "fd00::4", "10.0.0.4", "10.0.0.5"]) == expected
    assert _traffic.source_for(family, ["fe80::1"]) is None


# --- options of the module

PARAMS = {
    "nics": [], "load": "watch", "peer": None, "peer_port": 7, "duration": 30, "discard": 1, "min_bytes": 64 * MIB,
    "serve": False, "listen": None, "listen_port": 0, "timeout": 300, "token": None,
}  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        {"duration": 0},
        {"duration": 601},
        {"discard": -1},
        {"min_bytes": 0},
        {"peer_port": 0},
        {"listen_port": 65536},
        {"timeout": 0},
        {"token": "short"},
    ],
    ids=str,
)
def test_values_that_cannot_be(wrong: dict[str, t.Any]) -> None:
    vf_check.check(PARAMS)
    with pytest.raises(AccelnetError) as error:
        vf_check.check({**PARAMS, **wrong})
    assert error.value.reason == "bad_load"


def test_check_mode_serves_nobody() -> None:
    assert vf_check.serve({**PARAMS, "listen": "127.0.0.1"}, True) == {"would": ["serve at 127.0.0.1, port any, for 300 s at most"]}


def test_check_mode_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    host = a_host()
    tree, answers = trees.snapshot(host["files"]), _answers.RecordedAnswers(host)
    monkeypatch.setattr(_facts, "open_tree", lambda root: (tree, answers, False))
    monkeypatch.setattr(_traffic, "connect", lambda *_: pytest.fail("it connected"))
    found = vf_check.measure({**PARAMS, "load": "echo", "peer": "10.0.0.9"}, True)
    assert found == {"would": ["send to and receive from 10.0.0.9, port 7, through eth0 for 30 s at most"]}
