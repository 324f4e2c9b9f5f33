-- Files of devices as versions, which agents apply as commands; and who may ask for that.

-- What was asked for, version by version; what became of each says its command (view device_file).
CREATE TABLE device_file_version (
    tenant_id integer NOT NULL REFERENCES tenant,
    agent_id integer NOT NULL REFERENCES agent,
    -- path from the folder of the agent's own file
    name text NOT NULL,
    version integer NOT NULL,
    content text NOT NULL,
    sha256 text NOT NULL,
    command_id text NOT NULL UNIQUE REFERENCES command,
    PRIMARY KEY (agent_id, name, version)
);

CREATE VIEW device_file AS
SELECT version.tenant_id, version.agent_id, version.name, version.version, version.sha256, version.command_id,
    command.issuer, command.requested_ms, command.changed_ms,
    CASE WHEN command.state = 'succeeded' THEN 'applied'
        WHEN command.state = 'failed' THEN 'rolled_back'
        WHEN command.state IN ('refused', 'expired', 'cancelled') THEN 'refused'
        WHEN command.state = 'unknown' THEN 'unknown'
        ELSE 'desired' END AS state,
    coalesce((SELECT reason FROM command_state WHERE command_state.command_id = version.command_id AND NOT is_late
        ORDER BY state_id DESC LIMIT 1), '') AS message
FROM device_file_version AS version JOIN command USING (command_id);

-- What each agent has in use, by its newest hello.
CREATE TABLE device_file_in_use (
    tenant_id integer NOT NULL REFERENCES tenant,
    agent_id integer NOT NULL REFERENCES agent,
    name text NOT NULL,
    sha256 text NOT NULL,
    -- 0: no version of the cloud's
    version integer NOT NULL,
    -- in_use, trial, changed (at the box), local (never had a version), failed (the newest one could not be used)
    state text NOT NULL,
    message text NOT NULL,
    heard_ms bigint NOT NULL,
    PRIMARY KEY (agent_id, name)
);

-- engineer: as operator, and may configure agents
ALTER TABLE api_token DROP CONSTRAINT api_token_role_check;
ALTER TABLE api_token ADD CONSTRAINT api_token_role_check
    CHECK (role IN ('viewer', 'operator', 'approver', 'engineer'));
