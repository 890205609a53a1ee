CREATE TABLE IF NOT EXISTS {leaf} PARTITION OF kv FOR VALUES IN ({partition}) WITH (fillfactor = 50);
