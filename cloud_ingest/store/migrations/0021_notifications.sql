-- What people are told, and what other systems are told.

-- Which events are told to whom, how.
CREATE TABLE notification_rule (
    rule_id text PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    name text NOT NULL,
    -- JSON: see cloud_ingest/notifications/rules.py
    rule text NOT NULL,
    enabled boolean NOT NULL DEFAULT true,
    -- no message of it leaves earlier: so that a flood is one message
    held_until timestamptz NOT NULL DEFAULT '-infinity',
    revision integer NOT NULL DEFAULT 1,
    created timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    UNIQUE (tenant_id, name)
);
SELECT keep_tenants_apart('notification_rule');

-- A message to people: events are added to it until it is due. It stays as the record of what was sent.
CREATE TABLE notification (
    notification_id text PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    rule_id text NOT NULL REFERENCES notification_rule ON DELETE CASCADE,
    channel text NOT NULL,
    recipients text[] NOT NULL,
    due timestamptz NOT NULL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'sent', 'dead')),
    events integer NOT NULL DEFAULT 1,
    -- JSON: the first of them
    items text NOT NULL,
    tries integer NOT NULL DEFAULT 0,
    reason text NOT NULL DEFAULT '',
    created timestamptz NOT NULL DEFAULT now(),
    changed timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX notification_due ON notification (due) WHERE state = 'waiting';
CREATE INDEX notification_rule_id ON notification (rule_id, state);
CREATE INDEX notification_changed ON notification (changed);
SELECT keep_tenants_apart('notification');

-- Systems of customers that are told of events.
CREATE TABLE webhook_endpoint (
    endpoint_id text PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    url text NOT NULL,
    description text NOT NULL DEFAULT '',
    -- types of events, with *
    events text[] NOT NULL,
    -- it signs with this, so it has to know it; the API shows it once
    secret text NOT NULL,
    enabled boolean NOT NULL DEFAULT true,
    disabled_reason text NOT NULL DEFAULT '',
    -- since when nothing was taken
    failing_since timestamptz,
    revision integer NOT NULL DEFAULT 1,
    created timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL
);
CREATE INDEX webhook_endpoint_tenant ON webhook_endpoint (tenant_id, endpoint_id);
SELECT keep_tenants_apart('webhook_endpoint');

CREATE TABLE webhook_delivery (
    delivery_id text PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    endpoint_id text NOT NULL REFERENCES webhook_endpoint ON DELETE CASCADE,
    -- the event's type, and what is posted (JSON)
    type text NOT NULL,
    body text NOT NULL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'dead')),
    tries integer NOT NULL DEFAULT 0,
    next_try timestamptz NOT NULL,
    status integer,
    reason text NOT NULL DEFAULT '',
    created timestamptz NOT NULL DEFAULT now(),
    changed timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX webhook_delivery_due ON webhook_delivery (next_try) WHERE state = 'waiting';
CREATE INDEX webhook_delivery_endpoint ON webhook_delivery (endpoint_id, delivery_id);
CREATE INDEX webhook_delivery_changed ON webhook_delivery (changed);
SELECT keep_tenants_apart('webhook_delivery');
