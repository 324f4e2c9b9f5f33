-- Who may log in, what they may, and what was given to them: tokens, sessions and links by their SHA-256 alone.

-- what a tenant looks like
CREATE TABLE tenant_brand (
    tenant_id integer PRIMARY KEY REFERENCES tenant,
    title text NOT NULL DEFAULT '',
    -- #rrggbb
    primary_color text NOT NULL DEFAULT '',
    accent_color text NOT NULL DEFAULT '',
    logo bytea,
    logo_type text,
    revision integer NOT NULL DEFAULT 1,
    changed timestamptz NOT NULL DEFAULT now()
);
SELECT keep_tenants_apart('tenant_brand');

CREATE TABLE identity_user (
    user_id text PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    -- what is typed to log in, in lower case: one name of all tenants, as it says which tenant is meant
    login text NOT NULL UNIQUE,
    name text NOT NULL,
    -- Argon2id (RFC 9106); absent until the one-time link was used
    password_hash text,
    -- whose orders alone they see
    customer text,
    revision integer NOT NULL DEFAULT 1,
    created timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    disabled timestamptz
);
CREATE INDEX identity_user_tenant ON identity_user (tenant_id, login);
SELECT keep_tenants_apart('identity_user');

-- programs: services that log in as themselves, and apps by which people log in
CREATE TABLE identity_client (
    client_id text PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    kind text NOT NULL CHECK (kind IN ('service', 'app')),
    name text NOT NULL,
    secret_sha256 bytea,
    redirect_uris text[] NOT NULL DEFAULT '{}',
    revision integer NOT NULL DEFAULT 1,
    created timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    disabled timestamptz
);
CREATE INDEX identity_client_tenant ON identity_client (tenant_id, client_id);
SELECT keep_tenants_apart('identity_client');

-- roles of users (user:…) and services (client:…); an empty site is every site, an empty line every line of it
CREATE TABLE identity_grant (
    tenant_id integer NOT NULL REFERENCES tenant,
    subject text NOT NULL,
    role text NOT NULL,
    site text NOT NULL DEFAULT '',
    line text NOT NULL DEFAULT '',
    PRIMARY KEY (tenant_id, subject, role, site, line)
);
SELECT keep_tenants_apart('identity_grant');

CREATE TABLE identity_link (
    sha256 bytea PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    user_id text NOT NULL REFERENCES identity_user ON DELETE CASCADE,
    expires timestamptz NOT NULL,
    used timestamptz,
    created_by text NOT NULL
);
SELECT keep_tenants_apart('identity_link');

-- somebody is logged in, in one browser
CREATE TABLE identity_session (
    session_id text PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    user_id text NOT NULL REFERENCES identity_user ON DELETE CASCADE,
    sha256 bytea NOT NULL UNIQUE,
    created timestamptz NOT NULL DEFAULT now(),
    expires timestamptz NOT NULL,
    ended timestamptz,
    address text NOT NULL DEFAULT '',
    browser text NOT NULL DEFAULT ''
);
CREATE INDEX identity_session_user ON identity_session (user_id, session_id);
CREATE INDEX identity_session_expires ON identity_session (expires);
SELECT keep_tenants_apart('identity_session');

-- All tokens that follow from one login of one client: revoked together.
CREATE TABLE identity_family (
    family_id text PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    client_id text NOT NULL REFERENCES identity_client ON DELETE CASCADE,
    user_id text REFERENCES identity_user ON DELETE CASCADE,
    session_id text REFERENCES identity_session ON DELETE CASCADE,
    scope text NOT NULL,
    -- of the authorization code, used once
    code_sha256 bytea UNIQUE,
    code_expires timestamptz,
    code_used timestamptz,
    redirect_uri text NOT NULL DEFAULT '',
    challenge text NOT NULL DEFAULT '',
    nonce text NOT NULL DEFAULT '',
    created timestamptz NOT NULL DEFAULT now(),
    expires timestamptz NOT NULL,
    revoked timestamptz,
    revoked_why text
);
CREATE INDEX identity_family_user ON identity_family (user_id);
CREATE INDEX identity_family_session ON identity_family (session_id);
CREATE INDEX identity_family_expires ON identity_family (expires);
SELECT keep_tenants_apart('identity_family');

-- Refresh tokens: each is used once, and one that comes again revokes its family.
CREATE TABLE identity_refresh (
    sha256 bytea PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    family_id text NOT NULL REFERENCES identity_family ON DELETE CASCADE,
    expires timestamptz NOT NULL,
    used timestamptz
);
CREATE INDEX identity_refresh_family ON identity_refresh (family_id);
SELECT keep_tenants_apart('identity_refresh');

-- The keys that access tokens are signed with; private is a JWE, whose key is in no table.
CREATE TABLE identity_key (
    key_id text PRIMARY KEY,
    tenant_id integer NOT NULL DEFAULT 1 REFERENCES tenant,
    public_key text NOT NULL,
    private_key text NOT NULL,
    created timestamptz NOT NULL,
    -- published from 'created' on, signs from 'signs' on
    signs timestamptz NOT NULL,
    retired timestamptz
);
SELECT keep_tenants_apart('identity_key');
REVOKE ALL ON identity_key FROM lineside_tenant;

-- failed attempts to log in, by account and by address
CREATE TABLE identity_attempt (
    place text PRIMARY KEY,
    tenant_id integer NOT NULL DEFAULT 1 REFERENCES tenant,
    failures integer NOT NULL,
    last_failure timestamptz NOT NULL,
    closed_until timestamptz NOT NULL
);
CREATE INDEX identity_attempt_last ON identity_attempt (last_failure);
SELECT keep_tenants_apart('identity_attempt');
REVOKE ALL ON identity_attempt FROM lineside_tenant;

-- each tenant has an audit log of its own
INSERT INTO command_audit_head (tenant_id) SELECT tenant_id FROM tenant ON CONFLICT DO NOTHING;
