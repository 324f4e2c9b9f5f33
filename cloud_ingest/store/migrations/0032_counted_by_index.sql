-- How many tags an agent has is counted in the index, and not row by row.
CREATE INDEX tag_agent ON tag (agent_id) INCLUDE (tenant_id);
-- What is due within a span is found by its time: who asks for an hour of last week meets none of what is due just now.
CREATE INDEX rollup_minute_due_bucket ON rollup_minute_due (bucket);
CREATE INDEX rollup_hour_due_bucket ON rollup_hour_due (bucket);
