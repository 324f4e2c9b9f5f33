"""A small Modbus/TCP unit for demos and tests: values at the addresses of a device file, set from code.

Not for a machine: whoever reaches it can read everything, and write the coils and the holding registers.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType as CellType
from pymodbus.simulator import SimData, SimDevice

from connectors.modbus.plan import READ_FUNCTIONS
from connectors.modbus.settings import ModbusTag, Table
from connectors.model.datatypes import DataType, dtype_of

_FORMATS: Final = {
    DataType.INT16: ">h",
    DataType.UINT16: ">H",
    DataType.INT32: ">i",
    DataType.UINT32: ">I",
    DataType.INT64: ">q",
    DataType.UINT64: ">Q",
    DataType.FLOAT: ">f",
    DataType.DOUBLE: ">d",
}
