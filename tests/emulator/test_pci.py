# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration space, looked at as an operating system does when it enumerates the bus."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.device.pci import ConfigSpace

BAR0_SIZE = 0x1_0000_0000  # 4 GiB: the size does not fit in the lower half
BAR4_SIZE = 0x2000
VECTORS = 33


def make() -> ConfigSpace:
    return ConfigSpace({0: BAR0_SIZE, 4: BAR4_SIZE}, msix_vectors=VECTORS, msix_table=(4, 0), msix_pba=(4, 0x1000))


def get(config: ConfigSpace, offset: int, size: int) -> int:
    return int.from_bytes(config.read(offset, size), "little")


def put(config: ConfigSpace, offset: int, size: int, value: int) -> None:
    config.write(offset, value.to_bytes(size, "little"))


def test_identity() -> None:
    config = make()
    assert config.read(0, 4) == bytes.fromhex("1414ba00")
    assert get(config, 0x0B, 1) == 0x02  # network controller
    assert get(config, 0x0A, 1) == 0x00  # Ethernet
    assert get(config, 0x09, 1) == 0x00
    assert get(config, 0x0E, 1) == 0  # type 0, one function
    assert get(config, 0x3D, 1) == 0  # no INTx pin
    assert get(config, 0x30, 4) == 0  # no ROM


def test_subsystem() -> None:
    config = ConfigSpace({0: 0x1000}, msix_vectors=1, msix_table=(0, 0), msix_pba=(0, 0x800), subsystem_vendor=0x1234, subsystem=0x5678)
    assert config.read(0x2C, 4) == bytes.fromhex("34127856")


@pytest.mark.parametrize(("index", "size"), [(0, BAR0_SIZE), (4, BAR4_SIZE)])
def test_bar_sizing(index: int, size: int) -> None:
    config = make()
    low, high = 0x10 + 4 * index, 0x14 + 4 * index
    assert get(config, low, 4) == 0x4  # memory, 64 bits, not prefetchable
    put(config, low, 4, 0xFFFFFFFF)
    put(config, high, 4, 0xFFFFFFFF)
    mask = get(config, low, 4) | get(config, high, 4) << 32
    assert mask & 0xF == 0x4
    assert (~(mask & ~0xF) & (1 << 64) - 1) + 1 == size
    put(config, low, 4, 0xE000_0000 & -size & 0xFFFF_FFFF)
    put(config, high, 4, 0x12)
    assert config.bar_address(index) == (0x12 << 32 | 0xE000_0000) & -size


def test_unused_bars_are_zero_and_stay_so() -> None:
    config = make()
    for offset in (0x18, 0x1C):
        put(config, offset, 4, 0xFFFFFFFF)
        assert get(config, offset, 4) == 0


def test_command_register() -> None:
    config = make()
    assert get(config, 4, 2) == 0 and not config.bus_master
    put(config, 4, 2, 0xFFFF)
    assert get(config, 4, 2) == 0x0002 | 0x0004 | 0x0040 | 0x0100 | 0x0400
    assert config.bus_master
    put(config, 4, 2, 0x0002)
    assert get(config, 4, 2) == 0x0002 and not config.bus_master
    put(config, 6, 2, 0xFFFF)
    assert get(config, 6, 2) == 0x10  # status: a capability list


def test_the_capability_list_has_msix_only() -> None:
    config = make()
    position = get(config, 0x34, 1)
    assert position >= 0x40 and position % 4 == 0
    assert get(config, position, 1) == 0x11
    assert get(config, position + 1, 1) == 0
    assert (get(config, position + 2, 2) & 0x7FF) + 1 == VECTORS
    assert get(config, position + 4, 4) == 0x0 | 4
    assert get(config, position + 8, 4) == 0x1000 | 4


def test_msix_control() -> None:
    config = make()
    control = get(config, 0x34, 1) + 2
    assert not config.msix_enabled
    put(config, control, 2, 0xFFFF)
    assert get(config, control, 2) == 0xC000 | VECTORS - 1
    assert config.msix_enabled
    put(config, control, 2, 0)
    assert get(config, control, 2) == VECTORS - 1
    assert not config.msix_enabled


def test_reset() -> None:
    config = make()
    before = config.read(0, 256)
    config.write(0, b"\xff" * 256)
    assert config.read(0, 256) != before
    config.reset()
    assert config.read(0, 256) == before


@given(st.integers(-300, 300), st.integers(0, 300))
def test_access_in_any_size_and_alignment(offset: int, size: int) -> None:
    config = make()
    if 0 <= offset and offset + size <= 256:
        assert config.read(offset, size) == config.read(0, 256)[offset : offset + size]
        config.write(offset, b"\xff" * size)
    else:
        with pytest.raises(ValueError):
            config.read(offset, size)
        with pytest.raises(ValueError):
            config.write(offset, b"\xff" * size)


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=16))))
def test_no_write_changes_what_is_hard_wired(writes: list[tuple[int, bytes]]) -> None:
    config, full = make(), make()
    zeros, ones = make(), full
    zeros.write(0, bytes(256))
    ones.write(0, b"\xff" * 256)
    for offset, data in writes:
        config.write(offset, data[: 256 - offset])
    for now, zero, one in zip(config.read(0, 256), zeros.read(0, 256), ones.read(0, 256)):
        writable = zero ^ one
        assert now & ~writable == zero & ~writable


@pytest.mark.parametrize(
    ("bars", "vectors", "table", "pba"),
    [
        ({0: 0x1001}, 1, (0, 0), (0, 0x800)),
        ({0: 8}, 1, (0, 0), (0, 0)),
        ({5: 0x1000}, 1, (5, 0), (5, 0x800)),
        ({0: 0x1000, 1: 0x1000}, 1, (0, 0), (0, 0x800)),
        ({0: 0x1000}, 0, (0, 0), (0, 0x800)),
        ({0: 0x10000}, 2049, (0, 0), (0, 0x8800)),
        ({0: 0x1000}, 1, (2, 0), (0, 0x800)),
        ({0: 0x1000}, 257, (0, 0), (0, 0x800)),
        ({0: 0x1000}, 1, (0, 4), (0, 0x800)),
        ({0: 0x1000}, 65, (0, 0), (0, 0xFF8)),
    ],
)
def test_impossible_functions_are_refused(bars: dict[int, int], vectors: int, table: tuple[int, int], pba: tuple[int, int]) -> None:
    with pytest.raises(ValueError):
        ConfigSpace(bars, msix_vectors=vectors, msix_table=table, msix_pba=pba)
