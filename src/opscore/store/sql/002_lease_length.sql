-- A step may say how long the leases of its attempts are; null: as long as the server's settings say.
alter table leases add column heartbeat integer;
