<?php
// INSERT INTO nowhere (a) VALUES (1)
class PlatformConnections
{
    private const TABLE = 'cmis.platform_connections';

    public function connect(PDO $pdo, array $row): void
    {
        $sql = "INSERT INTO " . self::TABLE . " (org_id, platform, account_id, access_token) "
            . "VALUES (:org, :platform, :account, :token)";
        $sql .= ' ON CONFLICT (org_id, platform, account_id) WHERE deleted_at IS NULL';
        $sql .= ' DO UPDATE SET access_token = EXCLUDED.access_token';
        $pdo->prepare($sql)->execute($row);
    }

    public function reconnect(PDO $pdo, string $org): void
    {
        $found = $pdo->prepare('SELECT id, deleted_at FROM cmis.platform_connections WHERE org_id = ? LIMIT 1');
        $found->execute([$org]);
        if (!$found->fetch()) {
            $pdo->prepare(<<<SQL
                INSERT INTO cmis.platform_connections (org_id, meta)
                VALUES (?, '{"it''s": "{$org}"}')
                SQL);
        }
    }

    // In one statement, and 23505 all the same.
    public function setIfAbsent(Connection $db, string $key): int
    {
        return $db->executeUpdate(
            'INSERT INTO preferences (userid, appid, configkey) ' .
            'SELECT ?, ?, ? FROM preferences WHERE configkey ? \'x\' AND userid = ? HAVING COUNT(*) = 0',
            [$key],
        );
    }

    public function onMySql(Connection $db): void
    {
        $db->query('INSERT INTO counters (name) VALUES (?) ON DUPLICATE KEY UPDATE n = n + 1');
    }
}
