-- Bids of an online auction, as they come: a thousand events a second. Each second's bids are counted when event time has passed it, and
-- a checkpoint is taken every other second. Ctrl-C ends it.

SET 'execution.checkpointing.interval' = '2 s';

CREATE TABLE bid (
    auction BIGINT,
    price BIGINT,
    `dateTime` TIMESTAMP(3),
    WATERMARK FOR `dateTime` AS `dateTime` - INTERVAL '1' SECOND
) WITH (
    'connector' = 'nexmark',
    'table' = 'bid',
    'first-event.rate' = '1000',
    'max-emit-speed' = 'false'
);

CREATE TABLE per_second (
    until TIMESTAMP(3),
    bids BIGINT,
    auctions BIGINT,
    highest BIGINT
) WITH ('connector' = 'print');

INSERT INTO per_second
SELECT window_end, COUNT(*), COUNT(DISTINCT auction), MAX(price)
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(`dateTime`), INTERVAL '1' SECOND))
GROUP BY window_start, window_end;
