-- The average closing price of each seller's last ten auctions.
SELECT seller, AVG(price) OVER (
    PARTITION BY seller ORDER BY `dateTime` ROWS BETWEEN 10 PRECEDING AND CURRENT ROW
) AS avg_price
FROM (
    SELECT A.id, A.seller, B.price, B.`dateTime`,
        ROW_NUMBER() OVER (PARTITION BY A.id, A.seller ORDER BY B.price DESC) AS place
    FROM auction AS A
    JOIN bid AS B ON A.id = B.auction
    WHERE B.`dateTime` BETWEEN A.`dateTime` AND A.expires
)
WHERE place = 1
