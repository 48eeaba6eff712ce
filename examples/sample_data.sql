-- Makes 200,000 orders as CSV files: what a nightly job might find in its landing folder.

CREATE TEMPORARY TABLE generated (
  order_id BIGINT, customer BIGINT, region INT, amount DOUBLE, quantity INT
) WITH (
  'connector' = 'datagen',
  'number-of-rows' = '200000',
  'fields.order_id.kind' = 'sequence', 'fields.order_id.start' = '1', 'fields.order_id.end' = '200000',
  'fields.customer.min' = '1', 'fields.customer.max' = '5000',
  'fields.region.min' = '1', 'fields.region.max' = '4',
  'fields.amount.min' = '1', 'fields.amount.max' = '500',
  'fields.quantity.min' = '1', 'fields.quantity.max' = '9'
);

CREATE TABLE orders (
  order_id BIGINT, customer BIGINT, region STRING, order_month STRING, amount DECIMAL(10, 2), quantity INT
) WITH ('connector' = 'filesystem', 'path' = '/tmp/thalweg-example/orders', 'format' = 'csv');

INSERT OVERWRITE orders
SELECT order_id, customer,
       CASE region WHEN 1 THEN 'north' WHEN 2 THEN 'east' WHEN 3 THEN 'south' ELSE 'west' END,
       CONCAT('2025-0', CAST(1 + order_id % 6 AS STRING)),
       CAST(amount AS DECIMAL(10, 2)),
       quantity
FROM generated;
