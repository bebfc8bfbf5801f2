import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { StorageError } from 'holdfast/odb';
import { SpillFile } from '#src/odb/storage/spill-file.js';

const KIB = 1024;

test('what was appended is read back, in whatever order, be it in memory still or in the file', () => {
  const size = fc.oneof(fc.nat(2 * KIB), fc.constantFrom(0, 200 * KIB, 256 * KIB, 300 * KIB));
  fc.assert(
    fc.property(fc.array(size, { minLength: 1, maxLength: 40 }), fc.infiniteStream(fc.nat(39)), (sizes, order) => {
      const file = new SpillFile();
      const places = sizes.map((length, i) => ({ at: file.append(Buffer.alloc(length, i + 1)), length, byte: i + 1 }));
      assert.equal(
        file.size,
        sizes.reduce((sum, each) => sum + each, 0),
      );
      const look = ({ at, length, byte }: (typeof places)[number]) =>
        assert.ok(Buffer.alloc(length, byte).equals(file.read(at, length)), `${length} bytes at ${at}`);
      for (const place of places) look(place);
      for (let i = 0; i < 40; i++)
        look(places[(order.next().value as number) % places.length] as (typeof places)[number]);
      // What comes later does not disturb what is read ahead.
      for (let i = 0; i < places.length; i++) {
        look(places[i] as (typeof places)[number]);
        places.push({ at: file.append(Buffer.alloc(100, 200)), length: 100, byte: 200 });
        if (places.length > 200) break;
      }
      file.close();
      file.close();
    }),
    { numRuns: 30 },
  );
});

test('a little needs no file; where there can be none, the error says where, and what to do', () => {
  const file = new SpillFile(join('/', 'nowhere', 'at', 'all'));
  for (let i = 0; i < 256; i++) file.append(Buffer.alloc(KIB, i));
  assert.deepEqual(file.read(7 * KIB, 2), Buffer.from([7, 7]));
  const isRefused = (error: unknown) =>
    error instanceof StorageError &&
    /\/nowhere\/at\/all cannot be written \(ENOENT.*make room there, or have TMPDIR name another folder/.test(
      error.message,
    );
  assert.throws(() => file.append(Buffer.alloc(1)), isRefused);
  assert.equal(file.size, 256 * KIB);
  assert.deepEqual(file.read(255 * KIB, 2), Buffer.from([255, 255]));
  file.close();
});
