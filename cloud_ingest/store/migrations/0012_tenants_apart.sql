-- Tenants apart in every table that was there before: the API reads and writes as the role lineside_tenant, and sees the
-- rows of one tenant alone. Ingest, historian, upkeep and other work for all tenants go on with the owner's rights.

-- Of tables that are partitioned this includes the partitions: each can be asked by its own name.
DO $$
DECLARE
    found regclass;
BEGIN
    FOR found IN
        SELECT pg_class.oid FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attname = 'tenant_id'
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT attisdropped
            AND NOT relrowsecurity
        ORDER BY relname
    LOOP
        PERFORM keep_tenants_apart(found);
    END LOOP;
END
$$;

-- A view has the rights of its owner unless it is told otherwise, and would show all tenants.
CREATE FUNCTION keep_views_apart() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    found regclass;
BEGIN
    FOR found IN SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'v'
    LOOP
        EXECUTE format('ALTER VIEW %s SET (security_invoker = true)', found);
    END LOOP;
END
$$;
SELECT keep_views_apart();

-- What is no tenant's is none of their business.
REVOKE ALL ON schema_migration FROM lineside_tenant;
