import { Prisma, PrismaClient } from "@prisma/client";
import postgres from "postgres";

const sql = postgres();
const COLUMNS = "student_id, course_id, amount";

interface Row {
  id: number;
}

export class Purchases {
  constructor(private readonly prisma: PrismaClient) {}

  // -- harness: ignore D104
  async withPredicate(student: number, course: number, amount: number): Promise<number> {
    const rows = await sql<Row[]>`
      INSERT INTO student_course_purchases (student_id, course_id, amount)
      VALUES (${student}, ${course}, ${amount})
      ON CONFLICT (student_id, course_id) WHERE is_active = ${true}
      DO NOTHING
      RETURNING id
    `;
    return rows.length;
  }

  async withoutTheWhere(student: number, course: number, amount: number) {
    return this.prisma.$executeRaw`INSERT INTO student_course_purchases (student_id, course_id, amount)
      VALUES (${student}, ${course}, ${amount}) ON CONFLICT (student_id, course_id) DO NOTHING`;
  }

  async fallback(client: Client, student: number, course: number, amount: number) {
    const found = await client.query(
      "SELECT id FROM student_course_purchases WHERE student_id = $1 AND course_id = $2 AND is_active = true",
      [student, course],
    );
    if (found.rowCount === 0) {
      await client.query(`INSERT INTO student_course_purchases (${COLUMNS}) VALUES ($1, $2, $3)`, [student, course, amount]);
    }
  }

  async bulk(rows: Row[], table: string) {
    await sql`INSERT INTO events ${sql(rows)} ON CONFLICT (id) DO NOTHING`;
    await this.client.query(`INSERT INTO ${table} (id) VALUES ($1) ON CONFLICT (id) DO NOTHING`);
  }
}
