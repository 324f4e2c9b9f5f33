-- The batch that a gap explains, where it names one: an agent says so of a batch that the event log will never take.
ALTER TABLE gap ADD COLUMN epoch bigint, ADD COLUMN batch bigint;
CREATE INDEX gap_batch ON gap (agent_id, epoch) WHERE batch IS NOT NULL;

-- The definition that the newest birth of a device named: unit, type and description of its tags are as it says.
CREATE TABLE born_definition (
    agent_id integer NOT NULL REFERENCES agent,
    tenant_id integer NOT NULL REFERENCES tenant,
    device text NOT NULL,
    hash text NOT NULL,
    PRIMARY KEY (agent_id, device)
);

-- When the last record before the place was taken. After the log has lost its end, what it took since is read again from
-- the first record that is not older.
ALTER TABLE projection ADD COLUMN last_ms bigint;

-- What the ledger says of each epoch. missing: batches that were numbered, and neither arrived nor are explained. A batch
-- in the dead letters is missing, also when it is the last one, until a person has closed it with a reason; unless its
-- agent has declared it as given up: it was told, and has the batch in its table of refused ones.
CREATE OR REPLACE VIEW ledger_state AS
SELECT
    ledger.tenant_id,
    ledger.agent_id,
    agent.group_name,
    agent.name,
    ledger.epoch,
    ledger.started,
    ledger.first_batch,
    ledger.last_batch,
    ledger.arrived,
    ledger.samples,
    ledger.duplicates,
    ledger.last_arrival,
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
    END + letters.open - letters.closed - gaps.explained - ledger.arrived AS missing,
    gaps.explained - ledger.arrived AS given_up
FROM ledger
JOIN agent USING (agent_id)
CROSS JOIN LATERAL (
    SELECT
        coalesce(range_agg(int8range(batch, batch + 1)) FILTER (WHERE closed IS NULL), '{}') AS open,
        coalesce(range_agg(int8range(batch, batch + 1)) FILTER (WHERE closed IS NOT NULL), '{}') AS closed
    FROM dead_letter
    WHERE dead_letter.agent_id = ledger.agent_id AND dead_letter.epoch = ledger.epoch
        AND batch < 9223372036854775807
) AS letters
CROSS JOIN LATERAL (
    SELECT coalesce(range_agg(int8range(batch, batch + 1)), '{}') AS explained
    FROM gap
    WHERE gap.agent_id = ledger.agent_id AND gap.epoch = ledger.epoch AND batch IS NOT NULL AND reason = 'refused'
) AS gaps;
