
-- Who has said what: signatures of agents, the source of commands, approvals by the cloud, and the heads of audit logs.
-- Times in milliseconds (…_ms) are Unix time, UTC.

-- What the agent says has to be signed with this key. Keys that were enrolled before this version: from the first
-- signature with them on.
ALTER TABLE agent_key ADD COLUMN signs boolean NOT NULL DEFAULT false;

-- What came under the name of an agent, and was not signed as it has to be: how many, and the newest reason.
CREATE TABLE command_forged (
    agent_id integer PRIMARY KEY REFERENCES agent,
    tenant_id integer NOT NULL REFERENCES tenant,
    count bigint NOT NULL,
    newest_ms bigint NOT NULL,
    reason text NOT NULL
);

-- the newest hello of a start that was signed, by its own count; 0 before any
ALTER TABLE command_start ADD COLUMN last_count bigint NOT NULL DEFAULT 0;

-- How it came to the agent, by the agent's report: cloud (signed), local (somebody at the box), plain. null: not said.
ALTER TABLE command ADD COLUMN source text;

-- An approval that the agent has to hear of (JSON: agent, id, approver, reason, issued_ms); signed when it is sent.
ALTER TABLE command ADD COLUMN waits boolean NOT NULL DEFAULT false;
ALTER TABLE command ADD COLUMN approval text;
ALTER TABLE command ADD COLUMN next_approval_ms bigint NOT NULL DEFAULT 0;
ALTER TABLE command ADD COLUMN approvals integer NOT NULL DEFAULT 0;

-- why, by whom and since when lines are locked: JSON, by the newest hello
ALTER TABLE command_journal ADD COLUMN held text NOT NULL DEFAULT '[]';

-- The heads of an agent's own audit log as its hellos have told them; the oldest leave. Later ones must extend them.
CREATE TABLE agent_audit_head (
    agent_id integer NOT NULL REFERENCES agent,
    tenant_id integer NOT NULL REFERENCES tenant,
    number bigint NOT NULL,
    hash text NOT NULL,
    heard_ms bigint NOT NULL,
    PRIMARY KEY (agent_id, number)
);

-- An audit log of an agent that does not extend what was known of it: until a person has looked at it.
CREATE TABLE agent_audit_alarm (
    alarm_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id integer NOT NULL REFERENCES agent,
    tenant_id integer NOT NULL REFERENCES tenant,
    time_ms bigint NOT NULL,
    reason text NOT NULL,
    closed_ms bigint,
    closed_by text,
    closed_reason text
);
CREATE INDEX agent_audit_alarm_open ON agent_audit_alarm (agent_id) WHERE closed_ms IS NULL;

-- the audit number that answers to hellos tell
ALTER TABLE time_request ADD COLUMN audit_number bigint NOT NULL DEFAULT 0;

-- JWS of kind lineside-key by another key of the cloud, that this one is its successor; null for the first one
ALTER TABLE signing_key ADD COLUMN vouched text;
