DROP TRIGGER catalogue_changed ON supply_bidders;
DROP TRIGGER catalogue_changed ON supplies;
DROP TRIGGER catalogue_changed ON bidders;
DROP FUNCTION catalogue_changed();
DROP TABLE catalogue_changes;
