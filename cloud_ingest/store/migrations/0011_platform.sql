-- What the parts of the platform share: events that leave with their transaction, how far each was read, requests that
-- are done once, and tenants that see themselves alone.

-- Events of the domain, until they are in the event log and some days longer (who was away reads on from here).
-- Numbers are in the order of commits within a topic: who writes holds a lock on the topic until its commit.
CREATE TABLE event_outbox (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    topic text NOT NULL,
    -- records with one key stay in their order
    key text NOT NULL,
    -- JSON, a CloudEvent (specification 1.0)
    event text NOT NULL,
    created timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX event_outbox_topic ON event_outbox (topic, number);
CREATE INDEX event_outbox_created ON event_outbox (created);

-- how far each topic was published
CREATE TABLE event_relay (
    topic text PRIMARY KEY,
    tenant_id integer NOT NULL DEFAULT 1 REFERENCES tenant,
    number bigint NOT NULL DEFAULT 0
);

-- The number of the last event that each projection has taken: one that comes again in the log is known by it.
CREATE TABLE event_progress (
    projection text NOT NULL,
    tenant_id integer NOT NULL DEFAULT 1 REFERENCES tenant,
    topic text NOT NULL,
    partition integer NOT NULL,
    number bigint NOT NULL,
    PRIMARY KEY (projection, topic, partition)
);

-- Records that a projection could not take; it has gone on without them.
CREATE TABLE event_letter (
    letter_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id integer NOT NULL DEFAULT 1 REFERENCES tenant,
    projection text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    log_offset bigint NOT NULL,
    key bytea NOT NULL,
    value bytea NOT NULL,
    reason text NOT NULL,
    received timestamptz NOT NULL DEFAULT now(),
    closed timestamptz,
    closed_by text,
    closed_reason text
);

CREATE TABLE idempotency_key (
    tenant_id integer NOT NULL REFERENCES tenant,
    subject text NOT NULL,
    route text NOT NULL,
    key text NOT NULL,
    digest text NOT NULL,
    -- JSON
    answer text,
    created timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, subject, route, key)
);
CREATE INDEX idempotency_key_created ON idempotency_key (created);

-- Row-level security. Roles are those of the whole server, so it may be there from another database.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'lineside_tenant') THEN
        CREATE ROLE lineside_tenant NOLOGIN;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;  -- another process or database was first
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'the user % may not make the role lineside_tenant; an administrator of PostgreSQL does it: CREATE ROLE lineside_tenant NOLOGIN; GRANT lineside_tenant TO %;', current_user, quote_ident(current_user)
            USING ERRCODE = 'insufficient_privilege';
END
$$;
-- Since PostgreSQL 16 who makes a role is a member that may grant it, and not yet one that may work as it.
DO $$
BEGIN
    IF NOT pg_has_role(current_user, 'lineside_tenant', CASE WHEN current_setting('server_version_num')::integer >= 160000 THEN 'SET' ELSE 'MEMBER' END) THEN
        EXECUTE format('GRANT lineside_tenant TO %I', current_user);
    END IF;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'the user % may not work as the role lineside_tenant; an administrator of PostgreSQL allows it: GRANT lineside_tenant TO %;', current_user, quote_ident(current_user)
            USING ERRCODE = 'insufficient_privilege';
END
$$;
GRANT USAGE ON SCHEMA public TO lineside_tenant;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO lineside_tenant;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO lineside_tenant;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO lineside_tenant;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO lineside_tenant;

-- Each migration calls it for every table with a tenant_id that it makes. The tenant is a subquery, so that it is found
-- out once for each statement, and not once for each row.
CREATE FUNCTION keep_tenants_apart(guarded regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', guarded);
    EXECUTE format(
        'CREATE POLICY own_tenant ON %s TO lineside_tenant '
        'USING (tenant_id = (SELECT NULLIF(current_setting(''lineside.tenant'', true), '''')::integer)) '
        'WITH CHECK (tenant_id = (SELECT NULLIF(current_setting(''lineside.tenant'', true), '''')::integer))', guarded);
END
$$;
SELECT keep_tenants_apart('event_outbox');
SELECT keep_tenants_apart('event_relay');
SELECT keep_tenants_apart('event_progress');
SELECT keep_tenants_apart('event_letter');
SELECT keep_tenants_apart('idempotency_key');
