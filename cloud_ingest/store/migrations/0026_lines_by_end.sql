-- What touches the newest minutes of a line is found by when it ended, and not among all that ever was.
CREATE INDEX line_stop_end ON line_stop (line_id, end_ns);
CREATE INDEX line_state_end ON line_state (line_id, end_ns);
CREATE INDEX work_order_run_end ON work_order_run (tenant_id, site, line, end_ns);
-- starts whose commands are taken back
CREATE INDEX work_order_failed_start ON work_order (work_order_id) WHERE download = 'failed';
