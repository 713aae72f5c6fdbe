-- MERGE used as an upsert, and not.

--- MERGE with an INSERT
-- says: D207
-- repairs: sql
-- since: 15
CREATE TABLE t (a int PRIMARY KEY, v int);
MERGE INTO t kept USING (VALUES (1, 2)) AS s (a, v) ON kept.a = s.a
WHEN MATCHED THEN UPDATE SET v = s.v
WHEN NOT MATCHED THEN INSERT VALUES (s.a, s.v);

--- MERGE that only updates
-- says: nothing
-- since: 15
CREATE TABLE t (a int PRIMARY KEY, v int);
MERGE INTO t USING (VALUES (1, 2)) AS s (a, v) ON t.a = s.a
WHEN MATCHED THEN UPDATE SET v = s.v;

--- MERGE on a key without an index, and a sum
-- says: D207
-- repairs: ddl
-- since: 15
CREATE TABLE stock (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, shop int NOT NULL, item text NOT NULL, n int);
CREATE TABLE delivery (shop int, item text, n int);
MERGE INTO stock AS s USING delivery AS d ON s.shop = d.shop AND d.item = s.item
WHEN MATCHED THEN UPDATE SET n = s.n + d.n
WHEN NOT MATCHED THEN INSERT (shop, item, n) VALUES (d.shop, d.item, d.n);

--- MERGE that says more than an upsert can
-- says: D207
-- since: 15
CREATE TABLE t (a int PRIMARY KEY, v int);
MERGE INTO t USING (VALUES (1, 2)) AS s (a, v) ON t.a = s.a
WHEN MATCHED AND t.v > 3 THEN DELETE
WHEN MATCHED THEN UPDATE SET v = s.v
WHEN NOT MATCHED THEN INSERT VALUES (s.a, s.v);
