import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import * as jobs from 'holdfast/async';
import * as odb from 'holdfast/odb';
import * as zeo from 'holdfast/zeo';
import { PROJECT } from '../support/doctest/document.js';

const text = readFileSync(join(PROJECT, 'docs', 'errors.md'), 'utf8');

/** Bases that are never thrown themselves. */
const ABSTRACT = new Set(['BaseError', 'TransactionError']);

interface ErrorClass {
  readonly name: string;
  readonly retry: odb.Retry;
}

/** The classes of errors that users can catch. */
const classes: ErrorClass[] = [...new Set([odb, zeo, jobs].flatMap((door) => Object.values<unknown>({ ...door })))]
  .filter((each): each is typeof odb.BaseError => typeof each === 'function' && each.prototype instanceof odb.BaseError)
  .filter(({ name }) => !ABSTRACT.has(name))
  .map((cls) => ({ name: cls.name, retry: (Object.create(cls.prototype) as odb.BaseError).retry }));

test('every error that can be caught has an entry in docs/errors.md, which says whether to try again', () => {
  assert.ok(classes.length > 20);
  for (const { name, retry } of classes) {
    const [, entry] = new RegExp(`^### \\w+\\n(\`${name}\`[\\s\\S]*?)(?=\\n#|(?![\\s\\S]))`, 'm').exec(text) ?? [];
    assert.ok(entry, `no entry in docs/errors.md begins with \`${name}\``);
    const [, said = 'never'] = /retry (now|later)/.exec(entry) ?? [];
    assert.equal(said, retry, `${name}: its entry says retry ${said}, the class says ${retry}`);
  }
});

test('the table of docs/errors.md lists every error that may be tried again', () => {
  for (const retry of ['now', 'later'] as const) {
    const [, row = ''] = new RegExp(`^\\| ${retry} \\|([^|]*)\\|`, 'm').exec(text) ?? [];
    const listed = [...row.matchAll(/`(\w+)`/g)].map(([, name]) => name).sort();
    const wanted = classes.filter((each) => each.retry === retry).map(({ name }) => name);
    assert.deepEqual(listed, wanted.sort());
  }
});
