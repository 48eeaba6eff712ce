-- Every event with all of its columns, as it is made.
SELECT event_type, person, auction, bid
FROM events
