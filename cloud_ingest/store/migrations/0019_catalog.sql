-- Documents (connectors/ports/documents.py on PostgreSQL), and what of the catalog is published.

-- one document; without a body it was deleted, and its revisions go on from there if it comes again
CREATE TABLE document (
    tenant_id integer NOT NULL REFERENCES tenant,
    collection text NOT NULL,
    document_id text COLLATE "C" NOT NULL,
    revision bigint NOT NULL,
    body jsonb,
    -- the words that it is found by
    words tsvector NOT NULL DEFAULT '',
    changed timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, collection, document_id)
);
CREATE INDEX document_words ON document USING gin (words);
CREATE INDEX document_body ON document USING gin (body jsonb_path_ops);
SELECT keep_tenants_apart('document');

-- entries of collections that are kept by time, and only so many bytes of them
CREATE TABLE document_entry (
    tenant_id integer NOT NULL REFERENCES tenant,
    collection text NOT NULL,
    entry_id text COLLATE "C" NOT NULL,
    time_ns bigint NOT NULL,
    size_bytes integer NOT NULL,
    body jsonb NOT NULL,
    words tsvector NOT NULL DEFAULT '',
    PRIMARY KEY (tenant_id, collection, entry_id)
);
CREATE INDEX document_entry_time ON document_entry (tenant_id, collection, time_ns, entry_id) INCLUDE (size_bytes);
CREATE INDEX document_entry_words ON document_entry USING gin (words);
SELECT keep_tenants_apart('document_entry');

-- every version that was ever published of a product, a routing, or content
CREATE TABLE catalog_version (
    tenant_id integer NOT NULL REFERENCES tenant,
    kind text NOT NULL CHECK (kind IN ('product', 'routing', 'content')),
    code text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    -- that of the document that it was made of
    revision bigint NOT NULL,
    document jsonb NOT NULL,
    published timestamptz NOT NULL DEFAULT now(),
    published_by text NOT NULL,
    PRIMARY KEY (tenant_id, kind, code, version)
);
SELECT keep_tenants_apart('catalog_version');

-- the version that holds now; none for what was withdrawn
CREATE TABLE catalog_published (
    tenant_id integer NOT NULL REFERENCES tenant,
    kind text NOT NULL CHECK (kind IN ('product', 'routing', 'content')),
    code text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    document jsonb NOT NULL,
    -- the words that it is found by
    words tsvector NOT NULL,
    PRIMARY KEY (tenant_id, kind, code),
    FOREIGN KEY (tenant_id, kind, code, version) REFERENCES catalog_version
);
CREATE INDEX catalog_published_routing ON catalog_published (tenant_id, (document ->> 'routing')) WHERE kind = 'product';
SELECT keep_tenants_apart('catalog_published');
