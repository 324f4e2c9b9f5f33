-- OEE and its parts, hour by hour: what changes an hour marks it, and it alone is worked out anew.

-- Lines that analytics has heard of; all hours before "until" were worked out at least once.
CREATE TABLE analytics_line (
    tenant_id integer NOT NULL REFERENCES tenant,
    site text NOT NULL,
    line text NOT NULL,
    until timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, site, line)
);
SELECT keep_tenants_apart('analytics_line');

-- hours that are not as what lines have told
CREATE TABLE analytics_due (
    tenant_id integer NOT NULL REFERENCES tenant,
    site text NOT NULL,
    line text NOT NULL,
    hour timestamptz NOT NULL,
    marked timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, site, line, hour)
);
CREATE INDEX analytics_due_marked ON analytics_due (marked);
SELECT keep_tenants_apart('analytics_due');

-- Sums of one hour (UTC) of a line, apart by shift (with the local day on which it begins) and product; empty: none.
CREATE TABLE analytics_hour (
    tenant_id integer NOT NULL REFERENCES tenant,
    site text NOT NULL,
    line text NOT NULL,
    hour timestamptz NOT NULL,
    shift text NOT NULL,
    day text NOT NULL,
    product text NOT NULL,
    planned_ms integer NOT NULL,
    running_ms integer NOT NULL,
    stopped_ms integer NOT NULL,
    changeover_ms integer NOT NULL,
    idle_ms integer NOT NULL,
    unknown_ms integer NOT NULL,
    unplanned_run_ms integer NOT NULL,
    micro_ms integer NOT NULL,
    micro_stops integer NOT NULL,
    stops integer NOT NULL,
    good numeric(18,6) NOT NULL,
    reject numeric(18,6) NOT NULL,
    ideal_ms numeric(18,3) NOT NULL,
    without_ideal numeric(18,6) NOT NULL,
    energy_kwh numeric(18,6) NOT NULL,
    PRIMARY KEY (tenant_id, site, line, hour, shift, day, product)
);
CREATE INDEX analytics_hour_time ON analytics_hour (tenant_id, hour);
SELECT keep_tenants_apart('analytics_hour');

-- what the stops of the hour have taken of the planned time, by reason; an empty one: nobody has said why
CREATE TABLE analytics_loss (
    tenant_id integer NOT NULL REFERENCES tenant,
    site text NOT NULL,
    line text NOT NULL,
    hour timestamptz NOT NULL,
    shift text NOT NULL,
    day text NOT NULL,
    product text NOT NULL,
    reason text NOT NULL,
    kind text NOT NULL,
    ms integer NOT NULL,
    stops integer NOT NULL,
    PRIMARY KEY (tenant_id, site, line, hour, shift, day, product, reason, kind)
);
CREATE INDEX analytics_loss_time ON analytics_loss (tenant_id, hour);
SELECT keep_tenants_apart('analytics_loss');

-- pieces by cycle time: class n begins at 1.05 ^ n seconds
CREATE TABLE analytics_cycle (
    tenant_id integer NOT NULL REFERENCES tenant,
    site text NOT NULL,
    line text NOT NULL,
    hour timestamptz NOT NULL,
    shift text NOT NULL,
    day text NOT NULL,
    product text NOT NULL,
    class smallint NOT NULL,
    pieces numeric(18,6) NOT NULL,
    PRIMARY KEY (tenant_id, site, line, hour, shift, day, product, class)
);
CREATE INDEX analytics_cycle_time ON analytics_cycle (tenant_id, hour);
SELECT keep_tenants_apart('analytics_cycle');
