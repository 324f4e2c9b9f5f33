-- Accounts at vendors of tenants, beside the one of all: what is known of a vendor is known of an account there, by the
-- name of the tenant that has it; empty for the one of all.

ALTER TABLE integration_circuit ADD COLUMN account text NOT NULL DEFAULT '';
ALTER TABLE integration_circuit DROP CONSTRAINT integration_circuit_pkey;
ALTER TABLE integration_circuit ADD PRIMARY KEY (account, port);

ALTER TABLE vendor_webhook ADD COLUMN account text NOT NULL DEFAULT '';
ALTER TABLE vendor_webhook DROP CONSTRAINT vendor_webhook_pkey;
ALTER TABLE vendor_webhook ADD PRIMARY KEY (account, vendor, event_id);

ALTER TABLE crm_place ADD COLUMN account text NOT NULL DEFAULT '';
ALTER TABLE crm_place DROP CONSTRAINT crm_place_pkey;
ALTER TABLE crm_place ADD PRIMARY KEY (account, vendor);
