import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const folders = new Set<string>();
let isWatching = false;

/** A folder among the system's temporary files, which goes when it is removed, or with the process. */
export class TemporaryFolder {
  /** Absolute: what a process does to its working directory does not matter. */
  readonly path: string;

  /** @param prefix of its name */
  constructor(prefix: string) {
    this.path = mkdtempSync(join(resolve(tmpdir()), prefix));
    folders.add(this.path);
    if (isWatching) return;
    isWatching = true;
    process.on('exit', () => {
      for (const path of folders) rmSync(path, { recursive: true, force: true });
    });
  }

  /** Removes it with all that is in it. */
  remove(): void {
    folders.delete(this.path);
    rmSync(this.path, { recursive: true, force: true });
  }
}
