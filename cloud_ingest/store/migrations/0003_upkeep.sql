-- Rollups, packed days, odd times by when they were stored, and what the upkeep has still to do.

-- What lay in sample_default: moved here soon after it was stored, so that the default partition stays small, and its
-- retention counts from when it came. Its source times say nothing of that.
CREATE TABLE sample_odd (
    stored timestamptz NOT NULL,
    time timestamptz NOT NULL,
    value_double double precision,
    value_int bigint,
    tag_id integer NOT NULL,
    tenant_id integer NOT NULL,
    quality integer NOT NULL,
    value_bool boolean,
    value_text text,
    value_bytes bytea
) PARTITION BY RANGE (stored);
CREATE INDEX sample_odd_tag_time ON sample_odd (tag_id, time);

-- An hour of a tag as one row: the arrays have one element a sample, in the order of time; an array is absent when all of
-- it is NULL, quality when all of it is 0. steps are microseconds, from the hour to the first sample, then from each to
-- the next: equal steps take next to no room when PostgreSQL compresses the row.
CREATE TABLE sample_packed (
    hour timestamptz NOT NULL,
    tag_id integer NOT NULL,
    tenant_id integer NOT NULL,
    samples integer NOT NULL,
    steps bigint[] NOT NULL,
    quality integer[],
    value_double double precision[],
    value_int bigint[],
    value_bool boolean[],
    value_text text[],
    PRIMARY KEY (tag_id, hour)
) PARTITION BY RANGE (hour);

CREATE VIEW sample_unpacked AS
SELECT
    packed.hour + unpacked.since_us * interval '1 microsecond' AS time,
    packed.hour,
    packed.tag_id,
    packed.tenant_id,
    coalesce(unpacked.quality, 0) AS quality,
    unpacked.value_double,
    unpacked.value_int,
    unpacked.value_bool,
    unpacked.value_text,
    NULL::bytea AS value_bytes
FROM sample_packed AS packed
CROSS JOIN LATERAL (
    SELECT
        (sum(step) OVER (ORDER BY place))::double precision AS since_us,
        each.quality, each.value_double, each.value_int, each.value_bool, each.value_text
    FROM unnest(
        packed.steps, packed.quality, packed.value_double, packed.value_int, packed.value_bool, packed.value_text
    ) WITH ORDINALITY AS each (step, quality, value_double, value_int, value_bool, value_text, place)
) AS unpacked;

-- Odd source times that are not in a partition of sample.
CREATE VIEW sample_strays AS
SELECT time, tag_id, tenant_id, quality, value_double, value_int, value_bool, value_text, value_bytes FROM sample_odd;

-- Every sample, wherever it lies. A condition on hour (UTC) beside one on time is what makes it quick for packed days.
-- odd: the source time had no day of its own when it was stored; rollups leave it out.
CREATE VIEW sample_all AS
SELECT
    time, date_trunc('hour', time, 'UTC') AS hour, tableoid = 'sample_default'::regclass AS odd, tag_id, tenant_id,
    quality, value_double, value_int, value_bool, value_text, value_bytes
FROM sample
UNION ALL
SELECT
    time, hour, false, tag_id, tenant_id, quality, value_double, value_int, value_bool, value_text, value_bytes
FROM sample_unpacked
UNION ALL
SELECT
    time, date_trunc('hour', time, 'UTC'), true, tag_id, tenant_id, quality, value_double, value_int, value_bool,
    value_text, value_bytes
FROM sample_strays;

-- samples: all of the interval. numbers: good ones that are numbers (Boolean counts as 0 and 1), neither NaN nor infinite
-- nor beyond 1e300; total, low, high, first and last are of these.
CREATE TABLE rollup_minute (
    bucket timestamptz NOT NULL,
    tag_id integer NOT NULL,
    tenant_id integer NOT NULL,
    samples integer NOT NULL,
    good integer NOT NULL,
    numbers integer NOT NULL,
    total double precision,
    low double precision,
    high double precision,
    first_time timestamptz,
    first_value double precision,
    last_time timestamptz,
    last_value double precision,
    PRIMARY KEY (tag_id, bucket)
) PARTITION BY RANGE (bucket);
CREATE TABLE rollup_hour (LIKE rollup_minute INCLUDING ALL) PARTITION BY RANGE (bucket);

-- Intervals whose rollup is not as the samples are, with the tags (and perhaps some more). Written in the transaction that
-- stores the samples, deleted in the one that makes the rollup: who asks in between counts the samples themselves.
CREATE TABLE rollup_minute_due (
    tenant_id integer NOT NULL,
    bucket timestamptz NOT NULL,
    tags int4multirange NOT NULL,
    recorded timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE rollup_hour_due (LIKE rollup_minute_due INCLUDING ALL);

-- Days before it were deleted by the retention. What comes late of them is odd: a day made anew would have a part of its
-- samples only, and so would the rollups that are made from it.
CREATE TABLE sample_horizon (
    tenant_id integer NOT NULL DEFAULT 1 REFERENCES tenant,
    since timestamptz NOT NULL
);
INSERT INTO sample_horizon (since) VALUES ('-infinity');

-- Samples of earlier versions have no rollups: all minutes of their days are due, for all tags.
INSERT INTO rollup_minute_due (tenant_id, bucket, tags)
SELECT tenant.tenant_id, minute, int4multirange(int4range(0, NULL))
FROM tenant
CROSS JOIN (
    SELECT to_timestamp(substr(relname, 8) || ' UTC', 'YYYYMMDD TZ') AS day
    FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = 'sample'::regclass AND relname ~ '^sample_[0-9]{8}$'
) AS days
CROSS JOIN LATERAL generate_series(day, day + interval '1439 minutes', interval '1 minute') AS minute;
