-- Bids of an online auction, as they come: a thousand events a second. Each second's bids are counted when event time has passed it, and
-- shown at once. Ctrl-C ends it.

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

SELECT window_end, COUNT(*) AS bids, COUNT(DISTINCT auction) AS auctions, MAX(price) AS highest
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(`dateTime`), INTERVAL '1' SECOND))
GROUP BY window_start, window_end;
