-- How many bids of each bidder are handled every 10 seconds of the machine's time.
CREATE TEMPORARY VIEW bid_now AS
SELECT *, PROCTIME() AS p_time
FROM bid;

SELECT bidder, COUNT(*) AS bid_count, window_start, window_end
FROM TABLE(TUMBLE(TABLE bid_now, DESCRIPTOR(p_time), INTERVAL '10' SECOND))
GROUP BY bidder, window_start, window_end
