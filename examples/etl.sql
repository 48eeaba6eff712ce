-- Reads orders from CSV, sums them up, writes Parquet partitioned by month, and shows the report.

CREATE TABLE orders (
  order_id BIGINT, customer BIGINT, region STRING, order_month STRING, amount DECIMAL(10, 2), quantity INT
) WITH ('connector' = 'filesystem', 'path' = '/tmp/thalweg-example/orders', 'format' = 'csv');

CREATE TABLE revenue (
  region STRING, orders BIGINT, customers BIGINT, revenue DECIMAL(38, 2), order_month STRING
) PARTITIONED BY (order_month) WITH (
  'connector' = 'filesystem', 'path' = '/tmp/thalweg-example/revenue', 'format' = 'parquet',
  'sink.partition-commit.policy.kind' = 'success-file'
);

INSERT OVERWRITE revenue
SELECT region, COUNT(*), COUNT(DISTINCT customer), SUM(amount * quantity), order_month
FROM orders
GROUP BY order_month, region;

SELECT order_month, region, orders, customers, revenue
FROM revenue
ORDER BY order_month, revenue DESC;
