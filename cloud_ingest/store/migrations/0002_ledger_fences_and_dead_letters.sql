-- Counts the writes of a ledger row: whoever has read an older revision writes nothing. It fences what the place in the
-- log does not: two partitions with records of one agent, after partitions were added to the topic.
ALTER TABLE ledger ADD COLUMN revision bigint NOT NULL DEFAULT 0;

CREATE INDEX dead_letter_batch ON dead_letter (agent_id, epoch) WHERE batch IS NOT NULL;

-- What the ledger says of each epoch. missing: batches that were numbered, and neither arrived nor are explained. A batch
-- in the dead letters is missing, also when it is the last one, until a person has closed it with a reason.
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
    END + letters.open - letters.closed - ledger.arrived AS missing
FROM ledger
JOIN agent USING (agent_id)
CROSS JOIN LATERAL (
    SELECT
        coalesce(range_agg(int8range(batch, batch + 1)) FILTER (WHERE closed IS NULL), '{}') AS open,
        coalesce(range_agg(int8range(batch, batch + 1)) FILTER (WHERE closed IS NOT NULL), '{}') AS closed
    FROM dead_letter
    WHERE dead_letter.agent_id = ledger.agent_id AND dead_letter.epoch = ledger.epoch
        AND batch < 9223372036854775807
) AS letters;
