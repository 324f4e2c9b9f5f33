-- What a person has to look at stands among the requests of an order.
ALTER TABLE order_request DROP CONSTRAINT order_request_kind_check;
ALTER TABLE order_request ADD CONSTRAINT order_request_kind_check
    CHECK (kind IN ('payment', 'refund', 'shipment', 'check'));

-- Made at the vendor's own page, or by the customer's bank: nobody here has asked for it.
ALTER TABLE refund ADD COLUMN elsewhere boolean NOT NULL DEFAULT false;
