import type { Block } from './parse.js';

/** Matches a statement that says what it results in. */
const ASSERTION = /^(\s*)(?!\/\/)(\S.*?);?\s*\/\/ => (.*)$/;
/** The same, where the result stands below, in a line or a comment of its own. */
const RESULT = /^\s*\/\/ => /;
/** A statement that begins and ends on its line. */
const STATEMENT = /^\s*(?![})\].]|\/\/)\S.*;$/;

/**
 * The module that the `ts` blocks of one session make up. Each line stands where it stands in the document, so that whatever names a
 * line names that of the document. Between two blocks the module waits until it is told to go on.
 */
export function programOf(blocks: readonly Block[]): string {
  const lines: string[] = ["import { __check, __step } from './__harness.js';"];
  blocks.forEach((block, index) => {
    while (lines.length < block.line - 1) lines.push('');
    for (const line of joined(block)) lines.push(asserted(line));
    // In place of the fence that ends the block.
    lines.push(`;await __step(${index});`);
  });
  return `${lines.join('\n')}\n`;
}

/** The line, or a result of several lines that begins there, which leaves empty lines. */
function joinedResult(lines: string[], start: number): string {
  const first = lines[start] as string;
  if (!/^\s*\/\* => /.test(first)) return first;
  let text = '';
  for (let i = start; i < lines.length; i++) {
    text += ` ${(lines[i] as string).trim()}`;
    lines[i] = '';
    if (text.endsWith('*/')) break;
  }
  return text.replace(/^\s*\/\*/, '//').replace(/\s*\*\/$/, '');
}

/** The lines of a block, each result on the line of its statement. @throws Error that names the line of a result of nothing. */
function joined(block: Block): string[] {
  const lines = block.code.split('\n');
  for (let i = 0; i < lines.length; i++) {
    const line = joinedResult(lines, i);
    if (!RESULT.test(line)) continue;
    const statement = lines[i - 1] ?? '';
    if (!STATEMENT.test(statement)) {
      throw new Error(`line ${block.line + i}: a result stands behind its statement, or below one of a single line`);
    }
    lines[i - 1] = `${statement} ${line.trim()}`;
    lines[i] = '';
  }
  return lines;
}

function asserted(line: string): string {
  const [, indent, expression, expected] = ASSERTION.exec(line) ?? [];
  if (expression === undefined || expected === undefined) return line;
  return `${indent}__check(${expression}, ${JSON.stringify(expected.trim())});`;
}

/** What a session imports: asserts, and waits for its turn. */
export const HARNESS = `
import assert from 'node:assert/strict';
import { inspect } from 'node:util';

export function __check(value: unknown, expected: string): void {
  if (!expected.includes('…')) {
    assert.deepStrictEqual(value, new Function('return (' + expected + ')')());
    return;
  }
  const shown = inspect(value, { breakLength: Infinity });
  const pattern = expected.split('…').map((part) => part.replace(/[.*+?^$\{}()|[\\]\\\\]/g, '\\\\$&')).join('.*');
  assert.match(shown, new RegExp('^' + pattern + '$', 's'));
}

export function __step(index: number): Promise<void> {
  process.send!({ done: index });
  return new Promise((resolve) => {
    process.once('message', (message: { last: boolean }) => {
      if (message.last) process.disconnect();
      resolve();
    });
  });
}
`;
