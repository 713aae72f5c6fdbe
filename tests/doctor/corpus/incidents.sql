-- The ON CONFLICT statements of the five incidents, on the layouts they met.

--- oauth_installations, before
-- says: D103
-- repairs: sql ddl
-- really: 42P10
-- values: 'l', 't'
CREATE TABLE hl_installations (id serial PRIMARY KEY, location_id text, agency_id text, access_token text);
CREATE UNIQUE INDEX by_location ON hl_installations (location_id) WHERE location_id IS NOT NULL;
CREATE UNIQUE INDEX by_agency ON hl_installations (agency_id) WHERE location_id IS NULL;
INSERT INTO hl_installations (location_id, access_token) VALUES ($1, $2)
ON CONFLICT (location_id)
DO UPDATE SET access_token = EXCLUDED.access_token RETURNING id;

--- oauth_installations, its code store
-- says: nothing
-- arbiter: oauth_codes_code_key
-- values: 'c'
CREATE TABLE oauth_codes (code text NOT NULL UNIQUE);
INSERT INTO oauth_codes VALUES ($1)
ON CONFLICT (code) DO NOTHING;

--- waba_accounts, before
-- says: D101
-- repairs: ddl
-- really: 42P10
-- values: 'x', 'w', 'u', 'b'
CREATE TABLE waba_accounts (id varchar PRIMARY KEY, waba_id varchar NOT NULL, user_id varchar NOT NULL,
    owner_business_id varchar, access_token text);
INSERT INTO waba_accounts (id, waba_id, user_id, owner_business_id) VALUES ($1, $2, $3, $4)
ON CONFLICT (waba_id)
DO UPDATE SET owner_business_id = EXCLUDED.owner_business_id, user_id = EXCLUDED.user_id;

--- waba_accounts, before, with the index it asks for
-- says: D201 D204
-- arbiter: waba
-- really: 23505
-- before: INSERT INTO waba_accounts VALUES ('x', 'other', 'u')
-- values: 'x', 'w', 'u', 'b'
CREATE TABLE waba_accounts (id varchar PRIMARY KEY, waba_id varchar NOT NULL, user_id varchar NOT NULL,
    owner_business_id varchar, access_token text);
CREATE UNIQUE INDEX waba ON waba_accounts (waba_id);
INSERT INTO waba_accounts (id, waba_id, user_id, owner_business_id) VALUES ($1, $2, $3, $4)
ON CONFLICT (waba_id)
DO UPDATE SET owner_business_id = EXCLUDED.owner_business_id, user_id = EXCLUDED.user_id;

--- waba_accounts, shipped fix
-- says: D201
-- arbiter: pair
-- really: 23505
-- before: INSERT INTO waba_accounts VALUES ('x', 'other', 'u')
-- values: 'x', 'w', 'u', 'b'
CREATE TABLE waba_accounts (id varchar PRIMARY KEY, waba_id varchar NOT NULL, user_id varchar NOT NULL,
    owner_business_id varchar, access_token text);
CREATE UNIQUE INDEX pair ON waba_accounts (user_id, waba_id);
INSERT INTO waba_accounts (id, waba_id, user_id, owner_business_id) VALUES ($1, $2, $3, $4)
ON CONFLICT (user_id, waba_id)
DO UPDATE SET owner_business_id = EXCLUDED.owner_business_id;

--- waba_accounts, rolled back
-- says: D101
-- repairs: ddl
-- really: 42P10
-- values: 'x', 'w', 'u', 'b'
CREATE TABLE waba_accounts (id varchar PRIMARY KEY, waba_id varchar NOT NULL, user_id varchar NOT NULL,
    owner_business_id varchar, access_token text);
INSERT INTO waba_accounts (id, waba_id, user_id, owner_business_id) VALUES ($1, $2, $3, $4)
ON CONFLICT (user_id, waba_id)
DO UPDATE SET owner_business_id = EXCLUDED.owner_business_id;

--- purchases, before, without the index
-- says: D101
-- repairs: ddl
-- really: 42P10
CREATE TABLE purchases (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, student_id int NOT NULL, course_id int NOT NULL,
    is_active boolean DEFAULT true, amount int);
INSERT INTO purchases (student_id, course_id) VALUES (1, 2)
ON CONFLICT (student_id, course_id) WHERE is_active = true DO NOTHING;

--- purchases, before, with the index
-- says: nothing
-- arbiter: unique_active_purchase
CREATE TABLE purchases (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, student_id int NOT NULL, course_id int NOT NULL,
    is_active boolean DEFAULT true, amount int);
CREATE UNIQUE INDEX unique_active_purchase ON purchases (student_id, course_id) WHERE is_active = true;
INSERT INTO purchases (student_id, course_id) VALUES (1, 2)
ON CONFLICT (student_id, course_id) WHERE is_active = true DO NOTHING;

--- purchases, the predicate as a parameter
-- says: D104
-- repairs: sql ddl
-- really: 42P10
-- values: true
CREATE TABLE purchases (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, student_id int NOT NULL, course_id int NOT NULL,
    is_active boolean DEFAULT true, amount int);
CREATE UNIQUE INDEX unique_active_purchase ON purchases (student_id, course_id) WHERE is_active = true;
INSERT INTO purchases (student_id, course_id) VALUES (1, 2)
ON CONFLICT (student_id, course_id) WHERE is_active = $1 DO NOTHING;

--- purchases, the fix that drops WHERE
-- says: D103
-- repairs: sql ddl
-- really: 42P10
CREATE TABLE purchases (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, student_id int NOT NULL, course_id int NOT NULL,
    is_active boolean DEFAULT true, amount int);
CREATE UNIQUE INDEX unique_active_purchase ON purchases (student_id, course_id) WHERE is_active = true;
INSERT INTO purchases (student_id, course_id) VALUES (1, 2)
ON CONFLICT (student_id, course_id) DO NOTHING;

--- purchases, the predicate under a full index
-- says: D206
-- arbiter: unique_purchase
-- repairs: sql ddl
CREATE TABLE purchases (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, student_id int NOT NULL, course_id int NOT NULL,
    is_active boolean DEFAULT true, amount int);
CREATE UNIQUE INDEX unique_purchase ON purchases (student_id, course_id);
INSERT INTO purchases (student_id, course_id) VALUES (1, 2)
ON CONFLICT (student_id, course_id) WHERE is_active DO NOTHING;

--- qbo_tokens, an upsert without the index
-- says: D101
-- repairs: ddl
-- really: 42P10
-- values: 'u', 'r', 't'
CREATE TABLE qbo_tokens (id uuid DEFAULT gen_random_uuid() PRIMARY KEY, user_id text NOT NULL, realm_id text NOT NULL,
    access_token text, is_active boolean DEFAULT true);
INSERT INTO qbo_tokens (user_id, realm_id, access_token) VALUES ($1, $2, $3)
ON CONFLICT (user_id, realm_id) WHERE is_active
DO UPDATE SET access_token = EXCLUDED.access_token;

--- qbo_tokens, with it
-- says: nothing
-- arbiter: one
-- values: 'u', 'r', 't'
CREATE TABLE qbo_tokens (id uuid DEFAULT gen_random_uuid() PRIMARY KEY, user_id text NOT NULL, realm_id text NOT NULL,
    access_token text, is_active boolean DEFAULT true);
CREATE UNIQUE INDEX one ON qbo_tokens (user_id, realm_id) WHERE is_active;
INSERT INTO qbo_tokens (user_id, realm_id, access_token) VALUES ($1, $2, $3)
ON CONFLICT (user_id, realm_id) WHERE is_active
DO UPDATE SET access_token = EXCLUDED.access_token;

--- platform_connections, an upsert under the full index
-- says: D208
-- arbiter: uq
-- repairs: sql ddl
-- values: '6f2c9f0e-0000-4000-8000-000000000001', 'p', 'a', 't'
CREATE SCHEMA cmis;
CREATE TABLE cmis.platform_connections (id uuid DEFAULT gen_random_uuid() PRIMARY KEY, org_id uuid NOT NULL,
    platform text NOT NULL, account_id text NOT NULL, access_token text, deleted_at timestamptz);
CREATE UNIQUE INDEX uq ON cmis.platform_connections (org_id, platform, account_id);
INSERT INTO cmis.platform_connections (org_id, platform, account_id, access_token) VALUES ($1, $2, $3, $4)
ON CONFLICT (org_id, platform, account_id)
DO UPDATE SET access_token = EXCLUDED.access_token;

--- platform_connections, the partial index, no predicate
-- says: D103
-- repairs: sql ddl
-- really: 42P10
-- values: '6f2c9f0e-0000-4000-8000-000000000001', 'p', 'a', 't'
CREATE SCHEMA cmis;
CREATE TABLE cmis.platform_connections (id uuid DEFAULT gen_random_uuid() PRIMARY KEY, org_id uuid NOT NULL,
    platform text NOT NULL, account_id text NOT NULL, access_token text, deleted_at timestamptz);
CREATE UNIQUE INDEX uq ON cmis.platform_connections (org_id, platform, account_id) WHERE deleted_at IS NULL;
INSERT INTO cmis.platform_connections (org_id, platform, account_id, access_token) VALUES ($1, $2, $3, $4)
ON CONFLICT (org_id, platform, account_id)
DO UPDATE SET access_token = EXCLUDED.access_token;

--- platform_connections, the partial index and its predicate
-- says: nothing
-- arbiter: uq
-- values: '6f2c9f0e-0000-4000-8000-000000000001', 'p', 'a', 't'
CREATE SCHEMA cmis;
CREATE TABLE cmis.platform_connections (id uuid DEFAULT gen_random_uuid() PRIMARY KEY, org_id uuid NOT NULL,
    platform text NOT NULL, account_id text NOT NULL, access_token text, deleted_at timestamptz);
CREATE UNIQUE INDEX uq ON cmis.platform_connections (org_id, platform, account_id) WHERE deleted_at IS NULL;
INSERT INTO cmis.platform_connections (org_id, platform, account_id, access_token) VALUES ($1, $2, $3, $4)
ON CONFLICT (org_id, platform, account_id) WHERE deleted_at IS NULL
DO UPDATE SET access_token = EXCLUDED.access_token;
