-- Commands to agents: what was asked for and by whom, every state that it went through, and the audit log of all that.
-- Times in milliseconds (…_ms) are Unix time, UTC: they stand in signed documents just so.

CREATE TABLE command (
    -- ULID: in the order in which they were asked for
    command_id text PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    agent_id integer NOT NULL REFERENCES agent,
    -- cloud: asked for here; agent: done by an operator at the machine, known by the agent's reports alone
    origin text NOT NULL CHECK (origin IN ('cloud', 'agent')),
    -- JSON, as the envelope has it; null where it is not known
    action text,
    -- Sparkplug's number of the tag's type, for the plain metric beside the envelope
    datatype smallint,
    correlation text NOT NULL DEFAULT '',
    stage text NOT NULL DEFAULT 'execute' CHECK (stage IN ('execute', 'arm')),
    armed text,
    precondition text NOT NULL DEFAULT '',
    issuer text NOT NULL,
    reason text NOT NULL DEFAULT '',
    needs_approval boolean NOT NULL DEFAULT false,
    approvers text[] NOT NULL DEFAULT '{}',
    -- a node that does not acknowledge: sent once, as a plain metric without an envelope
    is_plain boolean NOT NULL DEFAULT false,
    requested_ms bigint NOT NULL,
    expires_ms bigint NOT NULL,
    -- the same key with the same request gets the same command
    idempotency_key text,
    request_hash text,
    -- the newest row of command_state that is not late
    state text NOT NULL,
    changed_ms bigint NOT NULL,
    -- signed at the first send, and sent again as it is
    envelope text,
    sends integer NOT NULL DEFAULT 0,
    next_send_ms bigint NOT NULL DEFAULT 0,
    -- JSON: who has asked the agent to take it back, why and when; it is signed when it is sent
    cancellation text,
    next_cancel_ms bigint NOT NULL DEFAULT 0,
    cancels integer NOT NULL DEFAULT 0,
    UNIQUE (tenant_id, issuer, idempotency_key)
);
CREATE INDEX command_open ON command (agent_id, command_id)
    WHERE state IN ('requested', 'approved', 'sent', 'received', 'executing');
CREATE INDEX command_of_agent ON command (agent_id, command_id);

-- Append only. Its numbers are in the order of commits, as one transaction at a time writes states (see
-- command_audit_head): so it is the outbox of lineside.commands.v1, and what the stream is read from.
CREATE TABLE command_state (
    state_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    command_id text NOT NULL REFERENCES command,
    state text NOT NULL,
    time_ms bigint NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL DEFAULT '',
    -- why it was refused, for programs
    code text,
    -- JSON: what the tag held before the write, and when it was read back
    value_before text,
    value_after text,
    -- of an agent's report: by these a repeated one is recognised
    journal text,
    number bigint,
    step integer,
    -- reported when the command was further already: it changes nothing
    is_late boolean NOT NULL DEFAULT false,
    recorded timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX command_state_step ON command_state (command_id, journal, step) WHERE journal IS NOT NULL;
CREATE INDEX command_state_command ON command_state (command_id, state_id);

-- how far command_state was published to lineside.commands.v1
CREATE TABLE command_relay (
    tenant_id integer PRIMARY KEY REFERENCES tenant,
    state_id bigint NOT NULL DEFAULT 0
);
INSERT INTO command_relay (tenant_id) VALUES (1);

-- The journal of each agent as the cloud knows it, by its hellos and reports.
CREATE TABLE command_journal (
    agent_id integer PRIMARY KEY REFERENCES agent,
    tenant_id integer NOT NULL REFERENCES tenant,
    journal text NOT NULL,
    -- the current start
    start text NOT NULL,
    heard_ms bigint NOT NULL,
    -- the journal is behind what was seen of it; until the agent has begun a new one it is told so
    restored boolean NOT NULL DEFAULT false,
    -- the head of the agent's own audit log
    audit_number bigint NOT NULL DEFAULT 0,
    audit_hash text NOT NULL DEFAULT '',
    -- lines that an operator has locked, by the newest hello
    locks text[] NOT NULL DEFAULT '{}'
);

-- How far each start of an agent took its journal. A later start that knows less runs on a restored disk.
CREATE TABLE command_start (
    agent_id integer NOT NULL REFERENCES agent,
    tenant_id integer NOT NULL REFERENCES tenant,
    start text NOT NULL,
    journal text NOT NULL,
    number bigint NOT NULL DEFAULT 0,
    -- the start before, and the batch of the newest hello (0: none was heard): one that comes late says nothing
    previous text NOT NULL DEFAULT '',
    last_batch bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (agent_id, start, journal)
);

-- hellos that wait for the cloud's signed time: the newest of each agent
CREATE TABLE time_request (
    agent_id integer PRIMARY KEY REFERENCES agent,
    tenant_id integer NOT NULL REFERENCES tenant,
    nonce text NOT NULL,
    journal text NOT NULL,
    number bigint NOT NULL,
    restored boolean NOT NULL
);

-- The public keys by which agents know the cloud. The private ones are in files.
CREATE TABLE signing_key (
    key_id text PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    -- JSON Web Key (RFC 8037)
    public_key text NOT NULL,
    created timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    retired timestamptz,
    retired_by text
);

-- Who may use the routes of commands. A token is 256 random bits; its SHA-256 alone is kept.
CREATE TABLE api_token (
    token_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    name text NOT NULL,
    role text NOT NULL CHECK (role IN ('viewer', 'operator', 'approver')),
    sha256 bytea NOT NULL UNIQUE,
    created timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    revoked timestamptz,
    revoked_by text
);
-- a name is one person's or program's for ever: it stands in the audit log
CREATE UNIQUE INDEX api_token_name ON api_token (tenant_id, name) WHERE revoked IS NULL;

-- A hash chain (connectors/commands/audit_chain.py): who changes, removes or moves an entry breaks it.
CREATE TABLE command_audit (
    tenant_id integer NOT NULL REFERENCES tenant,
    number bigint NOT NULL,
    time_ms bigint NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    -- JSON
    details text NOT NULL,
    before text NOT NULL,
    hash text NOT NULL,
    PRIMARY KEY (tenant_id, number)
);

-- The last entry; its row is locked by who writes states or entries, so that one transaction at a time does.
CREATE TABLE command_audit_head (
    tenant_id integer PRIMARY KEY REFERENCES tenant,
    number bigint NOT NULL DEFAULT 0,
    hash text NOT NULL DEFAULT ''
);
INSERT INTO command_audit_head (tenant_id) VALUES (1);
