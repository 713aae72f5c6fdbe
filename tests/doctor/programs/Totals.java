package app;

public class Totals {
    private static final String MERGE = "merge into records as r using (select cast(? as bigint) as id) s on r.id = s.id "
        + "when matched then update set n = r.n + 1 "
        + "when not matched then insert (id, n) values (s.id, 1)";

    /* INSERT INTO totals (id) VALUES (1) */
    void add(Handle handle, long id, long delta) {
        handle.createUpdate("""
                INSERT INTO totals (id, total)
                VALUES (:id, :delta)
                ON CONFLICT (id)
                DO UPDATE SET total = totals.total + EXCLUDED.total
                """).bind("id", id).bind("delta", delta).execute();
    }

    void save(Connection connection, String table) throws SQLException {
        connection.prepareStatement("INSERT INTO licenses (key, owner) "
            + "VALUES (?, ?::text) "
            + "ON CONFLICT(key) DO UPDATE SET owner = excluded.owner");
        connection.prepareStatement(String.format("INSERT INTO %s (id) VALUES (?) ON CONFLICT (id) DO NOTHING", table));
        StringBuilder sql = new StringBuilder("INSERT INTO audit (id) ");
        sql.append("VALUES (?)").append(" ON CONFLICT DO NOTHING");
        connection.prepareStatement(sql.toString());
    }
}
