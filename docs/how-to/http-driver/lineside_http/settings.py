"""What a device file says of an HTTP device."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from connectors.model.datatypes import DataType
from connectors.ports.settings import DataTypeReader, DeviceSettings, Duration, TagSettings

POSSIBLE = (DataType.DOUBLE, DataType.INT64, DataType.BOOLEAN, DataType.STRING)
HttpDataType = Annotated[DataType, BeforeValidator(DataTypeReader(POSSIBLE), json_schema_input_type=str)]


class HttpTag(TagSettings):
    """A value in the JSON document: by a JSON pointer (RFC 6901)."""

    at: Annotated[str, Field(pattern=r"^(/.*)?$", description="JSON pointer, e.g. /oven/zones/0/temperature")]
    datatype: Annotated[HttpDataType, Field(alias="type")] = DataType.DOUBLE

    @property
    def unwritable_reason(self) -> str:
        """See ``TagSettings``."""
        return "an HTTP device is read only"


class HttpDevice(DeviceSettings):
    """One JSON document, asked for again and again."""

    driver: Literal["http"]
    endpoint: Annotated[str, Field(description="e.g. http://10.0.0.8/values.json")]
    poll_s: Annotated[Duration, Field(alias="poll", ge=0.05, le=3600)] = 1.0
    timeout_s: Annotated[Duration, Field(alias="timeout", ge=0.05, le=60)] = 2.0
    tags: Annotated[tuple[HttpTag, ...], Field(min_length=1)]

    @field_validator("endpoint")
    @classmethod
    def _http(cls, endpoint: str) -> str:
        if not endpoint.startswith(("http://", "https://")):
            raise ValueError(f"{endpoint!r} is not a web address; write http://host/path or https://host/path")
        return endpoint

    @property
    def is_insecure(self) -> bool:
        """See ``DeviceSettings``."""
        return not self.endpoint.startswith("https://")
