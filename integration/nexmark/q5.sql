-- The auctions with the most bids in the last 10 seconds, every 2 seconds.
WITH counts AS (
    SELECT auction, COUNT(*) AS num, window_start, window_end
    FROM TABLE(HOP(TABLE bid, DESCRIPTOR(`dateTime`), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
    GROUP BY auction, window_start, window_end
), tops AS (
    SELECT MAX(num) AS num, window_start, window_end
    FROM counts
    GROUP BY window_start, window_end
)
SELECT C.auction, C.num
FROM counts AS C
JOIN tops AS T ON C.window_start = T.window_start AND C.window_end = T.window_end AND C.num >= T.num
