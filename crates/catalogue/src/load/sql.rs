//! The statements of a load, in the order in which they are run. Portable but for how a list becomes rows.

use crate::database::Dialect;

pub(super) const TABLES: &str = "
    CREATE TEMPORARY TABLE staged_bidders
        (place INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, country TEXT, simulation TEXT, no INTEGER);
    CREATE TEMPORARY TABLE staged_supplies
        (place INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, auction TEXT NOT NULL, bid_floor_micros BIGINT NOT NULL,
         bidders TEXT NOT NULL, no INTEGER, is_new INTEGER NOT NULL DEFAULT 0);
    CREATE TEMPORARY TABLE staged_changes (supply_no INTEGER PRIMARY KEY)";

/// Takes a JSON array of arrays as its parameter.
pub(super) fn stage_bidders(dialect: Dialect) -> String {
    format!(
        "INSERT INTO staged_bidders (place, id, country, simulation)
         SELECT CAST(r.value ->> 0 AS INTEGER), r.value ->> 1, r.value ->> 2, r.value ->> 3 FROM {}",
        rows(dialect)
    )
}

/// Takes a JSON array of arrays as its parameter; each ends with the bidders' places, with commas.
pub(super) fn stage_supplies(dialect: Dialect) -> String {
    format!(
        "INSERT INTO staged_supplies (place, id, auction, bid_floor_micros, bidders)
         SELECT CAST(r.value ->> 0 AS INTEGER), r.value ->> 1, r.value ->> 2, CAST(r.value ->> 3 AS BIGINT),
         r.value ->> 4 FROM {}",
        rows(dialect)
    )
}

fn rows(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "json_each($1) AS r",
        Dialect::Postgres => "jsonb_array_elements($1::jsonb) AS r(value)",
    }
}

/// The places of those that the file only mentions and the database does not have.
pub(super) const UNKNOWN_BIDDERS: &str = "
    SELECT s.place FROM staged_bidders s
    WHERE s.country IS NULL AND NOT EXISTS (SELECT 1 FROM bidders b WHERE b.id = s.id)";

pub(super) const CHANGE_BIDDERS: &str = "
    UPDATE bidders SET country = s.country, simulation = s.simulation FROM staged_bidders s
    WHERE s.id = bidders.id AND s.country IS NOT NULL
      AND (s.country <> bidders.country OR s.simulation IS DISTINCT FROM bidders.simulation)";

pub(super) const ADD_BIDDERS: &str = "
    INSERT INTO bidders (id, country, simulation)
    SELECT s.id, s.country, s.simulation FROM staged_bidders s
    WHERE s.country IS NOT NULL AND NOT EXISTS (SELECT 1 FROM bidders b WHERE b.id = s.id) ORDER BY s.place";

pub(super) const NUMBER_KNOWN: &str = "
    UPDATE staged_bidders SET no = b.no FROM bidders b WHERE b.id = staged_bidders.id;
    UPDATE staged_supplies SET no = x.no FROM supplies x WHERE x.id = staged_supplies.id";

pub(super) const CHANGE_SUPPLIES: &str = "
    INSERT INTO staged_changes SELECT s.no FROM staged_supplies s JOIN supplies x ON x.no = s.no
    WHERE s.auction <> x.auction OR s.bid_floor_micros <> x.bid_floor_micros;
    UPDATE supplies SET auction = s.auction, bid_floor_micros = s.bid_floor_micros FROM staged_supplies s
    WHERE s.no = supplies.no AND (s.auction <> supplies.auction OR s.bid_floor_micros <> supplies.bid_floor_micros)";

pub(super) const ADD_SUPPLIES: &str = "
    INSERT INTO supplies (id, auction, bid_floor_micros)
    SELECT s.id, s.auction, s.bid_floor_micros FROM staged_supplies s WHERE s.no IS NULL ORDER BY s.place";

pub(super) const NUMBER_NEW: &str = "
    UPDATE staged_supplies SET no = x.no, is_new = 1 FROM supplies x
    WHERE staged_supplies.no IS NULL AND x.id = staged_supplies.id";

/// SQLite looks rows up in an index; PostgreSQL joins tables whose size it knows.
pub(super) fn stage_links(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => {
            "CREATE TEMPORARY TABLE staged_links
                 (supply_no INTEGER NOT NULL, bidder_no INTEGER NOT NULL, PRIMARY KEY (supply_no, bidder_no))
                 WITHOUT ROWID;
             INSERT INTO staged_links SELECT s.no, b.no FROM staged_supplies s
             CROSS JOIN json_each('[' || s.bidders || ']') j JOIN staged_bidders b ON b.place = j.value"
        }
        Dialect::Postgres => {
            "CREATE TEMPORARY TABLE staged_links AS SELECT s.no AS supply_no, b.no AS bidder_no FROM staged_supplies s
             CROSS JOIN unnest(string_to_array(s.bidders, ',')::integer[]) AS j(place)
             JOIN staged_bidders b ON b.place = j.place;
             ANALYZE staged_links; ANALYZE staged_supplies"
        }
    }
}

/// What supplies have and are not to have, and the other way round.
pub(super) const COMPARE_LINKS: &str = "
    CREATE TEMPORARY TABLE staged_lost AS SELECT x.supply_no, x.bidder_no
    FROM staged_supplies s JOIN supply_bidders x ON x.supply_no = s.no
    LEFT JOIN staged_links l ON l.supply_no = x.supply_no AND l.bidder_no = x.bidder_no
    WHERE s.is_new = 0 AND l.supply_no IS NULL;
    CREATE TEMPORARY TABLE staged_added AS SELECT l.supply_no, l.bidder_no FROM staged_links l
    LEFT JOIN supply_bidders x ON x.supply_no = l.supply_no AND x.bidder_no = l.bidder_no
    WHERE x.supply_no IS NULL;
    INSERT INTO staged_changes SELECT supply_no FROM staged_lost UNION SELECT a.supply_no FROM staged_added a
    JOIN staged_supplies s ON s.no = a.supply_no WHERE s.is_new = 0 ON CONFLICT DO NOTHING";

pub(super) const REMOVE_LINKS: &str = "
    DELETE FROM supply_bidders
    WHERE (supply_no, bidder_no) IN (SELECT l.supply_no, l.bidder_no FROM staged_lost l)";

pub(super) const ADD_LINKS: &str = "
    INSERT INTO supply_bidders (supply_no, bidder_no)
    SELECT a.supply_no, a.bidder_no FROM staged_added a ORDER BY a.supply_no, a.bidder_no";

/// The statements that take the links' foreign keys away and bring them back.
pub(super) const FOREIGN_KEYS: &str = "
    SELECT format('ALTER TABLE supply_bidders DROP CONSTRAINT %I', conname),
           format('ALTER TABLE supply_bidders ADD CONSTRAINT %I %s', conname, pg_get_constraintdef(oid))
    FROM pg_constraint WHERE conrelid = 'supply_bidders'::regclass AND contype = 'f'";

/// Whether this user may do so.
pub(super) const IS_OWNER: &str =
    "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = 'supply_bidders'::regclass";
