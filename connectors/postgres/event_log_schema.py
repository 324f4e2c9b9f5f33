"""The tables of the event log on PostgreSQL.

Everything stands in the schema ``event_log``. A topic has a table ``records_<id>`` of its own, partitioned by the time
of the append into pieces, so that retention drops tables and deletes no rows. Values are kept outside of the row and
not compressed: they are binary and would not shrink.

The numbers of topics and of groups' locks come from one sequence, so that each is a space of its own for the advisory
locks that are named by two numbers.
"""

from __future__ import annotations

from typing import Final

CHANNEL: Final = "event_log"
"""Where an append says, by NOTIFY, which topic and partition have grown: ``<topic id>:<partition>``."""

COLUMNS: Final = ("partition", "offset", "time_ms", "key", "headers", "value")

VERSION: Final = "Lineside event log, version 1"
INSTALLED: Final = "SELECT obj_description(to_regnamespace('event_log'), 'pg_namespace') IS NOT DISTINCT FROM $1 AS yes"
"""Whether ``CREATE`` has made this ``VERSION`` already: then it is not run again at every start."""

CREATE: Final = (
    "CREATE SCHEMA IF NOT EXISTS event_log",
    "CREATE SEQUENCE IF NOT EXISTS event_log.lock_space AS int",
    """
    CREATE TABLE IF NOT EXISTS event_log.topic (
        topic_id    int PRIMARY KEY DEFAULT nextval('event_log.lock_space'),
        name        text NOT NULL UNIQUE,
        identity    uuid NOT NULL DEFAULT gen_random_uuid(),
        partitions  int NOT NULL CHECK (partitions > 0),
        compacted   boolean NOT NULL,
        retention_s bigint NOT NULL CHECK (retention_s > 0),
        piece_s     bigint NOT NULL CHECK (piece_s > 0)
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS event_log.partition_end (
        topic_id    int NOT NULL REFERENCES event_log.topic ON DELETE CASCADE,
        partition   int NOT NULL,
        next_offset bigint NOT NULL DEFAULT 0,
        PRIMARY KEY (topic_id, partition)
    ) WITH (fillfactor = 20)
    """,
    """
    CREATE TABLE IF NOT EXISTS event_log.reader_group (
        topic_id    int NOT NULL REFERENCES event_log.topic ON DELETE CASCADE,
        name        text NOT NULL,
        member_lock int NOT NULL DEFAULT nextval('event_log.lock_space'),
        share_lock  int NOT NULL DEFAULT nextval('event_log.lock_space'),
        PRIMARY KEY (topic_id, name)
    )
    """,
    # Lock and row are held until the commit: so numbers become visible in their order, and a reader never passes one
    # that commits later. The lock comes first for its queue, which is in order of arrival. Partitions come sorted, so
    # that two appends never wait for each other.
    """
    CREATE OR REPLACE FUNCTION event_log.draw(topic int, partitions int[], counts int[]) RETURNS bigint[]
    LANGUAGE plpgsql AS $$
    DECLARE
        first_offset bigint;
        first_offsets bigint[] := '{}';
    BEGIN
        FOR i IN 1 .. cardinality(partitions) LOOP
            PERFORM pg_advisory_xact_lock(topic, partitions[i]);
            UPDATE event_log.partition_end AS e SET next_offset = e.next_offset + counts[i]
                WHERE e.topic_id = topic AND e.partition = partitions[i]
                RETURNING e.next_offset - counts[i] INTO STRICT first_offset;
            first_offsets := first_offsets || first_offset;
            PERFORM pg_notify('event_log', topic || ':' || partitions[i]);
        END LOOP;
        RETURN first_offsets;
    END $$
    """,
    f"COMMENT ON SCHEMA event_log IS '{VERSION}'",
)

FIND_TOPIC: Final = "SELECT * FROM event_log.topic WHERE name = $1"
ADD_TOPIC: Final = """
    INSERT INTO event_log.topic (name, partitions, compacted, retention_s, piece_s) VALUES ($1, $2, $3, $4, $5)
    RETURNING *
"""
SET_RETENTION: Final = "UPDATE event_log.topic SET retention_s = $2 WHERE topic_id = $1 RETURNING *"
ADD_PARTITIONS: Final = """
    INSERT INTO event_log.partition_end (topic_id, partition) SELECT $1, generate_series(0, $2 - 1)
"""
DRAW: Final = "SELECT event_log.draw($1, $2, $3) AS first_offsets"
END_OFFSETS: Final = "SELECT partition, next_offset FROM event_log.partition_end WHERE topic_id = $1"
FIND_GROUP: Final = """
    INSERT INTO event_log.reader_group (topic_id, name) VALUES ($1, $2)
    ON CONFLICT (topic_id, name) DO UPDATE SET name = excluded.name
    RETURNING member_lock, share_lock
"""


def records_table(topic_id: int) -> str:
    """The table that holds the records of a topic."""
    return f"event_log.records_{topic_id}"


def create_records(topic_id: int, *, compacted: bool) -> tuple[str, ...]:
    """The statements that make the table of a new topic. A compacted one is a single piece, which is never dropped."""
    table = records_table(topic_id)
    statements = [
        f"""
        CREATE TABLE {table} (
            partition int NOT NULL,
            "offset"  bigint NOT NULL,
            time_ms   bigint NOT NULL,
            key       bytea NOT NULL,
            headers   bytea,
            value     bytea NOT NULL,
            stored    timestamptz NOT NULL DEFAULT now()
        ) PARTITION BY RANGE (stored)
        """,
        f"ALTER TABLE {table} ALTER COLUMN value SET STORAGE EXTERNAL",
        f'CREATE INDEX ON {table} (partition, "offset")',
    ]
    if compacted:
        statements += [
            f"CREATE TABLE {table}_all PARTITION OF {table} FOR VALUES FROM (MINVALUE) TO (MAXVALUE)",
            f'CREATE INDEX ON {table} (partition, key, "offset")',
        ]
    return tuple(statements)


def create_piece(topic_id: int, start_s: int, end_s: int) -> str:
    """The statement that makes the piece for appends between two times (seconds since 1970-01-01 UTC).

    Nothing is ever changed in it, so that vacuuming it would be work for nothing.
    """
    table = records_table(topic_id)
    return f"""
        CREATE TABLE IF NOT EXISTS {table}_{start_s} PARTITION OF {table}
        FOR VALUES FROM (to_timestamp({start_s})) TO (to_timestamp({end_s}))
        WITH (autovacuum_enabled = false, toast.autovacuum_enabled = false)
    """


def insert_records(topic_id: int) -> str:
    """The statement that draws offsets, as ``DRAW`` does, and adds records to them: all of a small append.

    $4: of each record the place of its partition in $2; $5: how many of that partition come before it.
    """
    return f"""
        WITH drawn AS MATERIALIZED (SELECT event_log.draw($1, $2, $3) AS first_offsets)
        INSERT INTO {records_table(topic_id)} (partition, "offset", time_ms, key, headers, value)
        SELECT ($2::int[])[place], first_offsets[place] + nth, time_ms, key, headers, value
        FROM drawn, unnest($4::int[], $5::bigint[], $6::bigint[], $7::bytea[], $8::bytea[], $9::bytea[])
            AS record (place, nth, time_ms, key, headers, value)
        RETURNING partition, "offset"
    """  # noqa: S608 # the name of the table holds a number, and no text from outside


def select_records(topic_id: int) -> str:
    """The query for the next records of partition $1 from offset $2 on: at most $3 rows and $4 bytes of value.

    The first row always comes. The sizes of values are known without reading them.
    """
    return f"""
        SELECT "offset", time_ms, key, headers, value FROM (
            SELECT "offset", time_ms, key, headers, value,
                   row_number() OVER w AS row, sum(octet_length(value)) OVER w AS bytes
            FROM {records_table(topic_id)} WHERE partition = $1 AND "offset" >= $2
            WINDOW w AS (ORDER BY "offset" ROWS UNBOUNDED PRECEDING)
            ORDER BY "offset" LIMIT $3
        ) AS next_rows WHERE row = 1 OR bytes <= $4
    """  # noqa: S608 # the name of the table holds a number, and no text from outside


def has_unread(piece: str) -> str:
    """The query whether ``piece`` has a record of a partition in $1 at its offset in $2, or behind."""
    return f"""
        SELECT EXISTS (
            SELECT FROM unnest($1::int[], $2::bigint[]) AS place (partition, next_offset)
            WHERE EXISTS (
                SELECT FROM {piece} AS record
                WHERE record.partition = place.partition AND record."offset" >= place.next_offset
            )
        ) AS yes
    """  # noqa: S608 # as above


def compact(topic_id: int) -> str:
    """The statement that removes every record which a newer one of the same key has replaced."""
    table = records_table(topic_id)
    return f"""
        DELETE FROM {table} AS old WHERE EXISTS (
            SELECT FROM {table} AS new
            WHERE new.partition = old.partition AND new.key = old.key AND new."offset" > old."offset"
        )
    """  # noqa: S608 # as above
