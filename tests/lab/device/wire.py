# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""C structures as the driver lays them out, declared by annotations.

    @wire
    class gdma_create_pd_req(Wire):
        flags: U32
        reserved: U32

Fields are little-endian and naturally aligned, as the "HW DATA" structures of the Linux driver are. ctypes does the work;
the annotations let a type checker know that a field is an int.
"""

from __future__ import annotations

import ctypes
from typing import Annotated, Any, Self, TypeVar, get_type_hints

U8 = Annotated[int, ctypes.c_uint8]
U16 = Annotated[int, ctypes.c_uint16]
U32 = Annotated[int, ctypes.c_uint32]
U64 = Annotated[int, ctypes.c_uint64]
Mac = Annotated[Any, ctypes.c_uint8 * 6]
HashKey = Annotated[Any, ctypes.c_uint8 * 40]


class ShortMessage(ValueError):
    """Fewer bytes than the structure has."""


class Wire(ctypes.LittleEndianStructure):
    """A structure in guest memory. Instances are copies: they never alias what the guest can still change."""

    @classmethod
    def parse(cls, data: bytes | bytearray | memoryview) -> Self:
        """The structure at the beginning of data; what follows it is left alone.

        :raises ShortMessage: data ends before the structure does
        """
        if len(data) < ctypes.sizeof(cls):
            raise ShortMessage(f"{cls.__name__} has {ctypes.sizeof(cls)} bytes, got {len(data)}")
        return cls.from_buffer_copy(data)

    @classmethod
    def size(cls) -> int:
        """Bytes of the structure, padding included."""
        return ctypes.sizeof(cls)


W = TypeVar("W", bound=type[Wire])


def wire(cls: W) -> W:
    """Class decorator: makes the annotated fields those of the structure, in their order."""
    own = cls.__dict__.get("__annotations__", {})
    hints = get_type_hints(cls, include_extras=True)
    cls._fields_ = [(name, hints[name].__metadata__[0]) for name in own]
    return cls
