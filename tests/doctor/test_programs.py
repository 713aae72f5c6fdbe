"""Programs as the incidents and the corpus have them: what is found where, and which statements belong together.

`programs/` holds them in their own languages. Each row is line, SQL for the server (blanks collapsed), and what of it
only the running program knows; one list for each function.
"""

from pathlib import Path

import pytest

from harness.doctor.sources import functions

PROGRAMS = Path(__file__).with_name("programs")

Row = tuple[int, str] | tuple[int, str, str]

EXPECTED: dict[str, list[list[Row]]] = {
    "oauth_installations.js": [
        [
            (
                8,
                "INSERT INTO hl_installations (location_id, access_token, refresh_token, expires_at) "
                "VALUES ($1, $2, $3, $4) ON CONFLICT (location_id) DO UPDATE SET access_token = EXCLUDED.access_token, "
                "refresh_token = EXCLUDED.refresh_token, expires_at = EXCLUDED.expires_at, updated_at = NOW() "
                "RETURNING id",
            )
        ],
        [
            (25, "SELECT id FROM hl_installations WHERE location_id = $1"),
            (
                28,
                "UPDATE hl_installations SET access_token = $2, refresh_token = $3 WHERE location_id = $1 RETURNING id",
            ),
            (
                33,
                "INSERT INTO hl_installations (location_id, access_token, refresh_token) VALUES ($1, $2, $3) "
                "RETURNING id",
            ),
        ],
        [(42, "INSERT INTO codes (code) VALUES ($1) ON CONFLICT (code) DO NOTHING")],
    ],
    "waba_accounts.go": [
        [
            (
                10,
                "INSERT INTO waba_accounts (id, waba_id, user_id, owner_business_id) VALUES ($1, $2, $3, $4) "
                "ON CONFLICT (waba_id) DO UPDATE SET owner_business_id = EXCLUDED.owner_business_id, "
                "user_id = EXCLUDED.user_id, updated_at = NOW()",
            )
        ],
        [
            (
                23,
                "INSERT INTO waba_accounts (id, user_id, waba_id, access_token) VALUES ($1, $2, $3, $4) "
                "ON CONFLICT (user_id, waba_id) DO UPDATE SET access_token = EXCLUDED.access_token",
            )
        ],
        [(30, "INSERT INTO %s SELECT * FROM waba_accounts ON CONFLICT DO NOTHING", "%s")],
        [
            (
                37,
                "INSERT INTO usage (day, name, n) VALUES ($1, $2, 1) "
                "ON CONFLICT (day, name) DO UPDATE SET n = usage.n + 1",
            )
        ],
    ],
    "purchases.ts": [
        [
            (
                17,
                "INSERT INTO student_course_purchases (student_id, course_id, amount) VALUES ($1, $2, $3) "
                "ON CONFLICT (student_id, course_id) WHERE is_active = $4 DO NOTHING RETURNING id",
            )
        ],
        [
            (
                27,
                "INSERT INTO student_course_purchases (student_id, course_id, amount) VALUES ($1, $2, $3) "
                "ON CONFLICT (student_id, course_id) DO NOTHING",
            )
        ],
        [
            (
                33,
                "SELECT id FROM student_course_purchases WHERE student_id = $1 AND course_id = $2 AND is_active = true",
            ),
            (37, "INSERT INTO student_course_purchases (student_id, course_id, amount) VALUES ($1, $2, $3)"),
        ],
        [
            (42, "INSERT INTO events ${sql(rows)} ON CONFLICT (id) DO NOTHING", "${sql(rows)}"),
            (43, "INSERT INTO ${table} (id) VALUES ($1) ON CONFLICT (id) DO NOTHING", "${table}"),
        ],
    ],
    "qbo_tokens.sql": [
        [
            (16, "DELETE FROM qbo_tokens WHERE user_id = $1 AND realm_id = $2"),
            (
                17,
                "INSERT INTO qbo_tokens (user_id, realm_id, access_token) VALUES ($1, $2, $3) "
                "RETURNING id /*INTO*/ /*v_id*/",
            ),
        ],
        [(25, "INSERT INTO qbo_users (user_id) VALUES ($1) ON CONFLICT (user_id) DO NOTHING")],
        [
            (29, "SELECT 1 FROM audit_log WHERE token_id = $1/*.*//*id*/"),
            (30, "INSERT INTO audit_log (token_id, at) VALUES ($1/*.*//*id*/, now())"),
        ],
        [(36, "INSERT INTO qbo_users VALUES ('it''s; here') ON CONFLICT DO NOTHING")],
        [
            (
                38,
                "INSERT INTO qbo_users (user_id) VALUES ($1) ON CONFLICT (user_id) DO UPDATE SET user_id = $1::text",
            )
        ],
    ],
    "platform_connections.php": [
        [
            (
                9,
                "INSERT INTO cmis.platform_connections (org_id, platform, account_id, access_token) "
                "VALUES ($1, $2, $3, $4) ON CONFLICT (org_id, platform, account_id) WHERE deleted_at IS NULL "
                "DO UPDATE SET access_token = EXCLUDED.access_token",
            )
        ],
        [
            (18, "SELECT id, deleted_at FROM cmis.platform_connections WHERE org_id = $1 LIMIT 1"),
            (
                22,
                "INSERT INTO cmis.platform_connections (org_id, meta) VALUES ($1, '{\"it''s\": \"{$org}\"}')",
                "{$org}",
            ),
        ],
        [
            (
                32,
                "INSERT INTO preferences (userid, appid, configkey) SELECT $1, $2, $3 FROM preferences "
                "WHERE configkey ? 'x' AND userid = $4 HAVING COUNT(*) = 0",
            )
        ],
    ],
    "sessions.rb": [
        [
            (
                4,
                "WITH updated AS ( UPDATE sessions SET data = $1 WHERE sid = $2 RETURNING sid ) "
                "INSERT INTO sessions (sid, data) SELECT $3, $4 WHERE NOT EXISTS (SELECT sid FROM updated)",
            )
        ],
        [
            (
                13,
                "INSERT INTO #{table_name} (name, slug) VALUES ('#{names.first}', lower('X')) "
                "ON CONFLICT (lower(slug)) DO NOTHING",
                "#{table_name} #{names.first}",
            ),
            (16, "INSERT INTO slugs (slug) VALUES ($1) ON CONFLICT (lower(slug)) DO NOTHING"),
        ],
        [
            (22, "SELECT id FROM sessions WHERE name = $1"),
            (23, "INSERT INTO sessions (name) VALUES ($1)"),
        ],
    ],
    "Totals.java": [
        [
            (
                4,
                "merge into records as r using (select cast($1 as bigint) as id) s on r.id = s.id "
                "when matched then update set n = r.n + 1 when not matched then insert (id, n) values (s.id, 1)",
            )
        ],
        [
            (
                11,
                "INSERT INTO totals (id, total) VALUES ($1, $2) "
                "ON CONFLICT (id) DO UPDATE SET total = totals.total + EXCLUDED.total",
            )
        ],
        [
            (
                19,
                "INSERT INTO licenses (key, owner) VALUES ($1, $2::text) "
                "ON CONFLICT(key) DO UPDATE SET owner = excluded.owner",
            ),
            (22, "INSERT INTO %s (id) VALUES ($1) ON CONFLICT (id) DO NOTHING", "%s"),
            (23, "INSERT INTO audit (id) VALUES ($1) ON CONFLICT DO NOTHING"),
        ],
    ],
    "Digests.cs": [
        [
            (
                6,
                'INSERT INTO "Digests" ("Digest", calls) SELECT * FROM unnest($1, $2) '
                'ON CONFLICT ("Digest") DO UPDATE SET calls = "Digests".calls + EXCLUDED.calls',
            )
        ],
        [
            (
                13,
                "insert into {Schema.Table} (id, name) values ($1, $2::text) on conflict (id) do update set name = $2",
                "{Schema.Table}",
            ),
            (17, "INSERT INTO items (id, tags) VALUES ($1, '{\"a\": 1}') ON CONFLICT (id) DO NOTHING"),
            (21, "SELECT id FROM users WHERE email = $1 AND roles @> $2"),
            (23, "INSERT INTO users (email, roles) VALUES ($1, $2)"),
        ],
    ],
    "runbot.py": [
        [
            (
                15,
                "INSERT INTO runbot_commit (sha, name, rate) VALUES ($1, $2, '100%') "
                "ON CONFLICT (sha) DO UPDATE SET name = $2",
            ),
            (21, "INSERT INTO commits (sha) VALUES ($1) ON CONFLICT (sha) DO NOTHING"),
            (22, "INSERT INTO {table} (sha) VALUES ($1) ON CONFLICT (sha) DO NOTHING", "{table}"),
        ],
        [
            (26, "SELECT v FROM kv WHERE ns = $1 AND k = $2"),
            (
                27,
                "INSERT INTO kv (ns, k, v) VALUES ($1, $2, CAST($3 AS jsonb)) "
                "ON CONFLICT (ns, k) DO UPDATE SET v = kv.v || $3::jsonb",
            ),
        ],
        [
            (
                33,
                'INSERT INTO "runbot"."build" ("id", "hash") VALUES ($1, $2) ON CONFLICT ("hash") DO NOTHING',
            ),
            (
                43,
                "MERGE INTO build AS b USING (VALUES ($1, $2)) AS v (id, hash) ON v.id = b.id "
                "WHEN NOT MATCHED THEN INSERT VALUES (v.id, v.hash)",
            ),
        ],
    ],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_program_is_read(name: str) -> None:
    found = [
        [
            (s.line, " ".join(s.sql.split()), " ".join(s.dynamic)) if s.dynamic else (s.line, " ".join(s.sql.split()))
            for s in function
        ]
        for function in functions([str(PROGRAMS / name)], [], None)
    ]
    assert found == EXPECTED[name]


def test_every_program_is_read() -> None:
    assert {path.name for path in PROGRAMS.iterdir()} == set(EXPECTED)


def test_a_folder_is_read_whole_and_what_nobody_wrote_is_left_out(tmp_path: Path) -> None:
    for name in ("src/a.py", "src/deep/b.sql", "node_modules/c.js", ".git/d.sql", "vendor/e.go", "venv/f.py", "g.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        quote = "" if name.endswith("sql") else '"'
        path.write_text(f"{quote}x{quote}\n" if "c.js" in name else f"q = {quote}INSERT INTO t VALUES (1){quote}\n")
    (tmp_path / "src/deep/b.sql").write_text("INSERT INTO t VALUES (1)")
    found = [statement.file for function in functions([str(tmp_path)], [], None) for statement in function]
    assert [Path(file).relative_to(tmp_path).as_posix() for file in found] == ["src/a.py", "src/deep/b.sql"]
