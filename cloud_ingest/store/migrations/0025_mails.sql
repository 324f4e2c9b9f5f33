-- E-mails that no rule of notifications asks for: reports to who gets them, and what customers hear of their orders.

-- One mail to one address. It stays as the record of what was sent.
CREATE TABLE mail (
    mail_id text PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    kind text NOT NULL CHECK (kind IN ('report', 'order')),
    -- the report or the order
    about text NOT NULL,
    -- the event that asked for it: it is not asked for twice
    cause text NOT NULL,
    recipient text NOT NULL,
    -- JSON: its words, or of which day the report is that it takes along
    content text NOT NULL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'sent', 'dead')),
    due timestamptz NOT NULL,
    tries integer NOT NULL DEFAULT 0,
    reason text NOT NULL DEFAULT '',
    created timestamptz NOT NULL DEFAULT now(),
    changed timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, cause, recipient)
);
CREATE INDEX mail_due ON mail (due) WHERE state = 'waiting';
CREATE INDEX mail_page ON mail (tenant_id, mail_id DESC);
CREATE INDEX mail_changed ON mail (changed);
SELECT keep_tenants_apart('mail');

-- The figures of a report in a few lines: what a mail says to who reads it as plain text.
ALTER TABLE report ADD COLUMN summary text NOT NULL DEFAULT '';

-- The payment gateway's names of a customer and of a card on file, with which orders are paid without asking anybody.
ALTER TABLE customer
    ADD COLUMN payer text NOT NULL DEFAULT '',
    ADD COLUMN payment_method text NOT NULL DEFAULT '';
