-- Records that a projection could not take can be taken after all: somebody asks for it, and whoever has the partition
-- does it.
ALTER TABLE event_letter
    -- when the record was appended, which a projection may need; of older ones when it was set aside
    ADD COLUMN record_ms bigint,
    ADD COLUMN retry_asked timestamptz,
    ADD COLUMN retry_by text,
    ADD COLUMN retries integer NOT NULL DEFAULT 0,
    ADD COLUMN retry_failure text;
UPDATE event_letter SET record_ms = (extract(epoch FROM received) * 1000)::bigint;
ALTER TABLE event_letter ALTER COLUMN record_ms SET NOT NULL;
CREATE INDEX event_letter_open ON event_letter (projection, partition) WHERE closed IS NULL;
