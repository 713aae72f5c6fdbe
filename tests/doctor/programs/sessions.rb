class Session < ApplicationRecord
  # INSERT INTO sessions (sid) VALUES (1)
  UPSERT = <<~SQL.squish
    WITH updated AS (
      UPDATE sessions SET data = ? WHERE sid = ? RETURNING sid
    )
    INSERT INTO sessions (sid, data)
    SELECT ?, ? WHERE NOT EXISTS (SELECT sid FROM updated)
  SQL

  def self.touch_all(names)
    connection.execute(<<~SQL)
      INSERT INTO #{table_name} (name, slug)
      VALUES ('#{names.first}', lower('X')) ON CONFLICT (lower(slug)) DO NOTHING
    SQL
    connection.exec_params('INSERT INTO slugs (slug) VALUES ($1) ' \
                           'ON CONFLICT (lower(slug)) DO NOTHING', [names])
    logger.info "insert into the basket: #{names}"
  end

  def find_or_create(name)
    row = db.get_first("SELECT id FROM sessions WHERE name = :name", name: name)
    row || db.execute("INSERT INTO sessions (name) VALUES (:name)", name: name)
  end
end
