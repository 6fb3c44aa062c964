-- The catalogue: who sells (supplies), who buys (bidders), and who may bid for what.
-- Every row has a number for machines (no) and an id for people.

CREATE TABLE bidders (
    no INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    country TEXT NOT NULL,
    simulation TEXT
);

CREATE TABLE supplies (
    no INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    auction TEXT NOT NULL DEFAULT 'first_price' CHECK (auction IN ('first_price', 'second_price')),
    bid_floor_micros BIGINT NOT NULL DEFAULT 0 CHECK (bid_floor_micros >= 0)
);

CREATE TABLE supply_bidders (
    supply_no INTEGER NOT NULL REFERENCES supplies (no) ON DELETE CASCADE,
    bidder_no INTEGER NOT NULL REFERENCES bidders (no) ON DELETE CASCADE,
    PRIMARY KEY (supply_no, bidder_no)
);

CREATE INDEX supply_bidders_bidder_no ON supply_bidders (bidder_no);
