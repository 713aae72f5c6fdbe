-- MERGE used as an upsert, and not.

--- MERGE with an INSERT
-- says: D207
-- since: 15
CREATE TABLE t (a int PRIMARY KEY, v int);
MERGE INTO t USING (VALUES (1, 2)) AS s (a, v) ON t.a = s.a
WHEN MATCHED THEN UPDATE SET v = s.v
WHEN NOT MATCHED THEN INSERT VALUES (s.a, s.v);

--- MERGE that only updates
-- says: nothing
-- since: 15
CREATE TABLE t (a int PRIMARY KEY, v int);
MERGE INTO t USING (VALUES (1, 2)) AS s (a, v) ON t.a = s.a
WHEN MATCHED THEN UPDATE SET v = s.v;
