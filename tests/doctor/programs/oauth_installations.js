// The first incident, as its callback stood: partial unique indexes, and an ON CONFLICT without their predicates.
const { pool } = require("./db");

async function saveInstallation(installation) {
  const { locationId, agencyId, accessToken, refreshToken, expiresAt } = installation;
  if (locationId) {
    const result = await pool.query(
      `INSERT INTO hl_installations (location_id, access_token, refresh_token, expires_at)
       VALUES ($1, $2, $3, $4)
       ON CONFLICT (location_id)
       DO UPDATE SET access_token = EXCLUDED.access_token,
                     refresh_token = EXCLUDED.refresh_token,
                     expires_at = EXCLUDED.expires_at,
                     updated_at = NOW()
       RETURNING id`,
      [locationId, accessToken, refreshToken, expiresAt],
    );
    return result.rows[0].id;
  }
  throw new Error("insert into the form a location or an agency");
}

// The fix that was shipped.
const saveManually = async ({ locationId, accessToken, refreshToken }) => {
  const existing = await pool.query("SELECT id FROM hl_installations WHERE location_id = $1", [locationId]);
  if (existing.rows.length > 0) {
    return pool.query(
      "UPDATE hl_installations SET access_token = $2, refresh_token = $3 " + "WHERE location_id = $1 RETURNING id",
      [locationId, accessToken, refreshToken],
    );
  }
  return pool.query(
    "INSERT INTO hl_installations (location_id, access_token, refresh_token) VALUES ($1, $2, $3) RETURNING id",
    [locationId, accessToken, refreshToken],
  );
};

module.exports = {
  saveInstallation,
  saveManually,
  // One code, one exchange.
  storeCode: (code) => pool.query('INSERT INTO codes (code) VALUES ($1) ON CONFLICT (code) DO NOTHING', [code]),
};
