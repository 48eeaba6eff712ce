-- Counts 300,000 orders, 20,000 a second, by region and minute; each count is visible with the next checkpoint.

SET 'execution.runtime-mode' = 'streaming';
SET 'execution.checkpointing.interval' = '1 s';
SET 'execution.checkpointing.dir' = 'file:///tmp/thalweg-example/checkpoints';
SET 'parallelism.default' = '2';

CREATE TABLE orders (
  order_id BIGINT, region INT, amount DOUBLE,
  ordered AS CAST(TIMESTAMPADD(SECOND, CAST(order_id / 500 AS INT), TIMESTAMP '2026-01-01 00:00:00') AS TIMESTAMP(3)),
  WATERMARK FOR ordered AS ordered - INTERVAL '5' SECOND
) WITH (
  'connector' = 'datagen', 'number-of-rows' = '300000', 'rows-per-second' = '20000',
  'fields.order_id.kind' = 'sequence', 'fields.order_id.start' = '1', 'fields.order_id.end' = '300000',
  'fields.region.min' = '1', 'fields.region.max' = '4',
  'fields.amount.min' = '1', 'fields.amount.max' = '500'
);

CREATE TABLE counted (window_end TIMESTAMP(3), region INT, orders BIGINT, revenue DOUBLE)
WITH ('connector' = 'filesystem', 'path' = '/tmp/thalweg-example/counted', 'format' = 'parquet');

INSERT INTO counted
SELECT window_end, region, COUNT(*), SUM(amount)
FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ordered), INTERVAL '1' MINUTE))
GROUP BY window_start, window_end, region;
