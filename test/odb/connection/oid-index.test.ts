import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Oid } from 'holdfast/odb';
import { OidIndex } from '#src/odb/connection/oid-index.js';

test('oids are numbered in the order in which they come, whatever they are', () => {
  const oid = fc.oneof(
    fc.nat(300),
    fc.maxSafeNat(),
    // The same but for the upper half.
    fc.tuple(fc.nat(200), fc.nat(3)).map(([high, low]) => high * 2 ** 32 + low),
  );
  fc.assert(
    fc.property(fc.array(oid, { maxLength: 2000, size: 'max' }), (oids) => {
      const index = new OidIndex();
      const numbers = new Map<number, number>();
      for (const each of oids as Oid[]) {
        assert.equal(index.numberOf(each), numbers.get(each) ?? -1);
        if (numbers.has(each)) continue;
        assert.equal(index.add(each), numbers.size);
        numbers.set(each, numbers.size);
      }
      assert.equal(index.count, numbers.size);
      for (const [each, number] of numbers) {
        assert.equal(index.numberOf(each as Oid), number);
        assert.equal(index.at(number), each);
      }
    }),
    { numRuns: 40 },
  );
});
