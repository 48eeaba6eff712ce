-- The highest bids of every 10 seconds.
SELECT B.auction, B.price, B.bidder, B.`dateTime`, B.extra
FROM bid AS B
JOIN (
    SELECT MAX(price) AS price, window_end
    FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(`dateTime`), INTERVAL '10' SECOND))
    GROUP BY window_start, window_end
) AS M ON B.price = M.price
WHERE B.`dateTime` BETWEEN M.window_end - INTERVAL '10' SECOND AND M.window_end
