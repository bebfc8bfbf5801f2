import fc from 'fast-check';

/** Units at which orders of strings go wrong: the least ones, the ends of ranges, halves of pairs. */
const unit = fc.constantFrom(
  '\0',
  '\x01',
  '0',
  '1',
  'a',
  'b',
  '\x7f',
  'þ',
  'ÿ',
  'Ā',
  'ー',
  '\ud800',
  '\udc00',
  '\uffff',
);

const beginning = fc.constantFrom(
  '',
  'key ',
  'https://www.example.com/users/',
  'https://www.example.com/users/a',
  '\0\0\0\0\0\0\0',
  'ÿÿÿÿ',
  'キーの前',
  '\u{10000}\u{10000}',
);

const rest = fc.array(unit, { maxLength: 8 }).map((units) => units.join(''));

/** Strings with one of a few beginnings, of which many are themselves the beginning of others. */
export const adversarialString = fc.tuple(beginning, rest).map(([start, end]) => start + end);

/** Such strings with the same beginning. */
export const alikeStrings: fc.Arbitrary<fc.Arbitrary<string>> = beginning.map((start) =>
  rest.map((end) => start + end),
);
