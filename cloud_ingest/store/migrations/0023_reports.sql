-- Reports of days and weeks: who gets which, and those that were made, with their files.

CREATE TABLE report_plan (
    report_id text PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    name text NOT NULL,
    -- of one site, or one line of it; null: of all
    site text,
    line text,
    period text NOT NULL CHECK (period IN ('day', 'week')),
    zone text NOT NULL,
    -- minutes after midnight (local) at which the report of the period before is made
    at_minute integer NOT NULL CHECK (at_minute BETWEEN 0 AND 1439),
    formats text[] NOT NULL,
    recipients text[] NOT NULL,
    is_active boolean NOT NULL DEFAULT true,
    -- periods that ended before are not made up for
    since timestamptz NOT NULL,
    created_by text NOT NULL,
    revision integer NOT NULL DEFAULT 1,
    UNIQUE (tenant_id, name)
);
SELECT keep_tenants_apart('report_plan');

CREATE TABLE report (
    report_id text NOT NULL REFERENCES report_plan ON DELETE CASCADE,
    tenant_id integer NOT NULL REFERENCES tenant,
    -- the first local day of the period
    day date NOT NULL,
    begin_time timestamptz NOT NULL,
    end_time timestamptz NOT NULL,
    made timestamptz NOT NULL,
    -- counts how often it was made: data that came late makes it anew when somebody asks
    edition integer NOT NULL DEFAULT 1,
    PRIMARY KEY (report_id, day)
);
CREATE INDEX report_made ON report (tenant_id, made);
SELECT keep_tenants_apart('report');

CREATE TABLE report_file (
    report_id text NOT NULL,
    tenant_id integer NOT NULL REFERENCES tenant,
    day date NOT NULL,
    format text NOT NULL,
    content bytea NOT NULL,
    PRIMARY KEY (report_id, day, format),
    FOREIGN KEY (report_id, day) REFERENCES report ON DELETE CASCADE
);
SELECT keep_tenants_apart('report_file');
