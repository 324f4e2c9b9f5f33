-- Plants and their lines (ISA-95), what is known of them by their samples, and what people have said of it.

-- What a plant is made of, as an engineer has written it. The enterprise has no site: its site is empty.
CREATE TABLE equipment (
    tenant_id integer NOT NULL REFERENCES tenant,
    site text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('enterprise', 'site', 'area', 'line', 'cell', 'calendar', 'reason')),
    -- of a cell: line/cell
    code text NOT NULL,
    -- JSON
    model text NOT NULL,
    -- the ETag
    revision bigint NOT NULL DEFAULT 1,
    changed timestamptz NOT NULL DEFAULT now(),
    changed_by text NOT NULL,
    PRIMARY KEY (tenant_id, site, kind, code)
);

-- A line, how far its samples are folded, and how it stands. A removed one stays, for what was counted on it.
CREATE TABLE production_line (
    line_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    site text NOT NULL,
    line text NOT NULL,
    is_removed boolean NOT NULL DEFAULT false,
    -- JSON: the sum of all samples up to folded_ns (lines/fold_rules.py), and of the alarms' conditions
    fold text NOT NULL DEFAULT '',
    conditions text NOT NULL DEFAULT '{}',
    folded_ns bigint NOT NULL DEFAULT 0,
    -- when it was folded last, and when to look at it again if no sample comes (by the clock of the process)
    looked_ns bigint NOT NULL DEFAULT 0,
    wake_ns bigint,
    state text NOT NULL DEFAULT 'offline',
    reason text,
    since_ns bigint NOT NULL DEFAULT 0,
    speed numeric(24,9),
    -- as it was told last
    told_speed numeric(24,9),
    -- all that was ever counted
    good numeric(24,9) NOT NULL DEFAULT 0,
    reject numeric(24,9) NOT NULL DEFAULT 0,
    energy_kwh numeric(24,9) NOT NULL DEFAULT 0,
    UNIQUE (tenant_id, site, line)
);
CREATE INDEX production_line_wake ON production_line (wake_ns);

-- The tags that mean something for a line; of one that is not used any more the samples stay readable.
CREATE TABLE line_signal (
    signal_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    line_id integer NOT NULL REFERENCES production_line,
    name text NOT NULL,
    agent text NOT NULL,
    device text NOT NULL,
    tag text NOT NULL,
    is_used boolean NOT NULL DEFAULT true
);
CREATE UNIQUE INDEX line_signal_used ON line_signal (line_id, name) WHERE is_used;
CREATE INDEX line_signal_tag ON line_signal (agent, device, tag);

-- The samples of signals, as long as late ones can change what is known.
-- mark: 0 sample, 1 its device was lost, 2 its device is back.
CREATE TABLE line_sample (
    line_id integer NOT NULL,
    tenant_id integer NOT NULL,
    time_ns bigint NOT NULL,
    signal_id integer NOT NULL,
    mark smallint NOT NULL DEFAULT 0,
    number numeric,
    text text,
    is_bad boolean NOT NULL DEFAULT false,
    PRIMARY KEY (line_id, time_ns, signal_id)
);
CREATE INDEX line_sample_mark ON line_sample (line_id, signal_id, time_ns) WHERE mark <> 0;

-- From where on lines have samples that are not folded. Append only, so that who stores never waits for who folds.
CREATE TABLE line_due (
    due_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id integer NOT NULL,
    line_id integer NOT NULL,
    time_ns bigint NOT NULL
);
CREATE INDEX line_due_line ON line_due (line_id);

-- Folds to begin at again when a sample comes late. Nothing before the oldest is folded again: its samples are kept no
-- longer, or were read by other rules.
CREATE TABLE line_checkpoint (
    line_id integer NOT NULL REFERENCES production_line,
    tenant_id integer NOT NULL,
    time_ns bigint NOT NULL,
    fold text NOT NULL,
    PRIMARY KEY (line_id, time_ns)
);

-- What was counted, by the minutes in which that began and ended. Its sum is that of all events 'counted'.
CREATE TABLE line_minute (
    line_id integer NOT NULL REFERENCES production_line,
    tenant_id integer NOT NULL,
    end_minute bigint NOT NULL,
    begin_minute bigint NOT NULL,
    -- empty: none ran
    work_order text NOT NULL,
    product text NOT NULL,
    begin_ns bigint NOT NULL,
    end_ns bigint NOT NULL,
    good numeric(24,9) NOT NULL,
    reject numeric(24,9) NOT NULL,
    energy_kwh numeric(24,9) NOT NULL,
    PRIMARY KEY (line_id, end_minute, begin_minute, work_order, product)
);

CREATE TABLE line_state (
    line_id integer NOT NULL REFERENCES production_line,
    tenant_id integer NOT NULL,
    begin_ns bigint NOT NULL,
    -- null: it is so now
    end_ns bigint,
    state text NOT NULL,
    reason text,
    PRIMARY KEY (line_id, begin_ns)
);

CREATE TABLE line_stop (
    stop_id text PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    line_id integer NOT NULL REFERENCES production_line,
    begin_ns bigint NOT NULL,
    end_ns bigint,
    state text NOT NULL,
    -- as the states have it: what is so until somebody classifies it
    found_reason text,
    found_kind text NOT NULL,
    reason text,
    kind text NOT NULL,
    note text NOT NULL DEFAULT '',
    -- empty: nobody has
    classified_by text NOT NULL DEFAULT '',
    -- whether others were told that it was opened
    is_told boolean NOT NULL DEFAULT false,
    revision bigint NOT NULL DEFAULT 1
);
CREATE INDEX line_stop_time ON line_stop (line_id, begin_ns);
CREATE INDEX line_stop_unclassified ON line_stop (tenant_id, begin_ns) WHERE reason IS NULL;

-- Where operators have divided a stop, and joined two.
CREATE TABLE line_stop_edit (
    line_id integer NOT NULL REFERENCES production_line,
    tenant_id integer NOT NULL,
    time_ns bigint NOT NULL,
    is_cut boolean NOT NULL,
    PRIMARY KEY (line_id, time_ns)
);

-- Who has said what of a stop; append only.
CREATE TABLE line_stop_entry (
    entry_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    stop_id text NOT NULL,
    time_ns bigint NOT NULL,
    actor text NOT NULL,
    deed text NOT NULL CHECK (deed IN ('classify', 'split', 'merge')),
    -- JSON: the stop before and after
    before text NOT NULL,
    after text NOT NULL
);
CREATE INDEX line_stop_entry_stop ON line_stop_entry (stop_id, entry_id);

-- Alarms that were raised (ISA-18.2).
CREATE TABLE line_alarm (
    alarm_id text PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    line_id integer NOT NULL REFERENCES production_line,
    code text NOT NULL,
    priority smallint NOT NULL,
    text text NOT NULL,
    state text NOT NULL CHECK (state IN ('unacknowledged', 'acknowledged', 'returned', 'latched', 'cleared')),
    latches boolean NOT NULL,
    -- whether others were told: not while it was shelved
    is_told boolean NOT NULL,
    raised_ns bigint NOT NULL,
    returned_ns bigint,
    acknowledged_ns bigint,
    acknowledged_by text NOT NULL DEFAULT '',
    cleared_ns bigint,
    escalate_ns bigint,
    escalated_ns bigint,
    revision bigint NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX line_alarm_open ON line_alarm (line_id, code) WHERE state <> 'cleared';
CREATE INDEX line_alarm_raised ON line_alarm (tenant_id, alarm_id);

-- Alarms that an operator has put aside for a while.
CREATE TABLE line_alarm_shelf (
    line_id integer NOT NULL REFERENCES production_line,
    tenant_id integer NOT NULL REFERENCES tenant,
    code text NOT NULL,
    until_ns bigint NOT NULL,
    shelved_by text NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (line_id, code)
);

-- What became of alarms, and who did it; append only.
CREATE TABLE line_alarm_entry (
    entry_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    line_id integer NOT NULL,
    code text NOT NULL,
    alarm_id text,
    time_ns bigint NOT NULL,
    deed text NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL DEFAULT ''
);
CREATE INDEX line_alarm_entry_alarm ON line_alarm_entry (alarm_id, entry_id);

SELECT keep_tenants_apart('equipment');
SELECT keep_tenants_apart('production_line');
SELECT keep_tenants_apart('line_signal');
SELECT keep_tenants_apart('line_sample');
SELECT keep_tenants_apart('line_due');
SELECT keep_tenants_apart('line_checkpoint');
SELECT keep_tenants_apart('line_minute');
SELECT keep_tenants_apart('line_state');
SELECT keep_tenants_apart('line_stop');
SELECT keep_tenants_apart('line_stop_edit');
SELECT keep_tenants_apart('line_stop_entry');
SELECT keep_tenants_apart('line_alarm');
SELECT keep_tenants_apart('line_alarm_shelf');
SELECT keep_tenants_apart('line_alarm_entry');
