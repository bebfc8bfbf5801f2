/** What is stored as a version of a blob: each has a size, and bytes, of its own. */
export function contentOf(key: string, version: number): Buffer {
  return Buffer.alloc(1 + ((version * 37_573) % 300_000), `${key} in version ${version}; `);
}

/** The version of a content. */
export function versionOf(content: Buffer): number {
  return Number(/version (\d+)/.exec(content.subarray(0, 100).toString())?.[1]);
}
