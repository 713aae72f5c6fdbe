using Npgsql;

class Digests
{
    private const string Upsert = @"
        INSERT INTO ""Digests"" (""Digest"", calls)
        SELECT * FROM unnest(@digests, @calls)
        ON CONFLICT (""Digest"") DO UPDATE SET calls = ""Digests"".calls + EXCLUDED.calls";

    // INSERT INTO nowhere (a) VALUES (1)
    async Task Save(NpgsqlConnection connection, Item item)
    {
        await connection.ExecuteAsync(@$"insert into {Schema.Table} (id, name)
                values (@Id, @Name::text)
                on conflict (id) do update set name = @Name", item);
        await connection.ExecuteAsync("""
            INSERT INTO items (id, tags)
            VALUES (@Id, '{"a": 1}')
            ON CONFLICT (id) DO NOTHING
            """, item);
        var found = await connection.QueryAsync("SELECT id FROM users WHERE email = @Email AND roles @> @Roles", item);
        if (!found.Any())
            await connection.ExecuteAsync("INSERT INTO users (email, roles) VALUES (@Email, @Roles)", item);
    }
}
