-- Work orders on lines: what is to be made, in which sequence, by which steps of a routing, and what was counted of it.

-- What is true of all work orders of a line. Its row is locked by whoever changes their states or their sequence.
CREATE TABLE work_order_line (
    tenant_id integer NOT NULL REFERENCES tenant,
    site text NOT NULL,
    line text NOT NULL,
    -- grows with each change of the sequence or of the settings: the ETag of both
    revision bigint NOT NULL DEFAULT 1,
    -- the greatest place that was given to a work order
    places bigint NOT NULL DEFAULT 0,
    -- a work order is complete as soon as its quantity is there
    completes_itself boolean NOT NULL DEFAULT false,
    -- the next one is started when the line is free
    starts_next boolean NOT NULL DEFAULT false,
    -- JSON: by the name of a recipe's parameter, where it is written
    parameters text NOT NULL DEFAULT '{}',
    PRIMARY KEY (tenant_id, site, line)
);

CREATE TABLE work_order (
    work_order_id text PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    -- one quantity of a product on its way through a routing: a work order each step
    job text NOT NULL,
    step integer NOT NULL CHECK (step >= 1),
    steps integer NOT NULL CHECK (steps >= step),
    site text NOT NULL,
    line text NOT NULL,
    product text NOT NULL,
    quantity numeric(18,6) NOT NULL CHECK (quantity > 0),
    -- so much of the step before makes this one ready
    transfer numeric(18,6) NOT NULL CHECK (transfer > 0),
    state text NOT NULL CHECK (state IN
        ('planned', 'ready', 'next', 'running', 'paused', 'complete', 'closed', 'cancelled')),
    -- a planner, or the order that it is for, has said that it may be made
    released boolean NOT NULL,
    -- its place on the line: smaller ones come first
    place bigint NOT NULL,
    order_id text,
    order_line integer,
    due timestamptz,
    -- as scheduled backwards from when it is due
    begin_planned timestamptz,
    end_planned timestamptz,
    cycle_s numeric(18,6) NOT NULL CHECK (cycle_s > 0),
    setup_s numeric(18,6) NOT NULL CHECK (setup_s >= 0),
    -- JSON: the recipe of this step as it was when the work order was made
    recipe text NOT NULL DEFAULT '{}',
    good numeric(18,6) NOT NULL DEFAULT 0,
    reject numeric(18,6) NOT NULL DEFAULT 0,
    -- of these, what came when it was over already
    late_good numeric(18,6) NOT NULL DEFAULT 0,
    late_reject numeric(18,6) NOT NULL DEFAULT 0,
    -- how often it was to start; of the last time, whether recipe and set-points are under way, and what became of them
    attempt integer NOT NULL DEFAULT 0,
    download text NOT NULL DEFAULT 'none' CHECK (download IN ('none', 'under_way', 'failed', 'done')),
    download_why text NOT NULL DEFAULT '',
    -- who asked for the last start
    started_by text,
    started timestamptz,
    ended timestamptz,
    reason text NOT NULL DEFAULT '',
    revision bigint NOT NULL DEFAULT 1,
    created timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL
);
CREATE UNIQUE INDEX work_order_one_running ON work_order (tenant_id, site, line) WHERE state = 'running';
CREATE UNIQUE INDEX work_order_one_next ON work_order (tenant_id, site, line) WHERE state = 'next';
CREATE UNIQUE INDEX work_order_one_starting ON work_order (tenant_id, site, line) WHERE download = 'under_way';
CREATE UNIQUE INDEX work_order_job ON work_order (tenant_id, job, step);
CREATE INDEX work_order_open ON work_order (tenant_id, site, line, place)
    WHERE state IN ('planned', 'ready', 'next', 'running', 'paused');
CREATE INDEX work_order_order ON work_order (tenant_id, order_id) WHERE order_id IS NOT NULL;

-- From when to when a work order ran: a count belongs to the one that ran when it was made, whenever it comes.
CREATE TABLE work_order_run (
    run_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    work_order_id text NOT NULL REFERENCES work_order,
    site text NOT NULL,
    line text NOT NULL,
    begin_ns bigint NOT NULL,
    end_ns bigint CHECK (end_ns >= begin_ns)
);
CREATE INDEX work_order_run_time ON work_order_run (tenant_id, site, line, begin_ns);
CREATE INDEX work_order_run_order ON work_order_run (work_order_id);
CREATE UNIQUE INDEX work_order_run_open ON work_order_run (tenant_id, site, line) WHERE end_ns IS NULL;

-- What is written to the machines before a work order runs, in its sequence, for each time that it was to start.
CREATE TABLE work_order_write (
    work_order_id text NOT NULL REFERENCES work_order,
    tenant_id integer NOT NULL REFERENCES tenant,
    attempt integer NOT NULL,
    place integer NOT NULL,
    parameter text NOT NULL,
    agent text NOT NULL,
    device text NOT NULL,
    tag text NOT NULL,
    -- JSON
    value text NOT NULL,
    -- it is armed first, and then executed
    is_armed boolean NOT NULL,
    precondition text NOT NULL DEFAULT '',
    arm_command text,
    command text,
    -- why it could not even be asked for
    refused text NOT NULL DEFAULT '',
    PRIMARY KEY (work_order_id, attempt, place)
);

-- Every state of every work order; append only.
CREATE TABLE work_order_state (
    state_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    work_order_id text NOT NULL REFERENCES work_order,
    state text NOT NULL,
    time_ns bigint NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL DEFAULT ''
);
CREATE INDEX work_order_state_order ON work_order_state (work_order_id, state_id);

SELECT keep_tenants_apart('work_order_line');
SELECT keep_tenants_apart('work_order');
SELECT keep_tenants_apart('work_order_run');
SELECT keep_tenants_apart('work_order_write');
SELECT keep_tenants_apart('work_order_state');
