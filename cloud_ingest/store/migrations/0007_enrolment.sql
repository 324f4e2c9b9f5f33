-- Enrolment of agents: one-time tokens, the agents' own public keys, and which of the cloud's keys each agent trusts.
-- Times in milliseconds (…_ms) are Unix time, UTC, by the clock of the cloud's programs.

-- A token is 256 random bits; its SHA-256 alone is kept.
CREATE TABLE enrolment_token (
    token_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    -- group/name: the agent may never have been seen
    agent text NOT NULL,
    sha256 bytea NOT NULL UNIQUE,
    created_ms bigint NOT NULL,
    created_by text NOT NULL,
    expires_ms bigint NOT NULL,
    used_ms bigint,
    -- the agent's key that was enrolled with it
    used_key text,
    -- a newer one was made for the same agent
    replaced_ms bigint
);
CREATE INDEX enrolment_token_agent ON enrolment_token (tenant_id, agent);

-- The public keys of agents. One of an agent holds; the others are kept as retired.
CREATE TABLE agent_key (
    tenant_id integer NOT NULL REFERENCES tenant,
    key_id text NOT NULL,
    agent text NOT NULL,
    -- JSON Web Key (RFC 8037)
    public_key text NOT NULL,
    enrolled_ms bigint NOT NULL,
    token_id integer NOT NULL REFERENCES enrolment_token,
    retired_ms bigint,
    retired_by text,
    PRIMARY KEY (tenant_id, key_id)
);
CREATE UNIQUE INDEX agent_key_holding ON agent_key (tenant_id, agent) WHERE retired_ms IS NULL;

-- The ids of the cloud's keys that the agent trusts, by its newest hello; null where it names none.
ALTER TABLE command_journal ADD COLUMN trusted text[];
ALTER TABLE time_request ADD COLUMN trusted text[];
