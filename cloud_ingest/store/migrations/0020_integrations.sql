-- What goes out to payment, shipping and CRM, and what they answer.

-- The outbox of calls: one row a call, whose id is the key by which the vendor knows it. A call is written with what it
-- is about, and done later by one process at a time, which holds a lock on the row while it asks the vendor.
CREATE TABLE integration_call (
    call_id text PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    -- payments, shipping or crm
    port text NOT NULL,
    -- pay, refund, buy-label …
    kind text NOT NULL,
    -- what it is about: a payment, a refund, a shipment …
    about text NOT NULL,
    -- JSON
    request text NOT NULL,
    -- waiting, done, refused (the vendor says no), dead (given up: a person has to look at it), dropped (not needed)
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'done', 'refused', 'dead', 'dropped')),
    -- how often it was begun; written before the vendor is asked
    tries integer NOT NULL DEFAULT 0,
    -- how many of these have failed since a person has last looked at it
    failures integer NOT NULL DEFAULT 0,
    -- it was begun, and nobody has said what became of it: the vendor is asked after it first
    may_be_done boolean NOT NULL DEFAULT false,
    next_try timestamptz NOT NULL DEFAULT now(),
    reason text NOT NULL DEFAULT '',
    created timestamptz NOT NULL DEFAULT now(),
    changed timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX integration_call_due ON integration_call (next_try) WHERE state = 'waiting';
CREATE INDEX integration_call_about ON integration_call (tenant_id, about);
CREATE INDEX integration_call_open ON integration_call (state, call_id) WHERE state IN ('waiting', 'dead');
SELECT keep_tenants_apart('integration_call');

-- The circuit breaker of each vendor, shared by all processes.
CREATE TABLE integration_circuit (
    port text PRIMARY KEY,
    tenant_id integer NOT NULL DEFAULT 1 REFERENCES tenant,
    -- in a row
    failures integer NOT NULL DEFAULT 0,
    -- how often it has opened in a row
    openings integer NOT NULL DEFAULT 0,
    open_until timestamptz,
    reason text NOT NULL DEFAULT '',
    changed timestamptz NOT NULL DEFAULT now()
);
SELECT keep_tenants_apart('integration_circuit');

-- The id of a payment is the key by which the vendor knows it.
CREATE TABLE payment (
    payment_id text PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    order_id text NOT NULL,
    -- of whoever has asked: the same one is one payment
    request text NOT NULL,
    customer text NOT NULL,
    amount numeric(14,2) NOT NULL CHECK (amount > 0),
    currency text NOT NULL,
    -- requested, pending, captured, failed, cancelled
    state text NOT NULL DEFAULT 'requested',
    captured numeric(14,2) NOT NULL DEFAULT 0 CHECK (captured >= 0),
    -- given back, or on its way back
    refunded numeric(14,2) NOT NULL DEFAULT 0,
    vendor text NOT NULL DEFAULT '',
    vendor_id text NOT NULL DEFAULT '',
    -- nobody wants it any more: it is given up, or given back
    withdrawn boolean NOT NULL DEFAULT false,
    reason text NOT NULL DEFAULT '',
    created timestamptz NOT NULL DEFAULT now(),
    changed timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, request),
    CHECK (refunded >= 0 AND refunded <= captured)
);
CREATE INDEX payment_order ON payment (tenant_id, order_id);
CREATE INDEX payment_vendor ON payment (vendor_id) WHERE vendor_id <> '';
SELECT keep_tenants_apart('payment');

CREATE TABLE refund (
    refund_id text PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    payment_id text NOT NULL REFERENCES payment,
    order_id text NOT NULL,
    request text NOT NULL,
    amount numeric(14,2) NOT NULL CHECK (amount > 0),
    currency text NOT NULL,
    -- requested, pending, done, failed
    state text NOT NULL DEFAULT 'requested',
    vendor_id text NOT NULL DEFAULT '',
    reason text NOT NULL DEFAULT '',
    created timestamptz NOT NULL DEFAULT now(),
    changed timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, request)
);
CREATE INDEX refund_payment ON refund (payment_id);
CREATE INDEX refund_order ON refund (tenant_id, order_id);
CREATE INDEX refund_vendor ON refund (vendor_id) WHERE vendor_id <> '';
SELECT keep_tenants_apart('refund');

-- The id is that of the order's shipment, and the key by which the vendor knows it.
CREATE TABLE shipment (
    tenant_id integer NOT NULL REFERENCES tenant,
    shipment_id text NOT NULL,
    order_id text NOT NULL,
    -- requested, created, in-transit, exception, delivered, failed, cancelled
    state text NOT NULL DEFAULT 'requested',
    -- JSON: where it goes, and the parcels
    request text NOT NULL,
    carrier text NOT NULL DEFAULT '',
    service text NOT NULL DEFAULT '',
    tracking text NOT NULL DEFAULT '',
    label_url text NOT NULL DEFAULT '',
    cost numeric(14,2),
    currency text NOT NULL DEFAULT '',
    vendor text NOT NULL DEFAULT '',
    vendor_id text NOT NULL DEFAULT '',
    -- nobody wants it any more
    withdrawn boolean NOT NULL DEFAULT false,
    reason text NOT NULL DEFAULT '',
    created timestamptz NOT NULL DEFAULT now(),
    changed timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, shipment_id)
);
CREATE INDEX shipment_order ON shipment (tenant_id, order_id);
CREATE INDEX shipment_vendor ON shipment (vendor_id) WHERE vendor_id <> '';
CREATE INDEX shipment_tracking ON shipment (tracking) WHERE tracking <> '';
SELECT keep_tenants_apart('shipment');

-- Webhooks that vendors have sent: each id takes effect once; what is about nothing that is known here is kept, too.
CREATE TABLE vendor_webhook (
    tenant_id integer NOT NULL DEFAULT 1 REFERENCES tenant,
    vendor text NOT NULL,
    event_id text NOT NULL,
    kind text NOT NULL,
    -- applied, unused (of a kind that Lineside does not use), unknown (about something that it does not know)
    state text NOT NULL CHECK (state IN ('applied', 'unused', 'unknown')),
    about text NOT NULL DEFAULT '',
    body text NOT NULL,
    received timestamptz NOT NULL DEFAULT now(),
    -- how often it came
    times integer NOT NULL DEFAULT 1,
    PRIMARY KEY (vendor, event_id)
);
CREATE INDEX vendor_webhook_received ON vendor_webhook (received);
SELECT keep_tenants_apart('vendor_webhook');

-- What of ours the CRM has, and under which id.
CREATE TABLE crm_link (
    tenant_id integer NOT NULL REFERENCES tenant,
    -- customer, deal or interaction
    kind text NOT NULL,
    -- ours: a customer, an order …; of what came from there alone: the CRM's id
    key text NOT NULL,
    vendor_id text NOT NULL DEFAULT '',
    -- JSON: what was last told to it, or by it
    content text NOT NULL DEFAULT '',
    -- by the CRM's clock, of what it has told last
    vendor_changed timestamptz,
    changed timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, kind, key)
);
CREATE INDEX crm_link_vendor ON crm_link (tenant_id, kind, vendor_id);
SELECT keep_tenants_apart('crm_link');

-- Until when changes of the CRM were taken.
CREATE TABLE crm_place (
    vendor text PRIMARY KEY,
    tenant_id integer NOT NULL DEFAULT 1 REFERENCES tenant,
    until timestamptz NOT NULL
);
SELECT keep_tenants_apart('crm_place');

-- What the built-in vendors know: it stands for what would be elsewhere.
CREATE TABLE built_in_vendor (
    tenant_id integer NOT NULL DEFAULT 1 REFERENCES tenant,
    vendor text NOT NULL,
    key text NOT NULL,
    -- JSON
    document text NOT NULL,
    PRIMARY KEY (vendor, key)
);
SELECT keep_tenants_apart('built_in_vendor');
