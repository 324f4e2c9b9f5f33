-- planner: plans work orders, keeps catalog and stock, takes orders; sends no command
ALTER TABLE api_token DROP CONSTRAINT api_token_role_check;
ALTER TABLE api_token ADD CONSTRAINT api_token_role_check
    CHECK (role IN ('viewer', 'operator', 'approver', 'engineer', 'planner'));
