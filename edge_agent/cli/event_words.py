"""Events of the agent in plain words, one line each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from edge_agent.cli.words import value_text

LEVELS: Final = ("debug", "info", "warning", "error")
WORDS: Final = {
    "agent_started": "{agent} has started: lineside {version}, {devices} device(s) with {tags} tag(s)",
    "agent_stopping": "the agent is asked to stop ({signal})",
    "agent_stopped": "the agent has stopped; not on disk yet: {samples_lost} sample(s)",
    "socket_unavailable": "the socket {path} cannot be made, and commands at this box do not work: {reason}",
    "metrics_unavailable": "metrics cannot be served at {address}: {reason}",
    "configuration_reloaded": "changed files are in use ({by})",
    "configuration_not_reloaded": "changed files cannot be used, the agent goes on with what it had: {first}",
    "configuration_out_of_sync": "changed, and not in use: {files}; 'edge-agent reload' uses what is there",
    "configuration_in_sync": "the files say again what the agent runs with",
    "fault": "a defect in {task}, which is started again: {error}",
    "device_connected": "{device} is connected: {tags} tag(s) known, {problems} with a problem",
    "device_lost": "{device} is away, next attempt in {retry_s} s: {reason}",
    "device_session": "{device}: after the lost connection its session is {how}{detail}",
    "device_ended": "{device} is not read any more as it was: the configuration has changed",
    "device_reached": "{device} is reached at {endpoint}",
    "certificate_ending": "{reason}",
    "tag_refused": "{device}/{tag} gives no values: {reason}",
    "tag_doubted": "{device}/{tag}: {reason}",
    "clock_set": "the clock of this box was set by {seconds} s",
    "history_read": "{device}: its history has given {samples} sample(s) of the outage",
    "history_cut_off": "{device}: its history was cut off after {samples} sample(s); the next connection reads on",
    "outbox_blocked": "THE DISK TAKES NOTHING, {samples_waiting} sample(s) in memory: {reason}",
    "outbox_recovered": "the disk takes samples again",
    "outbox_not_opened": "the outbox cannot be opened, next attempt in {retry_s} s: {reason}",
    "outbox_opened_again": "the outbox was opened anew: {reason}",
    "outbox_failed": "the outbox is damaged, {samples_lost} sample(s) lost: {reason}",
    "outbox_salvaged": "a damaged outbox was salvaged ({samples} sample(s) kept, {gone} batch(es) gone): {reason}",
    "samples_given_up": "{samples} sample(s) of {device} gave way ({reason}): {detail}",
    "uplink_online": "delivering to {broker}",
    "uplink_waiting": "connected to {broker}, waiting for the host {host}",
    "host_state_changed": "the host {host} is {online}",
    "uplink_lost": "no delivery by {broker}, next attempt in {retry_s} s: {reason}",
    "clock_differs": "the clock of this box is {error_s} s off the host's",
    "clock_agrees": "the clock of this box agrees with the host's again",
    "acknowledgements_missing": "not acknowledged: {batches} batch(es), the oldest for {oldest_s} s",
    "batch_refused": "the cloud refuses batch {batch}: {reason}",
    "device_unborn": "nothing of {device} can be sent: {reason}",
    "message_refused": "a message on {topic} cannot be followed: {reason}",
    "command_ended": "command {id} to {target}: {state}{code}{detail} (by {actor})",
    "command_not_taken": "a command on {topic} was not taken ({code}): {detail}",
    "trusted_keys_read": "{keys} key(s) of the cloud trusted",
    "journal_blocked": "NO COMMAND IS DONE, the command journal cannot be written: {reason}",
    "journal_recovered": "the command journal can be written again",
    "device_file_kept": "{name}: version {version} is good, and in use",
    "device_file_rolled_back": "{name}: version {version} was not good, the file is as before: {reason}",
    "line_locked": "{line} is locked by {actor}: {reason}",
    "line_unlocked": "{line} is unlocked by {actor}",
}
"""What an operator meets; of any other event its name and its fields are shown."""
_COUNTED: Final = re.compile(r"(\{(\w+)\} \w+)\((e?s)\)")
"""What is counted: without its ending where there is one of it."""
_REASONS: Final = {"code": " ({})", "detail": ": {}"}
_SESSIONS: Final = {
    "resumed": "resumed",
    "transferred": "another, with its subscriptions taken over",
    "anew": "made anew",
}
_HEAD: Final = frozenset({"event", "level", "timestamp", "number", "time_ns", "traceback"})


def words_of(event: Mapping[str, Any]) -> str:
    """``event`` (a log line, or what the agent answers) as a sentence in one line."""
    template = WORDS.get(str(event.get("event")))
    values = {name: value_text(value) for name, value in event.items() if name not in _HEAD}
    if event.get("event") == "device_session":
        values["how"] = _SESSIONS.get(values.get("how", ""), values.get("how", ""))
    if event.get("event") in ("command_ended", "device_session"):  # most of them have neither
        values |= {name: form.format(values[name]) for name, form in _REASONS.items() if values.get(name)}
    if event.get("event") == "host_state_changed":
        values["online"] = "online" if event.get("online") is True else "offline"
    if template is not None:
        template = _COUNTED.sub(lambda found: found[1] + ("" if values.get(found[2]) == "1" else found[3]), template)
        try:
            return " ".join(template.format_map(values).split())
        except KeyError:
            pass  # a log line of an earlier or a later version: its fields, as they are
    named = ", ".join(f"{name}: {value}" for name, value in values.items())
    said = str(event.get("event", "?")).replace("_", " ")
    return f"{said} ({named})" if named else said


def is_wanted(event: Mapping[str, Any], level: str, device: str | None) -> bool:
    """Whether ``event`` is at least of this level, and of this device where one is named."""
    own = str(event.get("level", "info"))
    if LEVELS.index(own if own in LEVELS else "info") < LEVELS.index(level):
        return False
    return device is None or device in (event.get("device"), event.get("line"), _device_of(event.get("target")))


def _device_of(target: Any) -> str:
    return str(target or "").partition("/")[0]
