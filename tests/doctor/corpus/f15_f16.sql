-- F15, F16: soft delete, and what surrounds a table: policies, triggers, sequences.

--- C101 a deleted row holds the name
-- says: D201 D208
-- arbiter: users_email
-- before: INSERT INTO users VALUES (2, 'a', 'x', now())
CREATE TABLE users (id int PRIMARY KEY, email text NOT NULL, name text, deleted_at timestamptz);
CREATE UNIQUE INDEX users_email ON users (email);
INSERT INTO users (id, email) VALUES (1, 'a')
ON CONFLICT (email)
DO UPDATE SET name = EXCLUDED.name;

--- C102 the index became partial
-- says: D103
-- repairs: sql ddl
-- really: 42P10
-- values: 1, 'a'
CREATE TABLE users (id int PRIMARY KEY, email text NOT NULL, name text, deleted_at timestamptz);
CREATE UNIQUE INDEX users_email ON users (email) WHERE deleted_at IS NULL;
INSERT INTO users (id, email) VALUES ($1, $2)
ON CONFLICT (email)
DO UPDATE SET name = EXCLUDED.name;

--- C103 row-level security without SELECT
-- says: D117
-- arbiter: notes_pkey
-- repairs: ddl
-- really: 42501
-- role: doctor_web
CREATE TABLE notes (id int PRIMARY KEY, owner text, body text);
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
GRANT ALL ON notes TO doctor_web;
CREATE POLICY notes_insert ON notes FOR INSERT TO doctor_web WITH CHECK (owner = 'a');
CREATE POLICY notes_update ON notes FOR UPDATE TO doctor_web USING (owner = 'a');
INSERT INTO notes VALUES (1, 'a', 'x')
ON CONFLICT (id)
DO UPDATE SET body = EXCLUDED.body;

--- C103 with a policy for SELECT
-- says: nothing
-- arbiter: notes_pkey
-- role: doctor_web
CREATE TABLE notes (id int PRIMARY KEY, owner text, body text);
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
GRANT ALL ON notes TO doctor_web;
CREATE POLICY notes_insert ON notes FOR INSERT TO doctor_web WITH CHECK (owner = 'a');
CREATE POLICY notes_update ON notes FOR UPDATE TO doctor_web USING (owner = 'a');
CREATE POLICY seen ON notes FOR SELECT TO doctor_web USING (true);
INSERT INTO notes VALUES (1, 'a', 'x')
ON CONFLICT (id)
DO UPDATE SET body = EXCLUDED.body;

--- C103 DO NOTHING without a target passes
-- says: nothing
-- role: doctor_web
CREATE TABLE notes (id int PRIMARY KEY, owner text, body text);
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
GRANT ALL ON notes TO doctor_web;
CREATE POLICY notes_insert ON notes FOR INSERT TO doctor_web WITH CHECK (owner = 'a');
CREATE POLICY notes_update ON notes FOR UPDATE TO doctor_web USING (owner = 'a');
INSERT INTO notes VALUES (1, 'a', 'x')
ON CONFLICT DO NOTHING;

--- C104 a BEFORE trigger
-- says: D302
-- arbiter: t_pkey
CREATE TABLE t (id int PRIMARY KEY, v int);
CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER audit BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION noted();
INSERT INTO t VALUES (1, 2)
ON CONFLICT (id)
DO UPDATE SET v = EXCLUDED.v;

--- C105 a serial that overflows
-- says: D301
-- arbiter: t_k_key
-- repairs: ddl
-- really: 2200H
-- before: INSERT INTO t VALUES (1, 'a')
CREATE TABLE t (id serial PRIMARY KEY, k text NOT NULL UNIQUE, n int);
SELECT setval('t_id_seq', 2147483647);
INSERT INTO t (k, n) VALUES ('a', 1)
ON CONFLICT (k)
DO UPDATE SET n = EXCLUDED.n;

--- C103 row-level security without UPDATE
-- says: D209
-- arbiter: notes_pkey
-- repairs: sql ddl
-- really: 42501
-- before: INSERT INTO notes VALUES (1, 'a', 'y')
-- role: doctor_web
CREATE TABLE notes (id int PRIMARY KEY, owner text, body text);
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
GRANT ALL ON notes TO doctor_web;
CREATE POLICY notes_insert ON notes FOR INSERT TO doctor_web WITH CHECK (owner = 'a');
CREATE POLICY notes_select ON notes FOR SELECT TO doctor_web USING (true);
INSERT INTO notes VALUES (1, 'a', 'x')
ON CONFLICT (id)
DO UPDATE SET body = EXCLUDED.body;

--- C103 one policy for all commands
-- says: nothing
-- arbiter: notes_pkey
-- before: INSERT INTO notes VALUES (1, 'a', 'y')
-- role: doctor_web
CREATE TABLE notes (id int PRIMARY KEY, owner text, body text);
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
GRANT ALL ON notes TO doctor_web;
CREATE POLICY notes_all ON notes TO doctor_web USING (owner = 'a');
INSERT INTO notes VALUES (1, 'a', 'x')
ON CONFLICT (id)
DO UPDATE SET body = EXCLUDED.body;
