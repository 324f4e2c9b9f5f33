-- Customers and their orders. An order is read and stored whole by whoever has locked its row in customer_order.

CREATE TABLE customer (
    tenant_id integer NOT NULL REFERENCES tenant,
    customer text NOT NULL,
    name text NOT NULL,
    email text NOT NULL DEFAULT '',
    phone text NOT NULL DEFAULT '',
    -- JSON: addresses by their label, such as {"delivery": {...}}
    addresses text NOT NULL DEFAULT '{}',
    currency text NOT NULL DEFAULT 'EUR',
    discount_percent numeric(5,2) NOT NULL DEFAULT 0 CHECK (discount_percent BETWEEN 0 AND 100),
    active boolean NOT NULL DEFAULT true,
    revision bigint NOT NULL DEFAULT 1,
    created timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    PRIMARY KEY (tenant_id, customer)
);

CREATE TABLE customer_order (
    order_id text PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenant,
    customer text NOT NULL,
    state text NOT NULL CHECK (state IN ('quote', 'placed', 'paid', 'released', 'in_production', 'packed', 'shipped',
        'closed', 'cancelling', 'cancelled', 'returning', 'returned')),
    currency text NOT NULL,
    -- sums of its lines
    net numeric(14,2) NOT NULL,
    tax numeric(14,2) NOT NULL,
    total numeric(14,2) NOT NULL CHECK (total = net + tax),
    -- the customer's own number for it
    reference text NOT NULL DEFAULT '',
    -- JSON, as it was when the order was made
    address text NOT NULL,
    wanted timestamptz,
    valid_until timestamptz,
    promised timestamptz,
    -- since when it is in its state
    changed timestamptz NOT NULL,
    -- when one of its work orders has counted something, last
    counted timestamptz,
    -- an operator wants what is missing to be planned anew
    replan boolean NOT NULL DEFAULT false,
    missing text NOT NULL DEFAULT '',
    missing_code text NOT NULL DEFAULT '',
    -- why it stands still until somebody does something
    problem text NOT NULL DEFAULT '',
    -- the durable timer: when the time alone makes something follow
    look_at timestamptz,
    reason text NOT NULL DEFAULT '',
    revision bigint NOT NULL DEFAULT 1,
    created timestamptz NOT NULL,
    created_by text NOT NULL,
    FOREIGN KEY (tenant_id, customer) REFERENCES customer
);
CREATE INDEX customer_order_page ON customer_order (tenant_id, order_id DESC);
CREATE INDEX customer_order_customer ON customer_order (tenant_id, customer, order_id DESC);
CREATE INDEX customer_order_due ON customer_order (look_at) WHERE look_at IS NOT NULL;
CREATE INDEX customer_order_problem ON customer_order (tenant_id, order_id DESC) WHERE problem <> '';

CREATE TABLE order_line (
    order_id text NOT NULL REFERENCES customer_order,
    tenant_id integer NOT NULL REFERENCES tenant,
    line integer NOT NULL CHECK (line > 0),
    product text NOT NULL,
    name text NOT NULL,
    unit text NOT NULL,
    quantity numeric(18,6) NOT NULL CHECK (quantity > 0),
    unit_price numeric(14,2) NOT NULL,
    discount_percent numeric(9,4) NOT NULL CHECK (discount_percent BETWEEN 0 AND 100),
    tax_rate numeric(7,4) NOT NULL,
    net numeric(14,2) NOT NULL,
    tax numeric(14,2) NOT NULL,
    gross numeric(14,2) NOT NULL CHECK (gross = net + tax),
    weight_kg numeric(14,6) NOT NULL DEFAULT 0,
    reserved numeric(18,6) NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    from_stock numeric(18,6) NOT NULL DEFAULT 0,
    -- late data corrects counts, also downwards
    produced numeric(18,6) NOT NULL DEFAULT 0,
    packed numeric(18,6) NOT NULL DEFAULT 0 CHECK (packed >= 0),
    shipped numeric(18,6) NOT NULL DEFAULT 0 CHECK (shipped >= 0),
    cancelled numeric(18,6) NOT NULL DEFAULT 0 CHECK (cancelled >= 0),
    returned numeric(18,6) NOT NULL DEFAULT 0 CHECK (returned BETWEEN 0 AND shipped),
    PRIMARY KEY (order_id, line),
    -- what has left is never more than was ordered: one order does not ship twice
    CHECK (shipped + cancelled <= quantity)
);
-- lines that wait for an item
CREATE INDEX order_line_waiting ON order_line (tenant_id, product)
    WHERE shipped + packed + reserved + cancelled < quantity;

-- Which work orders are for an order, as the events of lines tell of them.
CREATE TABLE order_work_order (
    work_order text PRIMARY KEY,
    order_id text NOT NULL REFERENCES customer_order,
    tenant_id integer NOT NULL REFERENCES tenant,
    line integer NOT NULL,
    -- the product of the line, or a component of it
    item text NOT NULL,
    quantity numeric(18,6) NOT NULL,
    -- of its routing: it gives finished pieces
    is_last boolean NOT NULL,
    state text NOT NULL,
    good numeric(18,6) NOT NULL DEFAULT 0,
    reject numeric(18,6) NOT NULL DEFAULT 0
);
CREATE INDEX order_work_order_order ON order_work_order (order_id);

-- What the work orders of a line take from stock, until it is counted: others are not promised it.
CREATE TABLE order_need (
    order_id text NOT NULL REFERENCES customer_order,
    line integer NOT NULL,
    item text NOT NULL,
    tenant_id integer NOT NULL REFERENCES tenant,
    quantity numeric(18,6) NOT NULL,
    -- for so many pieces of the line
    pieces numeric(18,6) NOT NULL CHECK (pieces > 0),
    PRIMARY KEY (order_id, line, item)
);
CREATE INDEX order_need_item ON order_need (tenant_id, item);

-- What is asked of payment providers and carriers, under one key until it is answered.
CREATE TABLE order_request (
    request text PRIMARY KEY,
    order_id text NOT NULL REFERENCES customer_order,
    tenant_id integer NOT NULL REFERENCES tenant,
    kind text NOT NULL CHECK (kind IN ('payment', 'refund', 'shipment')),
    -- of a refund the payment, of a shipment the shipment
    subject text NOT NULL,
    amount numeric(14,2) NOT NULL,
    state text NOT NULL CHECK (state IN ('open', 'done', 'failed', 'withdrawn')),
    attempts integer NOT NULL,
    due timestamptz,
    reason text NOT NULL DEFAULT ''
);
CREATE INDEX order_request_order ON order_request (order_id);

CREATE TABLE order_payment (
    order_id text NOT NULL REFERENCES customer_order,
    payment text NOT NULL,
    tenant_id integer NOT NULL REFERENCES tenant,
    captured numeric(14,2) NOT NULL CHECK (captured > 0),
    refunded numeric(14,2) NOT NULL DEFAULT 0 CHECK (refunded BETWEEN 0 AND captured),
    is_by_hand boolean NOT NULL DEFAULT false,
    -- in which sequence they came in
    place integer NOT NULL,
    PRIMARY KEY (order_id, payment)
);

CREATE TABLE order_shipment (
    shipment text PRIMARY KEY,
    order_id text NOT NULL REFERENCES customer_order,
    tenant_id integer NOT NULL REFERENCES tenant,
    state text NOT NULL CHECK (state IN ('packed', 'requested', 'shipped', 'delivered', 'voided')),
    -- JSON: quantities by line; parcels; lots and serials by line
    lines text NOT NULL,
    parcels text NOT NULL,
    lots text NOT NULL DEFAULT '{}',
    carrier text NOT NULL DEFAULT '',
    tracking text NOT NULL DEFAULT '',
    label_url text NOT NULL DEFAULT '',
    carrier_state text NOT NULL DEFAULT '',
    left_at timestamptz
);
CREATE INDEX order_shipment_order ON order_shipment (order_id);

CREATE TABLE order_return (
    return_id text PRIMARY KEY,
    order_id text NOT NULL REFERENCES customer_order,
    tenant_id integer NOT NULL REFERENCES tenant,
    state text NOT NULL CHECK (state IN ('requested', 'received', 'refused')),
    -- JSON: quantities by line, as they were asked for and as they have come in
    lines text NOT NULL,
    received text NOT NULL DEFAULT '{}',
    reason text NOT NULL
);
CREATE INDEX order_return_order ON order_return (order_id);

-- What happened when: the timeline of every order; append only.
CREATE TABLE order_history (
    entry_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id text NOT NULL REFERENCES customer_order,
    tenant_id integer NOT NULL REFERENCES tenant,
    time timestamptz NOT NULL,
    what text NOT NULL,
    text text NOT NULL,
    actor text NOT NULL
);
CREATE INDEX order_history_order ON order_history (order_id, entry_id);

SELECT keep_tenants_apart('customer');
SELECT keep_tenants_apart('customer_order');
SELECT keep_tenants_apart('order_line');
SELECT keep_tenants_apart('order_work_order');
SELECT keep_tenants_apart('order_need');
SELECT keep_tenants_apart('order_request');
SELECT keep_tenants_apart('order_payment');
SELECT keep_tenants_apart('order_shipment');
SELECT keep_tenants_apart('order_return');
SELECT keep_tenants_apart('order_history');
