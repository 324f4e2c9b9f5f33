"""Every metric of the cloud side.

The names are part of the product: dashboards and alerts depend on them (docs/reference/events.md).
"""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY: Final = CollectorRegistry()

MESSAGES: Final = Counter("lineside_ingest_messages_total", "Sparkplug messages from the broker", registry=REGISTRY)
MESSAGE_BYTES: Final = Counter("lineside_ingest_bytes_total", "Bytes of these messages", registry=REGISTRY)
APPENDS: Final = Counter("lineside_ingest_appends_total", "Appends to the event log", registry=REGISTRY)
APPEND_SECONDS: Final = Histogram(
    "lineside_ingest_append_seconds", "Duration of one append, durability included",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5), registry=REGISTRY,
)  # fmt: skip
PENDING_BYTES: Final = Gauge("lineside_ingest_pending_bytes", "Bytes not in the event log yet", registry=REGISTRY)
ACKNOWLEDGED: Final = Counter("lineside_ingest_batches_acknowledged_total", "Batches acknowledged", registry=REGISTRY)
MESSAGES_DROPPED: Final = Counter(
    "lineside_ingest_messages_dropped_total",
    "Messages not taken while too many waited for the event log: batches, which come again, and others last",
    registry=REGISTRY,
)
LOG_ENDS_LOST: Final = Counter("lineside_ingest_log_ends_lost_total", "Partitions with a lost end", registry=REGISTRY)
REFUSED: Final = Counter("lineside_ingest_messages_refused_total", "Messages refused by the log", registry=REGISTRY)
BROKER_ONLINE: Final = Gauge("lineside_ingest_broker_online", "1 while the host is online", registry=REGISTRY)
SHARING_ONLINE: Final = Gauge(
    "lineside_ingest_sharing_online", "1 while this process takes its part of the shared batches", registry=REGISTRY
)
HELD_BACK: Final = Gauge(
    "lineside_ingest_held_back", "1 while no batch is taken because the historian is too far behind", registry=REGISTRY
)
BEHIND_SECONDS: Final = Gauge(
    "lineside_ingest_historian_behind_seconds", "The historian's delay, as the ingest measures it", registry=REGISTRY
)
BROKER_FAILURES: Final = Counter("lineside_ingest_broker_failures_total", "Failed connections", registry=REGISTRY)
LOG_FAILURES: Final = Counter("lineside_ingest_log_failures_total", "Appends that did not succeed", registry=REGISTRY)
REBIRTHS: Final = Counter("lineside_ingest_rebirths_asked_total", "Rebirths asked of nodes", registry=REGISTRY)

SAMPLES_STORED: Final = Counter("lineside_historian_samples_total", "Samples stored", registry=REGISTRY)
TRANSACTIONS: Final = Counter("lineside_historian_transactions_total", "Transactions committed", registry=REGISTRY)
TRANSACTION_SECONDS: Final = Histogram(
    "lineside_historian_transaction_seconds", "Duration of one transaction, decoding left out",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5, 20), registry=REGISTRY,
)  # fmt: skip
DUPLICATES: Final = Counter("lineside_historian_duplicates_total", "Batches that came again", registry=REGISTRY)
DEAD_LETTERS: Final = Counter("lineside_historian_dead_letters_total", "Messages set aside", registry=REGISTRY)
STORING_FAILURES: Final = Counter(
    "lineside_historian_storing_failures_total", "Tries to store a doubtful message in vain", registry=REGISTRY
)
GAPS: Final = Counter("lineside_historian_gaps_total", "Gaps declared by agents or seen in nodes", registry=REGISTRY)
NOT_PUBLISHED: Final = Counter(
    "lineside_historian_unpublished_total", "Batches that the samples topic does not take", registry=REGISTRY
)
PLACES_SET_BACK: Final = Counter(
    "lineside_historian_places_set_back_total", "Partitions whose log had lost its end", registry=REGISTRY
)
RECORDS_EXPIRED: Final = Counter(
    "lineside_historian_records_expired_total", "Records that the log deleted before they were read", registry=REGISTRY
)
TRANSIENT: Final = Counter(
    "lineside_historian_transient_total", "Values not stored, as their node asked for (is_transient)", registry=REGISTRY
)
PARKED: Final = Counter("lineside_historian_parked_total", "Batches parked for their definition", registry=REGISTRY)
LAG: Final = Gauge(
    "lineside_historian_lag_records", "Records that are not stored yet", ["partition"], registry=REGISTRY
)
ROLLUPS: Final = Counter(
    "lineside_historian_rollups_total", "Minutes and hours of tags that were rolled up", registry=REGISTRY
)
ROLLUPS_BEHIND: Final = Gauge(
    "lineside_historian_rollups_behind_seconds",
    "Since when the oldest samples wait for their rollup; about two minutes is the normal case",
    registry=REGISTRY,
)
PACKED_SAMPLES: Final = Counter(
    "lineside_historian_packed_samples_total", "Samples of closed days that were packed", registry=REGISTRY
)
LAG_SECONDS: Final = Gauge(
    "lineside_historian_lag_seconds", "For how long the oldest record has not been stored", ["partition"],
    registry=REGISTRY,
)  # fmt: skip
COMMAND_STATES: Final = Counter(
    "lineside_command_states_total", "States that commands came into", ["state"], registry=REGISTRY
)
COMMAND_MESSAGES: Final = Counter(
    "lineside_command_messages_total", "Messages to agents: commands, again, cancellations, times, keys", ["kind"],
    registry=REGISTRY,
)  # fmt: skip
COMMAND_REPORTS: Final = Counter(
    "lineside_command_reports_total", "Reports of agents, repeated ones included", registry=REGISTRY
)
COMMAND_REPORTS_REFUSED: Final = Counter(
    "lineside_command_reports_refused_total", "Reports and hellos that cannot be used", registry=REGISTRY
)
COMMAND_REPORTS_FORGED: Final = Counter(
    "lineside_command_reports_forged_total", "Reports and hellos of enrolled agents that they have not signed",
    registry=REGISTRY,
)  # fmt: skip
AUDIT_ALARMS: Final = Counter(
    "lineside_agent_audit_alarms_total", "Audit logs of agents that do not extend what was known of them",
    registry=REGISTRY,
)  # fmt: skip
HELLOS: Final = Counter("lineside_command_hellos_total", "Hellos of agents", registry=REGISTRY)
JOURNALS_RESTORED: Final = Counter(
    "lineside_command_journals_restored_total", "Journals that are behind what was seen of them, or other ones",
    registry=REGISTRY,
)  # fmt: skip
STATES_NOT_PUBLISHED: Final = Counter(
    "lineside_command_states_unpublished_total", "States that the commands topic does not take", registry=REGISTRY
)
EVENTS_NOT_PUBLISHED: Final = Counter(
    "lineside_events_unpublished_total", "Events of the domain that the log does not take", ["topic"], registry=REGISTRY
)
EVENTS_SET_ASIDE: Final = Counter(
    "lineside_events_set_aside_total", "Records that a projection could not take", ["projection"], registry=REGISTRY
)
LOG_LINES_KEPT: Final = Counter("lineside_log_lines_kept_total", "Log lines that can be searched", registry=REGISTRY)
LOG_LINES_DROPPED: Final = Counter(
    "lineside_log_lines_dropped_total", "Log lines that came faster than they could be kept", registry=REGISTRY
)
LOGINS: Final = Counter(
    "lineside_logins_total",
    "Logins by login and password: done, failed, or locked_out, as too many had failed",
    ["outcome"],
    registry=REGISTRY,
)
COMMANDS_ONLINE: Final = Gauge("lineside_command_broker_online", "1 while commands can be sent", registry=REGISTRY)
WAITING: Final = Gauge(
    "lineside_cloud_waiting", "1 for each part of the process that waits, or is slow", ["part"], registry=REGISTRY
)
FAULTS: Final = Counter(
    "lineside_cloud_faults_total", "Unexpected errors of a supervised task", ["task"], registry=REGISTRY
)
REQUESTS: Final = Counter(
    "lineside_gateway_requests_total", "Requests to the gateway, by route and status", ["method", "route", "status"],
    registry=REGISTRY,
)  # fmt: skip
REQUEST_SECONDS: Final = Histogram(
    "lineside_gateway_request_seconds", "From a request to the end of its answer", ["route"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5, 30), registry=REGISTRY,
)  # fmt: skip
REQUESTS_LIMITED: Final = Counter(
    "lineside_gateway_requests_limited_total", "Requests above a rate limit", ["limit"], registry=REGISTRY
)
REQUESTS_FAILED: Final = Counter(
    "lineside_gateway_requests_failed_total", "Requests that a defect has ended", ["route"], registry=REGISTRY
)
CALLS_RPC: Final = Counter(
    "lineside_gateway_calls_total", "Calls of the gRPC API, by method and status", ["method", "status"],
    registry=REGISTRY,
)  # fmt: skip
CALL_RPC_SECONDS: Final = Histogram(
    "lineside_gateway_call_seconds", "From a call of the gRPC API to its answer, without streams", ["method"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5, 30), registry=REGISTRY,
)  # fmt: skip
CALLS: Final = Counter(
    "lineside_integration_calls_total", "Calls to vendors, by what became of them: done, refused, failed, gave_up",
    ["port", "kind", "outcome"], registry=REGISTRY,
)  # fmt: skip
CALL_SECONDS: Final = Histogram(
    "lineside_integration_call_seconds", "Duration of a call that was answered", ["port"],
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30), registry=REGISTRY,
)  # fmt: skip
CIRCUIT_OPEN: Final = Gauge(
    "lineside_integration_circuit_open", "1 while a vendor is left alone because it has failed", ["port"],
    registry=REGISTRY,
)  # fmt: skip
VENDOR_WEBHOOKS: Final = Counter(
    "lineside_integration_webhooks_total",
    "Webhooks of vendors, by what became of them: applied, unused, unknown, again, refused",
    ["vendor", "outcome"], registry=REGISTRY,
)  # fmt: skip
NOTIFICATIONS: Final = Counter(
    "lineside_notifications_total", "Messages to people, by channel: sent, failed, gave_up", ["channel", "outcome"],
    registry=REGISTRY,
)  # fmt: skip
WEBHOOK_DELIVERIES: Final = Counter(
    "lineside_webhook_deliveries_total", "Webhooks to other systems: delivered, failed, gave_up", ["outcome"],
    registry=REGISTRY,
)  # fmt: skip
LINE_SAMPLES_REFUSED: Final = Counter(
    "lineside_line_samples_refused_total", "Samples of lines' tags with times that cannot be", registry=REGISTRY
)
LINES_LATE: Final = Counter(
    "lineside_line_corrections_total", "Times that late samples changed what was known of a line", registry=REGISTRY
)
SHORTAGES_OPEN: Final = Gauge(
    "lineside_inventory_shortages_open", "Uses that the ledger does not have yet, of all tenants: a count is missing",
    registry=REGISTRY,
)  # fmt: skip
SHORTAGE_OLDEST_SECONDS: Final = Gauge(
    "lineside_inventory_shortage_oldest_seconds", "For how long the oldest of them is open; 0 without one",
    registry=REGISTRY,
)  # fmt: skip
ORDERS_STUCK: Final = Gauge(
    "lineside_orders_stuck", "Orders that stand still until somebody does something, by why", ["problem"],
    registry=REGISTRY,
)  # fmt: skip
