import { DB, transaction } from 'holdfast/odb';

// Imports a file into a new database on the disk, in one transaction; prints how many records that has.
const [path, file] = process.argv.slice(2) as [string, string];
const db = await DB.open(path, { history: 'all' });
const connection = db.open();
connection.root['imported'] = await connection.importFile(file);
await transaction.commit();
connection.close();
console.log(db.storage.length);
await db.close();
