import { DB, type Persistent, transaction } from 'holdfast/odb';

// Imports a file into a new database on the disk, in one transaction, and exports what came in; prints how many records there are, and how
// many were exported.
const [path, file] = process.argv.slice(2) as [string, string];
const db = await DB.open(path, { history: 'all' });
const connection = db.open();
connection.root['imported'] = await connection.importFile(file);
await transaction.commit();
const { objects } = await connection.exportFile(connection.root['imported'] as Persistent, `${file}.again`);
connection.close();
console.log(JSON.stringify([db.storage.length, objects]));
await db.close();
