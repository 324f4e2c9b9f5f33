-- What people decide about the ledger: batches and ends of epochs that they close with a reason; what became of a dead
-- letter; and how far each agent's samples are behind.

CREATE TABLE ledger_closing (
    ledger_closing_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id integer NOT NULL REFERENCES agent,
    tenant_id integer NOT NULL REFERENCES tenant,
    epoch bigint NOT NULL,
    batches int8multirange NOT NULL DEFAULT '{}',
    -- the epoch never said how far it went: this is closed, too
    closes_end boolean NOT NULL DEFAULT false,
    reason text NOT NULL,
    closed_by text NOT NULL,
    closed timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ledger_closing_epoch ON ledger_closing (agent_id, epoch);

ALTER TABLE dead_letter ADD COLUMN closed_by text;
-- how often a person had the message stored again, in vain
ALTER TABLE dead_letter ADD COLUMN replays integer NOT NULL DEFAULT 0;
ALTER TABLE dead_letter ADD COLUMN replay_failure text;

-- From the source time of the newest sample of a transaction to its arrival in the cloud: the last one, and the 95th
-- percentile over the last minutes.
ALTER TABLE agent ADD COLUMN delay_ms bigint;
ALTER TABLE agent ADD COLUMN delay_p95_ms bigint;
ALTER TABLE agent ADD COLUMN delay_measured timestamptz;

-- What the ledger says of each epoch. missing: batches that were numbered, and neither arrived, nor are explained by a gap
-- of their agent, nor were closed by a person. A batch in the dead letters is missing, also when it is the last one.
DROP VIEW ledger_state;
CREATE VIEW ledger_state AS
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
    END + letters.open - letters.closed - closings.batches - gaps.explained - ledger.arrived AS missing,
    gaps.explained - ledger.arrived AS given_up,
    letters.closed + closings.batches - gaps.explained - ledger.arrived AS closed,
    letters.open - letters.closed - closings.batches - gaps.explained - ledger.arrived AS in_dead_letters,
    closings.has_closed_end
FROM ledger
JOIN agent USING (agent_id)
CROSS JOIN LATERAL (
    SELECT
        coalesce(range_agg(int8range(batch, batch + 1)) FILTER (WHERE dead_letter.closed IS NULL), '{}') AS open,
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
) AS closings;
