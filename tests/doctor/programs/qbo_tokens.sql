-- The fourth incident: tokens behind functions, each called in a request of its own.
CREATE TABLE IF NOT EXISTS qbo_tokens (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    user_id text, realm_id text, access_token text, is_active boolean DEFAULT true
);

CREATE OR REPLACE FUNCTION store_qbo_token(p_user_id TEXT, p_realm_id TEXT, p_access_token TEXT)
RETURNS uuid
LANGUAGE plpgsql
SECURITY DEFINER
AS $$
DECLARE
    v_id uuid;
BEGIN
    -- Delete any existing tokens for this user and realm.
    DELETE FROM qbo_tokens WHERE user_id = p_user_id AND realm_id = p_realm_id;
    INSERT INTO qbo_tokens (user_id, realm_id, access_token)
    VALUES (p_user_id, p_realm_id, p_access_token)
    RETURNING id INTO v_id;
    RETURN v_id;
END;
$$;

CREATE FUNCTION touch(user_id text) RETURNS void LANGUAGE sql AS '
    INSERT INTO qbo_users (user_id) VALUES ($1) ON CONFLICT (user_id) DO NOTHING';

CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM audit_log WHERE token_id = NEW.id) THEN
        INSERT INTO audit_log (token_id, at) VALUES (NEW.id, now());
    END IF;
    RETURN NEW;
END $body$;

-- harness: ignore
INSERT INTO qbo_users VALUES ('it''s; here') ON CONFLICT DO NOTHING;
\set who 'x'
INSERT INTO qbo_users (user_id) VALUES (:'who') ON CONFLICT (user_id) DO UPDATE SET user_id = :'who'::text;
