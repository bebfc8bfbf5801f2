import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { PROJECT, runDocument } from '../support/doctest/document.js';

/** Documents with a test file of their own. */
const ELSEWHERE = [join('docs', 'tools.md')];

// Every code block of every document is run, in the order in which a reader comes to it.
const documents = ['README.md', ...readdirSync(join(PROJECT, 'docs')).map((name) => join('docs', name))];
for (const document of documents.filter((name) => name.endsWith('.md') && !ELSEWHERE.includes(name))) {
  test(`${document} does what it says`, (t) => runDocument(t, join(PROJECT, document)));
}
