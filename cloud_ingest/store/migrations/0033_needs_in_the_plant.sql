-- What orders in the plant need of an item is found in the index, and not among what all orders ever needed.
-- in_plant: the order's state is 'released', 'in_production' or 'packed'; written with that state.
ALTER TABLE order_need ADD COLUMN in_plant boolean NOT NULL DEFAULT false;
UPDATE order_need SET in_plant = true FROM customer_order
    WHERE customer_order.order_id = order_need.order_id AND state IN ('released', 'in_production', 'packed');
DROP INDEX order_need_item;
CREATE INDEX order_need_in_plant ON order_need (tenant_id, item) WHERE in_plant;
