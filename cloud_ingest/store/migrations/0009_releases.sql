-- Releases of the agent, and rollouts: which agents are brought to one, group by group, and how far that is.
-- Times in milliseconds (…_ms) are Unix time, UTC, by the clock of the cloud's programs.

-- What is in a package, its manifest says; who signed it, the boxes judge.
CREATE TABLE release (
    tenant_id integer NOT NULL REFERENCES tenant,
    -- of the whole package
    sha256 text NOT NULL,
    version text NOT NULL,
    python text NOT NULL,
    platform text NOT NULL,
    -- the release key that the package names
    key_id text NOT NULL,
    size_bytes bigint NOT NULL,
    built_ms bigint NOT NULL,
    added_ms bigint NOT NULL,
    added_by text NOT NULL,
    PRIMARY KEY (tenant_id, sha256)
);

-- The package itself, in pieces of 1 MiB: every process of the gateway can give it.
CREATE TABLE release_piece (
    tenant_id integer NOT NULL,
    sha256 text NOT NULL,
    number integer NOT NULL,
    content bytea NOT NULL,
    PRIMARY KEY (tenant_id, sha256, number),
    FOREIGN KEY (tenant_id, sha256) REFERENCES release ON DELETE CASCADE
);
ALTER TABLE release_piece ALTER COLUMN content SET STORAGE EXTERNAL;

CREATE TABLE rollout (
    rollout_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    sha256 text NOT NULL,
    state text NOT NULL CHECK (state IN ('running', 'halted', 'done', 'stopped')),
    -- why it is in that state, or what a running one waits for
    reason text NOT NULL DEFAULT '',
    soak_ms bigint NOT NULL,
    failures_max integer NOT NULL,
    health_s integer NOT NULL,
    expires_s integer NOT NULL,
    started_ms bigint NOT NULL,
    started_by text NOT NULL,
    changed_ms bigint NOT NULL,
    FOREIGN KEY (tenant_id, sha256) REFERENCES release
);
CREATE INDEX rollout_running ON rollout (rollout_id) WHERE state = 'running';

-- Which agents, as the patterns of the groups named them at its start; what became of each says its command.
CREATE TABLE rollout_agent (
    rollout_id integer NOT NULL REFERENCES rollout,
    tenant_id integer NOT NULL REFERENCES tenant,
    agent_id integer NOT NULL REFERENCES agent,
    -- 1 is the first: the canaries
    group_number integer NOT NULL,
    command_id text REFERENCES command,
    -- why no command could be asked for
    refused text NOT NULL DEFAULT '',
    PRIMARY KEY (rollout_id, agent_id)
);
