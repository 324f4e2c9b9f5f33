-- What is late, and since when: batches that wait for a definition in vain; and who says what is slow.

-- Every process of the cloud side, as it says of itself every few seconds. Who has not said anything for 15 seconds is
-- stopped or stuck; who stops in an orderly way takes its row away, and others that of one that is silent for an hour.
CREATE TABLE process (
    process_id uuid PRIMARY KEY,
    tenant_id integer NOT NULL DEFAULT 1 REFERENCES tenant,
    roles text NOT NULL,
    machine text NOT NULL,
    pid integer NOT NULL,
    version text NOT NULL,
    started timestamptz NOT NULL DEFAULT now(),
    alive timestamptz NOT NULL DEFAULT now(),
    -- JSON: by part of the process, why it waits
    waiting text NOT NULL,
    -- JSON: what its roles tell of themselves
    facts text NOT NULL
);

-- How far the agent's clock is ahead of the ingest's, to the time that its quickest message of a minute was under way.
ALTER TABLE agent ADD COLUMN clock_error_ms bigint;

-- since when batches are missing that nothing explains, of those between the first and the last that is known
ALTER TABLE ledger ADD COLUMN incomplete_since timestamptz;
-- what tells the current start from earlier ones: a late batch of an earlier one makes it no newer
ALTER TABLE ledger ADD COLUMN first_arrival timestamptz NOT NULL DEFAULT now();
UPDATE ledger SET first_arrival = last_arrival;
-- since when it waits; received is when the ingest took it, which a historian that is behind reads later
ALTER TABLE parked_batch ADD COLUMN parked timestamptz NOT NULL DEFAULT now();
-- the definition that the message would have brought
ALTER TABLE dead_letter ADD COLUMN definition text;
-- a batch that its agent sends again and again is set aside once
UPDATE dead_letter SET closed = now(), closed_by = 'migration', closed_reason = 'the same batch is in the dead letters already'
WHERE closed IS NULL AND batch > 0 AND EXISTS (
    SELECT FROM dead_letter AS other
    WHERE other.agent_id = dead_letter.agent_id AND other.epoch = dead_letter.epoch AND other.batch = dead_letter.batch
        AND other.closed IS NULL AND other.dead_letter_id < dead_letter.dead_letter_id
);
CREATE UNIQUE INDEX dead_letter_once ON dead_letter (agent_id, epoch, batch) WHERE closed IS NULL AND batch > 0;
CREATE INDEX dead_letter_definition ON dead_letter (agent_id, definition) WHERE definition IS NOT NULL;

-- What the ledger says of each epoch. missing: batches that were numbered, and neither arrived, nor are explained by a gap
-- of their agent, nor were closed by a person. A batch in the dead letters is missing, also when it is the last one. So is
-- one that is stuck: it arrived, and its definition is in the dead letters, or has not come for a quarter of an hour.
-- missing_since: for how long at least one batch has been missing.
DROP VIEW ledger_state;
CREATE VIEW ledger_state AS
SELECT
    state.*,
    CASE
        WHEN NOT isempty(missing) THEN least(incomplete_since, in_dead_letters_since, stuck_since)
    END AS missing_since
FROM (
    SELECT
        ledger.tenant_id,
        ledger.agent_id,
        agent.group_name,
        agent.name,
        ledger.epoch,
        ledger.started,
        ledger.first_batch,
        ledger.last_batch,
        ledger.arrived - parked.stuck AS arrived,
        ledger.samples,
        ledger.duplicates,
        ledger.first_arrival,
        ledger.last_arrival,
        ledger.incomplete_since,
        letters.since AS in_dead_letters_since,
        parked.since AS stuck_since,
        CASE
            WHEN coalesce(ledger.first_batch, lower(ledger.arrived)) IS NULL THEN '{}'::int8multirange
            ELSE int8multirange(
                int8range(
                    coalesce(ledger.first_batch, lower(ledger.arrived)),
                    greatest(
                        coalesce(ledger.first_batch, lower(ledger.arrived)), ledger.last_batch + 1, upper(ledger.arrived)
                    )
                )
            )
        END + letters.open - letters.closed - closings.batches - gaps.explained - (ledger.arrived - parked.stuck) AS missing,
        gaps.explained - (ledger.arrived - parked.stuck) AS given_up,
        letters.closed + closings.batches - gaps.explained - (ledger.arrived - parked.stuck) AS closed,
        letters.open - letters.closed - closings.batches - gaps.explained - ledger.arrived AS in_dead_letters,
        parked.stuck - letters.closed - closings.batches - gaps.explained AS stuck,
        closings.has_closed_end
    FROM ledger
    JOIN agent USING (agent_id)
    CROSS JOIN LATERAL (
        SELECT
            coalesce(range_agg(int8range(batch, batch + 1)) FILTER (WHERE dead_letter.closed IS NULL), '{}') AS open,
            min(recorded) FILTER (WHERE dead_letter.closed IS NULL) AS since,
            coalesce(range_agg(int8range(batch, batch + 1)) FILTER (WHERE dead_letter.closed IS NOT NULL), '{}') AS closed
        FROM dead_letter
        WHERE dead_letter.agent_id = ledger.agent_id AND dead_letter.epoch = ledger.epoch
            AND batch < 9223372036854775807
    ) AS letters
    CROSS JOIN LATERAL (
        SELECT coalesce(range_agg(batches), '{}') AS explained
        FROM gap
        WHERE gap.agent_id = ledger.agent_id AND gap.epoch = ledger.epoch AND batches IS NOT NULL
    ) AS gaps
    CROSS JOIN LATERAL (
        SELECT coalesce(range_agg(batches), '{}') AS batches, coalesce(bool_or(closes_end), false) AS has_closed_end
        FROM ledger_closing
        WHERE ledger_closing.agent_id = ledger.agent_id AND ledger_closing.epoch = ledger.epoch
    ) AS closings
    CROSS JOIN LATERAL (
        SELECT coalesce(range_agg(int8range(batch, batch + 1)), '{}') AS stuck, min(parked_batch.parked) AS since
        FROM parked_batch
        WHERE parked_batch.agent_id = ledger.agent_id AND parked_batch.epoch = ledger.epoch
            AND batch < 9223372036854775807
            AND (
                parked_batch.parked < now() - interval '15 minutes'
                OR EXISTS (
                    SELECT FROM dead_letter
                    WHERE dead_letter.agent_id = parked_batch.agent_id AND dead_letter.definition = parked_batch.definition
                )
            )
    ) AS parked
) AS state;
UPDATE ledger SET incomplete_since = ledger.last_arrival FROM ledger_state
WHERE ledger_state.agent_id = ledger.agent_id AND ledger_state.epoch = ledger.epoch AND NOT isempty(ledger_state.missing);
