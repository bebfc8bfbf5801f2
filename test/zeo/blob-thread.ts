// A thread that asks for a content of a blob through a view of its own, and posts the path.
import { parentPort, workerData } from 'node:worker_threads';
import type { BlobInfo, Oid } from 'holdfast/odb';
import { openAttached } from '#src/odb/remote/index.js';

const { attachment, oid, info } = workerData as { attachment: unknown; oid: Oid; info: BlobInfo };
const storage = await openAttached(attachment);
parentPort?.postMessage(await storage.loadBlob(oid, info));
await storage.close();
