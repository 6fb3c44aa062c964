DROP TABLE supply_bidders;
DROP TABLE supplies;
DROP TABLE bidders;
