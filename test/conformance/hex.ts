import assert from 'node:assert/strict';
import type { RecordTransform } from 'holdfast/odb';

/** Bytes as hexadecimal digits, after a mark: what is not transformed, or is twice, is noticed. */
export const hex: RecordTransform = {
  encode: (data) => Buffer.from(`.h${Buffer.from(data).toString('hex')}`),
  decode: (stored) => {
    const text = Buffer.from(stored).toString('latin1');
    assert.match(text, /^\.h(?:[0-9a-f]{2})*$/, 'it was transformed once');
    return Buffer.from(text.slice(2), 'hex');
  },
};
