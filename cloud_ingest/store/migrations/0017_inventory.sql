-- Inventory: items, places, lots, the ledger of stock with its balances, and what is promised of it.

CREATE TABLE item (
    tenant_id integer NOT NULL REFERENCES tenant,
    code text NOT NULL,
    name text NOT NULL DEFAULT '',
    kind text NOT NULL CHECK (kind IN ('raw', 'component', 'product')),
    unit text NOT NULL,
    tracking text NOT NULL CHECK (tracking IN ('none', 'lot', 'serial')),
    -- an assembly that is never in stock: bills of material pass through it
    is_phantom boolean NOT NULL DEFAULT false,
    -- lots that come in have to be released first
    quarantine boolean NOT NULL DEFAULT false,
    shelf_life_days integer CHECK (shelf_life_days > 0),
    reorder_point numeric(18,6) CHECK (reorder_point >= 0),
    reorder_quantity numeric(18,6) CHECK (reorder_quantity > 0),
    supplier text NOT NULL DEFAULT '',
    -- below its reorder point since it was last said
    is_low boolean NOT NULL DEFAULT false,
    is_active boolean NOT NULL DEFAULT true,
    revision integer NOT NULL DEFAULT 1,
    created timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, code)
);

-- Places, and the accounts outside of them (codes that begin with @), so that every movement has two ends.
CREATE TABLE stock_location (
    tenant_id integer NOT NULL REFERENCES tenant,
    code text NOT NULL,
    name text NOT NULL DEFAULT '',
    kind text NOT NULL CHECK (kind IN ('site', 'warehouse', 'bin', 'line-side', 'account')),
    parent text,
    -- the codes from the outermost place to this one
    path text[] NOT NULL,
    site text,
    allows_negative boolean NOT NULL DEFAULT false,
    -- whether stock here can be reserved for customers
    is_pickable boolean NOT NULL DEFAULT true,
    is_active boolean NOT NULL DEFAULT true,
    revision integer NOT NULL DEFAULT 1,
    created timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, code),
    FOREIGN KEY (tenant_id, parent) REFERENCES stock_location,
    CHECK ((kind = 'account') = (code LIKE '@%'))
);
CREATE INDEX stock_location_path ON stock_location USING gin (path);

CREATE FUNCTION add_stock_accounts() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO stock_location (tenant_id, code, name, kind, path, allows_negative, is_pickable)
    SELECT NEW.tenant_id, account, account, 'account', ARRAY[account], true, false
    FROM unnest(ARRAY['@supplier', '@customer', '@production', '@issued', '@scrap', '@adjustment']) AS account;
    RETURN NEW;
END
$$;
CREATE TRIGGER tenant_stock_accounts AFTER INSERT ON tenant FOR EACH ROW EXECUTE FUNCTION add_stock_accounts();
INSERT INTO stock_location (tenant_id, code, name, kind, path, allows_negative, is_pickable)
SELECT tenant_id, account, account, 'account', ARRAY[account], true, false
FROM tenant, unnest(ARRAY['@supplier', '@customer', '@production', '@issued', '@scrap', '@adjustment']) AS account;

-- where a line takes its components, and where its products go; a line without a row: its site
CREATE TABLE line_stock (
    tenant_id integer NOT NULL REFERENCES tenant,
    site text NOT NULL,
    line text NOT NULL,
    components_at text NOT NULL,
    products_to text NOT NULL,
    revision integer NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant_id, site, line),
    FOREIGN KEY (tenant_id, components_at) REFERENCES stock_location,
    FOREIGN KEY (tenant_id, products_to) REFERENCES stock_location
);

-- lots and serial numbers (a lot of one)
CREATE TABLE item_lot (
    tenant_id integer NOT NULL REFERENCES tenant,
    item text NOT NULL,
    lot text NOT NULL CHECK (lot <> ''),
    status text NOT NULL CHECK (status IN ('quarantined', 'released', 'blocked')),
    expires date,
    -- the work order that made it, or the order it came with
    origin text NOT NULL DEFAULT '',
    revision integer NOT NULL DEFAULT 1,
    created timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, item, lot),
    FOREIGN KEY (tenant_id, item) REFERENCES item
);

CREATE INDEX item_lot_origin ON item_lot (tenant_id, item, origin);

-- The ledger. Append only: a mistake is set right by another movement. What leaves one end comes to the other.
CREATE TABLE stock_movement (
    movement bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    kind text NOT NULL CHECK (kind IN ('receipt', 'issue', 'transfer', 'consumption', 'production', 'scrap',
        'adjustment', 'shipment', 'return')),
    item text NOT NULL,
    lot text NOT NULL DEFAULT '',
    quantity numeric(18,6) NOT NULL CHECK (quantity > 0),
    source text NOT NULL,
    target text NOT NULL CHECK (target <> source),
    order_id text NOT NULL DEFAULT '',
    work_order text NOT NULL DEFAULT '',
    -- what a component was consumed for
    product text NOT NULL DEFAULT '',
    site text NOT NULL DEFAULT '',
    line text NOT NULL DEFAULT '',
    reference text NOT NULL DEFAULT '',
    reason text NOT NULL DEFAULT '',
    booked_by text NOT NULL,
    -- the number of the event of the line that it was booked from
    event_number bigint,
    happened timestamptz NOT NULL,
    booked timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (tenant_id, item) REFERENCES item,
    FOREIGN KEY (tenant_id, source) REFERENCES stock_location,
    FOREIGN KEY (tenant_id, target) REFERENCES stock_location
);
CREATE INDEX stock_movement_item ON stock_movement (tenant_id, item, movement);
CREATE INDEX stock_movement_lot ON stock_movement (tenant_id, item, lot) WHERE lot <> '';
CREATE INDEX stock_movement_event ON stock_movement (tenant_id, event_number) WHERE event_number IS NOT NULL;
CREATE INDEX stock_movement_work_order ON stock_movement (tenant_id, work_order, item) WHERE work_order <> '';
CREATE FUNCTION keep_stock_movement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger of stock is append-only: book another movement that sets it right'
        USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER stock_movement_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON stock_movement
    FOR EACH STATEMENT EXECUTE FUNCTION keep_stock_movement();

-- What is where: the sum of the movements, kept with each of them ('cloud-ingest inventory verify' proves it).
-- Who changes a row holds the lock on its item.
CREATE TABLE stock_balance (
    tenant_id integer NOT NULL REFERENCES tenant,
    item text NOT NULL,
    location text NOT NULL,
    lot text NOT NULL DEFAULT '',
    on_hand numeric(18,6) NOT NULL,
    reserved numeric(18,6) NOT NULL DEFAULT 0,
    allows_negative boolean NOT NULL,
    -- when it came, as long as any of it is there: what came first goes first
    arrived timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, item, location, lot),
    FOREIGN KEY (tenant_id, item) REFERENCES item,
    FOREIGN KEY (tenant_id, location) REFERENCES stock_location,
    CONSTRAINT stock_is_not_negative CHECK (on_hand >= 0 OR allows_negative),
    CONSTRAINT reserved_is_there CHECK (reserved = 0 OR (reserved > 0 AND reserved <= on_hand))
);
CREATE INDEX stock_balance_location ON stock_balance (tenant_id, location);

-- What is promised, of which stock. quantity = open + used + released
CREATE TABLE stock_reservation (
    reservation text PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    item text NOT NULL,
    location text NOT NULL,
    lot text NOT NULL DEFAULT '',
    for_kind text NOT NULL CHECK (for_kind IN ('order', 'work-order')),
    for_id text NOT NULL,
    for_line text NOT NULL DEFAULT '',
    quantity numeric(18,6) NOT NULL CHECK (quantity > 0),
    open numeric(18,6) NOT NULL CHECK (open >= 0),
    used numeric(18,6) NOT NULL DEFAULT 0 CHECK (used >= 0),
    released numeric(18,6) NOT NULL DEFAULT 0 CHECK (released >= 0),
    expires timestamptz,
    created timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (tenant_id, item, location, lot) REFERENCES stock_balance,
    CHECK (quantity = open + used + released)
);
CREATE INDEX stock_reservation_for ON stock_reservation (tenant_id, for_kind, for_id);
CREATE INDEX stock_reservation_item ON stock_reservation (tenant_id, item) WHERE open > 0;
CREATE INDEX stock_reservation_expires ON stock_reservation (expires) WHERE open > 0 AND expires IS NOT NULL;

-- What production has used or taken back, and the ledger does not have: booked when it comes.
CREATE TABLE stock_shortage (
    shortage text PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    kind text NOT NULL CHECK (kind IN ('consumption', 'production')),
    item text NOT NULL,
    location text NOT NULL,
    quantity numeric(18,6) NOT NULL CHECK (quantity > 0),
    open numeric(18,6) NOT NULL CHECK (open >= 0 AND open <= quantity),
    product text NOT NULL DEFAULT '',
    product_lot text NOT NULL DEFAULT '',
    work_order text NOT NULL DEFAULT '',
    site text NOT NULL DEFAULT '',
    line text NOT NULL DEFAULT '',
    event_number bigint,
    happened timestamptz NOT NULL,
    closed_by text,
    closed_reason text,
    FOREIGN KEY (tenant_id, item) REFERENCES item,
    FOREIGN KEY (tenant_id, location) REFERENCES stock_location
);
CREATE INDEX stock_shortage_open ON stock_shortage (tenant_id, item, shortage) WHERE open > 0;

-- Which lots are in which: of everything that production has made
CREATE TABLE lot_part (
    tenant_id integer NOT NULL REFERENCES tenant,
    item text NOT NULL,
    lot text NOT NULL,
    part text NOT NULL,
    part_lot text NOT NULL,
    work_order text NOT NULL DEFAULT '',
    quantity numeric(18,6) NOT NULL,
    first_used timestamptz NOT NULL,
    last_used timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, item, lot, part, part_lot, work_order),
    FOREIGN KEY (tenant_id, item, lot) REFERENCES item_lot,
    FOREIGN KEY (tenant_id, part, part_lot) REFERENCES item_lot
);
CREATE INDEX lot_part_part ON lot_part (tenant_id, part, part_lot);

CREATE TABLE bom (
    tenant_id integer NOT NULL REFERENCES tenant,
    item text NOT NULL,
    version integer NOT NULL CHECK (version > 0),
    -- it holds from here until a later one of the item does
    effective timestamptz NOT NULL,
    -- the lines are for so many of the item
    yields numeric(18,6) NOT NULL DEFAULT 1 CHECK (yields > 0),
    note text NOT NULL DEFAULT '',
    created_by text NOT NULL,
    created timestamptz NOT NULL DEFAULT now(),
    withdrawn timestamptz,
    PRIMARY KEY (tenant_id, item, version),
    FOREIGN KEY (tenant_id, item) REFERENCES item
);
CREATE UNIQUE INDEX bom_effective ON bom (tenant_id, item, effective) WHERE withdrawn IS NULL;
CREATE TABLE bom_line (
    tenant_id integer NOT NULL REFERENCES tenant,
    item text NOT NULL,
    version integer NOT NULL,
    component text NOT NULL,
    quantity numeric(18,6) NOT NULL CHECK (quantity > 0),
    -- so much more is used than ends in the product, as a part of it
    scrap_factor numeric(9,6) NOT NULL DEFAULT 0 CHECK (scrap_factor >= 0 AND scrap_factor <= 10),
    PRIMARY KEY (tenant_id, item, version, component),
    FOREIGN KEY (tenant_id, item, version) REFERENCES bom,
    FOREIGN KEY (tenant_id, component) REFERENCES item
);
CREATE INDEX bom_line_component ON bom_line (tenant_id, component);

CREATE TABLE purchase_proposal (
    proposal text PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    item text NOT NULL,
    quantity numeric(18,6) NOT NULL CHECK (quantity > 0),
    received numeric(18,6) NOT NULL DEFAULT 0 CHECK (received >= 0),
    state text NOT NULL CHECK (state IN ('proposed', 'ordered', 'received', 'dismissed')),
    supplier text NOT NULL DEFAULT '',
    reference text NOT NULL DEFAULT '',
    expected date,
    reason text NOT NULL DEFAULT '',
    changed_by text NOT NULL,
    changed timestamptz NOT NULL DEFAULT now(),
    created timestamptz NOT NULL DEFAULT now(),
    revision integer NOT NULL DEFAULT 1,
    FOREIGN KEY (tenant_id, item) REFERENCES item
);
CREATE INDEX purchase_proposal_open ON purchase_proposal (tenant_id, item) WHERE state IN ('proposed', 'ordered');

CREATE TABLE stock_count (
    count_id text PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    location text NOT NULL,
    state text NOT NULL CHECK (state IN ('frozen', 'counted', 'booked', 'cancelled')),
    note text NOT NULL DEFAULT '',
    frozen timestamptz NOT NULL DEFAULT now(),
    frozen_by text NOT NULL,
    counted timestamptz,
    counted_by text,
    ended timestamptz,
    ended_by text,
    revision integer NOT NULL DEFAULT 1,
    FOREIGN KEY (tenant_id, location) REFERENCES stock_location
);
CREATE INDEX stock_count_open ON stock_count (tenant_id, location) WHERE state IN ('frozen', 'counted');
CREATE TABLE stock_count_line (
    count_id text NOT NULL REFERENCES stock_count,
    tenant_id integer NOT NULL REFERENCES tenant,
    item text NOT NULL,
    location text NOT NULL,
    lot text NOT NULL DEFAULT '',
    -- what the ledger had when it was frozen
    expected numeric(18,6) NOT NULL,
    counted numeric(18,6) CHECK (counted >= 0),
    PRIMARY KEY (count_id, item, location, lot),
    FOREIGN KEY (tenant_id, item) REFERENCES item,
    FOREIGN KEY (tenant_id, location) REFERENCES stock_location
);

SELECT keep_tenants_apart('item');
SELECT keep_tenants_apart('stock_location');
SELECT keep_tenants_apart('line_stock');
SELECT keep_tenants_apart('item_lot');
SELECT keep_tenants_apart('stock_movement');
SELECT keep_tenants_apart('stock_balance');
SELECT keep_tenants_apart('stock_reservation');
SELECT keep_tenants_apart('stock_shortage');
SELECT keep_tenants_apart('lot_part');
SELECT keep_tenants_apart('bom');
SELECT keep_tenants_apart('bom_line');
SELECT keep_tenants_apart('purchase_proposal');
SELECT keep_tenants_apart('stock_count');
SELECT keep_tenants_apart('stock_count_line');
