package store

import (
	"context"
	"fmt"
)

// upsert was INSERT INTO waba_accounts (id) VALUES ($1) once.
const upsert = `
	INSERT INTO waba_accounts (id, waba_id, user_id, owner_business_id)
	VALUES ($1, $2, $3, $4)
	ON CONFLICT (waba_id) DO UPDATE SET
		owner_business_id = EXCLUDED.owner_business_id,
		user_id = EXCLUDED.user_id,
		updated_at = NOW()`

func (s *Store) Webhook(ctx context.Context, id, waba, user, business string) error {
	_, err := s.db.Exec(ctx, upsert, id, waba, user, business)
	return err
}

func (s *Store) Callback(ctx context.Context, args map[string]any) error {
	_, err := s.db.NamedExec("INSERT INTO waba_accounts (id, user_id, waba_id, access_token) "+
		"VALUES (:id, :user_id, :waba_id, :access_token) "+
		"ON CONFLICT (user_id, waba_id) DO UPDATE SET access_token = EXCLUDED.access_token", args)
	return err
}

func (s *Store) Archive(ctx context.Context, table string) error {
	_, err := s.db.Exec(ctx, fmt.Sprintf("INSERT INTO %s SELECT * FROM waba_accounts ON CONFLICT DO NOTHING", table))
	return err
}

// Batches in the order of the request deadlock with each other.
func (s *Store) Observe(ctx context.Context, rows []Row) error {
	for _, row := range rows {
		if _, err := s.tx.ExecContext(ctx, `INSERT INTO usage (day, name, n) VALUES ($1, $2, 1)
			ON CONFLICT (day, name) DO UPDATE SET n = usage.n + 1`, row.Day, row.Name); err != nil {
			return err
		}
	}
	return nil
}
