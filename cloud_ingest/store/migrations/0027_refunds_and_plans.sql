-- A refund that was made another way is not asked of the gateway any more.
ALTER TABLE refund ADD COLUMN withdrawn boolean NOT NULL DEFAULT false;

-- What is there: of serial numbers that have left, a row stays in each place where they were.
CREATE INDEX stock_balance_there ON stock_balance (tenant_id, item, location, lot)
    WHERE on_hand <> 0 AND location NOT LIKE '@%';

-- Orders that the plant works on: few of all that there ever were.
CREATE INDEX customer_order_in_plant ON customer_order (tenant_id, order_id)
    WHERE state IN ('released', 'in_production', 'packed');
CREATE INDEX customer_order_state ON customer_order (tenant_id, state, order_id DESC);

CREATE INDEX stock_movement_order ON stock_movement (tenant_id, order_id, movement) WHERE order_id <> '';
