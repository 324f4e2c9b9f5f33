"""A command as people and programs ask for it."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from connectors.commands.envelope import TEXT_MAX, Action, Ulid

EXPIRES_S_MAX: Final = 30 * 86_400


class CommandRequest(BaseModel):
    """A command as it is asked for. It is not done later than ``expires_s`` from now, whatever happens."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        json_schema_extra={
            "examples": [
                {
                    "agent": "plant-7/line-3",
                    "action": {"do": "write", "device": "press", "tag": "setpoint", "value": 120.5},
                    "reason": "new recipe",
                    "precondition": "press/state == idle",
                    "expires_s": 60,
                },
                {"agent": "plant-7/line-3", "action": {"do": "restart"}, "reason": "new certificate"},
                {"agent": "plant-7/line-3", "action": {"do": "rebirth"}},
                {
                    "agent": "plant-7/line-3",
                    "action": {"do": "log_level", "level": "debug", "for_s": 600},
                    "reason": "the oven is lost now and then",
                },
                {
                    "agent": "plant-7/line-3",
                    "action": {
                        "do": "apply_file",
                        "name": "devices/oven.yaml",
                        "content": "devices:\n- name: oven\n  driver: modbus\n  endpoint: tcp://10.0.0.5:502\n  tags:\n"
                        "  - {name: zone1, at: holding 100}\n",
                        "replaces": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                        "health_s": 60,
                    },
                    "reason": "the oven's new address",
                    "expires_s": 3600,
                },
            ]
        },
    )

    agent: Annotated[str, Field(pattern=r"^[^/]+/[^/]+$", max_length=511, description="group/name")]
    action: Action
    reason: Annotated[str, Field(max_length=TEXT_MAX)] = ""
    correlation: Annotated[str, Field(max_length=255, description="An id of your own")] = ""
    precondition: Annotated[
        str, Field(max_length=TEXT_MAX, description="A condition on tags of the agent that has to hold")
    ] = ""
    stage: Annotated[
        Literal["execute", "arm"], Field(description="arm: prepare it only; then execute it, with 'armed'")
    ] = "execute"
    armed: Annotated[Ulid | None, Field(description="The command that has armed this one")] = None
    expires_s: Annotated[float, Field(ge=1, le=EXPIRES_S_MAX)] = 60.0
    approval: Annotated[bool, Field(description="Wait for the approval of a second person in any case")] = False
    plain: Annotated[
        bool,
        Field(description="For a node of another maker: sent once, unsigned; what became of it remains unknown"),
    ] = False
