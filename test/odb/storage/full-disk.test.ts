import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, rmSync, statfsSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Oid, POSKeyError, type Storage, StorageError, type Tid, ZERO_TID } from 'holdfast/odb';
import { type LogSink, setLogSink, systemRandom } from '#src/base/index.js';
import { LevelStorage } from '#src/odb/storage/level/level-storage.js';

const LIMITED_WRITER = fileURLToPath(new URL('./limited-writer.js', import.meta.url));
const DISK_BYTES = 100 * 1024 * 1024;
const RECORD_BYTES = 150_000;

let folder: string;
let formerSink: LogSink;

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-full-'));
  // That a write failed is logged as critical.
  formerSink = setLogSink(() => undefined);
});

after(() => {
  setLogSink(formerSink);
  rmSync(folder, { recursive: true, force: true });
});

/** What was acknowledged. */
class Acknowledged {
  readonly commits: { readonly oid: Oid; readonly tid: Tid; readonly commitId: Buffer; readonly data: Buffer }[] = [];

  /** Commits a new object of random bytes. */
  async commit(storage: Storage, bytes = RECORD_BYTES): Promise<void> {
    const commitId = Buffer.from(systemRandom.bytes(16));
    const transaction = { commitId, user: '', description: '', extension: new Uint8Array(0) };
    const oid = storage.newOid();
    const data = Buffer.from(systemRandom.bytes(bytes));
    storage.tpcBegin(transaction);
    storage.store(transaction, oid, ZERO_TID, Buffer.from(data));
    try {
      const { tid } = await storage.commit(transaction);
      this.commits.push({ oid, tid, commitId, data });
    } catch (error) {
      await storage.tpcAbort(transaction);
      assert.throws(() => storage.load(oid), POSKeyError);
      assert.equal(await storage.outcome(commitId), undefined);
      throw error;
    }
  }

  /** All of it is there, and nothing else. */
  async check(storage: Storage): Promise<void> {
    for (const { oid, tid, commitId, data } of this.commits) {
      const revision = storage.load(oid);
      assert.equal(revision.tid, tid);
      assert.ok(data.equals(revision.data), `the data of oid ${oid}`);
      assert.equal(await storage.outcome(commitId), tid);
    }
    const tids: Tid[] = [];
    for await (const each of storage.iterate()) tids.push(each.tid);
    assert.deepEqual(
      tids,
      this.commits.map(({ tid }) => tid),
    );
  }
}

/** Mounts a small disk; returns why it cannot, if so. */
function mountSmallDisk(path: string): string | undefined {
  const { status, stderr, error } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'tmpfs', path]);
  return status === 0 ? undefined : `no small disk can be mounted here: ${String(error ?? stderr).trim()}`;
}

function fill(path: string): void {
  const chunk = Buffer.alloc(64 * 1024);
  // It ends with an error: there is no more room.
  assert.throws(() => {
    for (;;) appendFileSync(path, chunk);
  });
}

test('a full disk fails the commits, which are not there; all is read meanwhile, and writes go on once there is room', async (t) => {
  const disk = mkdtempSync(join(folder, 'disk-'));
  const reason = mountSmallDisk(disk);
  if (reason !== undefined) {
    t.skip(reason);
    return;
  }
  const ballast = join(disk, 'ballast');
  const path = join(disk, 'test.fs');
  const acknowledged = new Acknowledged();
  let storage: LevelStorage | undefined;
  try {
    for (let round = 0; round < 3; round++) {
      storage = await LevelStorage.open(path, { history: 'all' });
      for (let i = 0; i < 10; i++) await acknowledged.commit(storage);
      fill(ballast);
      const failing = storage;
      // What is reserved for a file may take some.
      await assert.rejects(
        async () => {
          for (let i = 0; i < 200; i++) await acknowledged.commit(failing);
        },
        (error: unknown) => {
          assert.ok(error instanceof StorageError, String(error));
          // The first write to fail may be the storage's own.
          assert.match(error.message, /could not be written.*(?:space|full)|the disk of .* is full/is);
          return true;
        },
      );
      assert.equal(storage.isReadOnly, true);
      await assert.rejects(acknowledged.commit(storage), StorageError);
      await acknowledged.check(storage);
      if (round === 1) {
        // It can be closed, and opened at the latest when there is room again.
        await storage.close();
        storage = undefined;
        unlinkSync(ballast);
        storage = await LevelStorage.open(path, { history: 'all' });
      } else unlinkSync(ballast);
      assert.ok(statfsSync(disk).bavail > 0);
      await acknowledged.commit(storage);
      assert.equal(storage.isReadOnly, false);
      await acknowledged.check(storage);
      await storage.close();
      storage = await LevelStorage.open(path, { history: 'all' });
      await acknowledged.check(storage);
      const options = { references: () => [] };
      for await (const { message } of storage.verify(options)) assert.fail(message);
      await storage.close();
      storage = undefined;
    }
  } finally {
    await storage?.close();
    execFileSync('umount', [disk]);
  }
});

test('a file that must not grow fails the commit; the next ones begin another, and nothing acknowledged is lost', async (t) => {
  if (process.platform === 'win32') {
    t.skip('there are no limits of the shell');
    return;
  }
  const path = join(folder, 'limited.fs');
  // Units of 1 KiB with this shell, or of 512 bytes with others: 6 or 3 MB, below what LevelDB lets its log grow to.
  const { status, stdout, stderr } = spawnSync(
    'sh',
    ['-c', `trap '' XFSZ; ulimit -f 6000; exec "$0" "$@"`, process.execPath, LIMITED_WRITER, path],
    { encoding: 'utf8' },
  );
  assert.equal(status, 0, stderr);
  const lines = stdout.trim().split('\n');
  const oids = lines.flatMap((line) => (line.startsWith('ack ') ? [Number(line.slice(4)) as Oid] : []));
  const failures = lines.filter((line) => line.startsWith('failed '));
  assert.ok(failures.length > 0, 'the limit was met');
  for (const failure of failures) assert.match(failure, /^failed ODB_STORAGE /);
  assert.ok(
    lines.findLastIndex((line) => line.startsWith('ack ')) > lines.findIndex((line) => line.startsWith('failed ')),
  );
  const storage = await LevelStorage.open(path, { history: 'all' });
  try {
    let count = 0;
    for await (const { records } of storage.iterate()) count += records.length;
    assert.equal(count, oids.length);
    for (const oid of oids) assert.equal(storage.load(oid).data.length, RECORD_BYTES);
    for await (const { message } of storage.verify({ references: () => [] })) assert.fail(message);
  } finally {
    await storage.close();
  }
});
