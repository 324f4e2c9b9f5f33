-- Secrets of webhooks that were replaced, and sign beside the new one until the receivers have taken that over.
CREATE TABLE webhook_old_secret (
    tenant_id integer NOT NULL REFERENCES tenant,
    endpoint_id text NOT NULL REFERENCES webhook_endpoint ON DELETE CASCADE,
    secret text NOT NULL,
    until timestamptz NOT NULL,
    PRIMARY KEY (endpoint_id, secret)
);
SELECT keep_tenants_apart('webhook_old_secret');
