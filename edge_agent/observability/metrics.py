"""Every metric of the agent.

The names are part of the product: dashboards and alerts depend on them (docs/reference/events.md).
"""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY: Final = CollectorRegistry()

SAMPLES_ACQUIRED: Final = Counter(
    "lineside_samples_acquired_total", "Samples taken over from a device, after report by exception",
    ["device"], registry=REGISTRY,
)  # fmt: skip
SAMPLES_COMMITTED: Final = Counter(
    "lineside_samples_committed_total", "Samples that are on disk in the outbox", registry=REGISTRY
)
COMMITS: Final = Counter("lineside_commits_total", "Transactions of the outbox", registry=REGISTRY)
COMMIT_SECONDS: Final = Histogram(
    "lineside_commit_seconds", "Duration of one commit, fsync included",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5), registry=REGISTRY,
)  # fmt: skip
OUTBOX_BLOCKED: Final = Gauge("lineside_outbox_blocked", "1 while the disk takes no commit", registry=REGISTRY)
OUTBOX_BATCHES: Final = Gauge("lineside_outbox_batches", "Batches waiting for an acknowledgement", registry=REGISTRY)
OUTBOX_BYTES: Final = Gauge("lineside_outbox_bytes", "Size of the outbox on disk", registry=REGISTRY)
OUTBOX_USED_BYTES: Final = Gauge(
    "lineside_outbox_used_bytes", "Bytes of the outbox that are in use, free pages not counted", registry=REGISTRY
)
OUTBOX_LIMIT_BYTES: Final = Gauge(
    "lineside_outbox_limit_bytes", "Where samples begin to give way, as things are now", registry=REGISTRY
)
OUTBOX_SALVAGES: Final = Counter(
    "lineside_outbox_salvages_total", "Times that a damaged outbox was set aside and salvaged", registry=REGISTRY
)
BATCHES_LOST: Final = Counter(
    "lineside_batches_lost_total", "Batches that were committed and are not on the disk any more", registry=REGISTRY
)
SAMPLES_GIVEN_UP: Final = Counter(
    "lineside_samples_given_up_total", "Samples that gave way or grew too old; each is part of a declared gap",
    ["reason"], registry=REGISTRY,
)  # fmt: skip
SAMPLES_RESTORED: Final = Counter(
    "lineside_samples_restored_total", "Samples that a device's history gave for the time of an outage", ["device"],
    registry=REGISTRY,
)  # fmt: skip
DEVICE_ONLINE: Final = Gauge("lineside_device_online", "1 while the device is connected", ["device"], registry=REGISTRY)
DEVICE_CONNECTS: Final = Counter(
    "lineside_device_connects_total", "Connects of a device", ["device"], registry=REGISTRY
)
DEVICE_FAILURES: Final = Counter(
    "lineside_device_failures_total", "Lost or refused connections of a device", ["device"], registry=REGISTRY
)
DEVICE_SESSIONS: Final = Counter(
    "lineside_device_sessions_total",
    "Sessions of a device after its connection was lost: resumed, transferred (its subscriptions), or made anew",
    ["device", "how"], registry=REGISTRY,
)  # fmt: skip
TAG_PROBLEMS: Final = Gauge(
    "lineside_tag_problems", "Tags of a device that give no values", ["device"], registry=REGISTRY
)
DRIVER_EVENTS: Final = Counter(
    "lineside_driver_events_total",
    "What the driver of a device counts: requests, time_outs, missed_cycles, queue_overflows and others",
    ["device", "event"], registry=REGISTRY,
)  # fmt: skip
UPLINK_ONLINE: Final = Gauge("lineside_uplink_online", "1 while births are out on a broker", registry=REGISTRY)
CLOCK_ERROR_SECONDS: Final = Gauge(
    "lineside_clock_error_seconds", "The agent's clock less the host's; positive when it is ahead", registry=REGISTRY
)
UPLINK_LAG_SECONDS: Final = Gauge(
    "lineside_uplink_lag_seconds", "How long samples had waited on disk when they last left", registry=REGISTRY
)
UPLINK_IN_FLIGHT: Final = Gauge(
    "lineside_uplink_in_flight_batches", "Batches that were sent and are not acknowledged", registry=REGISTRY
)
UPLINK_UNANSWERED: Final = Gauge(
    "lineside_uplink_unanswered", "1 while batches are sent again and nothing is acknowledged", registry=REGISTRY
)
SAMPLES_PENDING: Final = Gauge(
    "lineside_samples_pending", "Samples that wait in memory for a commit to the disk", registry=REGISTRY
)
OUTBOX_REFUSING: Final = Gauge(
    "lineside_outbox_refusing", "1 while samples are not taken, as there is no room (drop_newest)", registry=REGISTRY
)
UPLINK_FAILURES: Final = Counter(
    "lineside_uplink_failures_total", "Lost or refused connections to a broker", registry=REGISTRY
)
BATCHES_SENT: Final = Counter("lineside_batches_sent_total", "Batches published, resends included", registry=REGISTRY)
BATCHES_RESENT: Final = Counter("lineside_batches_resent_total", "Batches published again", registry=REGISTRY)
BATCHES_ACKNOWLEDGED: Final = Counter(
    "lineside_batches_acknowledged_total", "Batches that the cloud has", registry=REGISTRY
)
BATCHES_REFUSED: Final = Counter(
    "lineside_batches_refused_total", "Batches that the cloud will never take", registry=REGISTRY
)
MESSAGES_REFUSED: Final = Counter(
    "lineside_messages_refused_total", "Messages from the broker that the agent cannot follow", registry=REGISTRY
)
FAULTS: Final = Counter("lineside_faults_total", "Unexpected errors of a supervised task", ["task"], registry=REGISTRY)
COMMANDS_ENDED: Final = Counter(
    "lineside_commands_ended_total", "Commands that have come to an end", ["state"], registry=REGISTRY
)
COMMANDS_REFUSED: Final = Counter(
    "lineside_commands_refused_total", "Commands that were not done, by why", ["code"], registry=REGISTRY
)
COMMANDS_WAITING: Final = Gauge("lineside_commands_waiting", "Commands that wait or are being done", registry=REGISTRY)
JOURNAL_BLOCKED: Final = Gauge(
    "lineside_command_journal_blocked", "1 while the command journal cannot be written", registry=REGISTRY
)
LINES_LOCKED: Final = Gauge("lineside_lines_locked", "Lines that operators have locked", registry=REGISTRY)
CONFIG_IN_SYNC: Final = Gauge(
    "lineside_configuration_in_sync", "1 while the files say what the agent runs with", registry=REGISTRY
)
RELOADS: Final = Counter(
    "lineside_reloads_total", "Times that changed files were to be used, by what came of it", ["result"],
    registry=REGISTRY,
)  # fmt: skip
