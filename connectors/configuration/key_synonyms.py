"""What other programs and manuals call the settings: a key that is written that way is taken for what was meant."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

_POLL: Final = ("poll", "sampling")
_PLACE: Final = ("at",)
_ENDPOINT: Final = ("endpoint", "brokers", "host")

SYNONYMS: Final = MappingProxyType(
    {
        "address": (*_PLACE, *_ENDPOINT),
        "broker": ("brokers",),
        "broker_url": ("brokers",),
        "byte_order": ("order",),
        "ca": ("ca_file", "authority"),
        "ca_cert": ("ca_file", "authority"),
        "cert": ("cert_file", "certificate"),
        "connection": _ENDPOINT,
        "cycle": _POLL,
        "cycle_time": _POLL,
        "data_directory": ("data_dir",),
        "data_type": ("type",),
        "datatype": ("type",),
        "device_id": ("unit_id", "name"),
        "endianness": ("order",),
        "engineering_unit": ("unit",),
        "expression": ("value",),
        "factor": ("scale",),
        "formula": ("value",),
        "gain": ("scale",),
        "host": _ENDPOINT,
        "id": ("unit_id", "name"),
        "interval": _POLL,
        "ip": _ENDPOINT,
        "ip_address": _ENDPOINT,
        "keepalive": ("keep_alive",),
        "multiplier": ("scale",),
        "node": _PLACE,
        "node_id": _PLACE,
        "nodeid": _PLACE,
        "period": _POLL,
        "poll": _POLL,
        "poll_interval": _POLL,
        "poll_rate": _POLL,
        "polling": _POLL,
        "polling_interval": _POLL,
        "polling_rate": _POLL,
        "port": _ENDPOINT,
        "private_key": ("key_file", "key"),
        "protocol": ("driver",),
        "refresh": _POLL,
        "register": _PLACE,
        "sample_rate": _POLL,
        "sampling": _POLL,
        "sampling_interval": _POLL,
        "sampling_rate": _POLL,
        "scan_rate": _POLL,
        "server": _ENDPOINT,
        "slave": ("unit_id",),
        "slave_id": ("unit_id",),
        "station": ("unit_id",),
        "unit_identifier": ("unit_id",),
        "update_rate": ("publishing", *_POLL),
        "url": _ENDPOINT,
        "urls": ("brokers",),
        "username": ("user",),
        "word_order": ("order",),
    }
)
"""By the other word: what it is called here, in this order of preference; only what is known at the place counts."""
