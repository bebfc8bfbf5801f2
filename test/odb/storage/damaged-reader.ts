// A process that reads a damaged database, and says in JSON which errors came; it fails if wrong data did.
import { readFileSync } from 'node:fs';
import { LevelStorage } from '#src/odb/storage/level/level-storage.js';
import 'holdfast/odb';
import { readAll, type Written } from './sample.js';

const [path, writtenPath] = process.argv.slice(2) as [string, string];
const written = JSON.parse(readFileSync(writtenPath, 'utf8')) as Written[];
let errors: Record<string, number>;
try {
  const storage = await LevelStorage.open(path, { history: 'all' });
  errors = await readAll(storage, written);
  await storage.close();
} catch (error) {
  const { code } = error as { code?: string };
  if (!code?.startsWith('ODB_')) throw error;
  errors = { [code]: 1 };
}
process.stdout.write(`${JSON.stringify(errors)}\n`);
