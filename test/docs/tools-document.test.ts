import { join } from 'node:path';
import { test } from 'node:test';
import { PROJECT, runDocument } from '../support/doctest/document.js';

// The one that starts the most processes has a time limit of its own.
test('docs/tools.md does what it says', (t) => runDocument(t, join(PROJECT, 'docs', 'tools.md')));
