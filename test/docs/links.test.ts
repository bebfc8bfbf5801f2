import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { test } from 'node:test';
import { PROJECT } from '../support/doctest/document.js';

const pages = [
  ...['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md'],
  ...readdirSync(join(PROJECT, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => join('docs', name)),
];

/** The text of a page without what it shows as code. */
function proseOf(page: string): string {
  return readFileSync(join(PROJECT, page), 'utf8')
    .replace(/^```[\s\S]*?^```$/gm, '')
    .replace(/`[^`\n]*`/g, (code) => code.replace(/[[\]()]/g, ' '));
}

/** The anchors of the headings of a page. */
function anchorsOf(page: string): Set<string> {
  const anchors = new Set<string>();
  for (const [, heading = ''] of proseOf(page).matchAll(/^#{1,6} (.*)$/gm)) {
    const slug = heading
      .toLowerCase()
      .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .trim()
      .replaceAll(' ', '-');
    let anchor = slug;
    for (let i = 1; anchors.has(anchor); i++) anchor = `${slug}-${i}`;
    anchors.add(anchor);
  }
  return anchors;
}

/** Targets of the links of a page that lead to something of the project. */
function linksOf(page: string): string[] {
  return [...proseOf(page).matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, target]) => target as string)
    .filter((target) => !/^[a-z]+:/.test(target));
}

for (const page of pages) {
  test(`every link of ${page} leads somewhere`, () => {
    for (const link of linksOf(page)) {
      const [path = '', anchor] = link.split('#');
      const target = path === '' ? page : relative(PROJECT, join(PROJECT, dirname(page), path));
      assert.ok(existsSync(join(PROJECT, target)), `${link}: there is no ${target}`);
      if (anchor === undefined) continue;
      assert.ok(anchorsOf(target).has(anchor), `${link}: ${target} has no heading of this name`);
    }
  });
}

test('every page of docs can be reached from the README', () => {
  const reached = new Set<string>();
  const visit = (page: string): void => {
    if (reached.has(page) || !page.endsWith('.md')) return;
    reached.add(page);
    for (const link of linksOf(page)) {
      const [path = ''] = link.split('#');
      if (path !== '') visit(relative(PROJECT, join(PROJECT, dirname(page), path)));
    }
  };
  visit('README.md');
  assert.deepEqual(
    pages.filter((page) => !reached.has(page)),
    [],
  );
});
