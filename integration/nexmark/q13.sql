-- Every bid with what a side table says of its auction.
CREATE TEMPORARY TABLE side_input (key BIGINT, `value` STRING)
WITH ('connector' = 'filesystem', 'format' = 'csv', 'path' = '${SIDE_INPUT}');

SELECT B.auction, B.bidder, B.price, B.`dateTime`, S.`value`
FROM (SELECT *, PROCTIME() AS p_time FROM bid) AS B
JOIN side_input FOR SYSTEM_TIME AS OF B.p_time AS S ON MOD(B.auction, 10000) = S.key
