import { readFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { crc32 } from '#src/base/index.js';
import type { BlobFiles } from '#src/odb/storage/blob/blob-files.js';
import type { Scheduler } from './scheduler.js';
import type { Faults } from './sim-level.js';

class File {
  /** What is there for good; `undefined`: a crash leaves any beginning of it. */
  isDurable = false;

  constructor(public bytes: Buffer) {}
}

class Folder {
  readonly entries = new Map<string, File | Folder>();
  /** What the names stood for when the folder was last synced, as far as that has changed. */
  readonly unsynced = new Map<string, File | Folder | undefined>();

  set(name: string, entry: File | Folder | undefined): void {
    if (!this.unsynced.has(name)) this.unsynced.set(name, this.entries.get(name));
    if (entry) this.entries.set(name, entry);
    else this.entries.delete(name);
  }
}

/** Files and folders, of which a crash of the machine leaves what was synced; and of the rest what chance leaves, name by name. */
export class SimFiles implements BlobFiles {
  readonly #scheduler: Scheduler;
  readonly #faults: Faults;
  readonly #root = new Folder();

  /** @param folder is there for good */
  constructor(scheduler: Scheduler, faults: Faults, folder: string) {
    this.#scheduler = scheduler;
    this.#faults = faults;
    for (let each = folder, made = new Folder(); each !== '/'; each = dirname(each)) {
      const parent = each === `/${basename(each)}` ? this.#root : new Folder();
      parent.entries.set(basename(each), made);
      made = parent;
    }
  }

  // ---------------------------------------------------------------- for the simulation

  /** The bytes of a file. */
  read(path: string): Buffer | undefined {
    const file = this.#find(path);
    return file instanceof File ? file.bytes : undefined;
  }

  /** The paths of all files. */
  *paths(folder = this.#root, prefix = ''): Generator<string> {
    for (const [name, entry] of folder.entries) {
      if (entry instanceof File) yield `${prefix}/${name}`;
      else yield* this.paths(entry, `${prefix}/${name}`);
    }
  }

  /** The machine goes down. */
  crash(): void {
    this.#settle(this.#root);
  }

  #settle(folder: Folder): void {
    for (const [name, former] of folder.unsynced) {
      if (this.#scheduler.chance(0.5)) continue;
      if (former) folder.entries.set(name, former);
      else folder.entries.delete(name);
    }
    folder.unsynced.clear();
    for (const entry of folder.entries.values()) {
      if (entry instanceof Folder) this.#settle(entry);
      else if (!entry.isDurable) {
        entry.bytes = entry.bytes.subarray(0, this.#scheduler.below(entry.bytes.length + 1));
        entry.isDurable = true;
      }
    }
  }

  // ---------------------------------------------------------------- at once

  exists(path: string): boolean {
    return this.#find(path) !== undefined;
  }

  names(folder: string): string[] {
    const found = this.#find(folder);
    return found instanceof Folder ? [...found.entries.keys()] : [];
  }

  readText(path: string): string {
    const bytes = this.read(path);
    if (!bytes) throw failure('ENOENT', path);
    return bytes.toString();
  }

  writeText(path: string, text: string, { durable } = { durable: false }): void {
    if (this.#faults.isFull) throw failure('ENOSPC', path);
    const file = new File(Buffer.from(text));
    file.isDurable = durable;
    this.#parent(path).set(basename(path), file);
  }

  makeFolder(path: string): void {
    if (this.#find(path) instanceof Folder) return;
    if (this.#faults.isFull) throw failure('ENOSPC', path);
    this.makeFolder(dirname(path));
    this.#parent(path).set(basename(path), new Folder());
  }

  move(from: string, to: string): void {
    const entry = this.#find(from);
    if (!entry) throw failure('ENOENT', from);
    const target = this.#parent(to);
    this.#parent(from).set(basename(from), undefined);
    target.set(basename(to), entry);
  }

  remove(path: string): void {
    if (this.#find(path)) this.#parent(path).set(basename(path), undefined);
  }

  removeEmptyFolder(path: string): void {
    const folder = this.#find(path);
    if (!(folder instanceof Folder)) throw failure('ENOENT', path);
    if (folder.entries.size > 0) throw failure('ENOTEMPTY', path);
    this.remove(path);
  }

  // ---------------------------------------------------------------- in time

  async sizeOf(path: string): Promise<number | undefined> {
    await this.#step('stat');
    return this.read(path)?.length;
  }

  async linkOrCopy(from: string, to: string): Promise<void> {
    // Drafts are files of the machine.
    const bytes = this.read(from) ?? readFileSync(from);
    await this.#step('link');
    if (this.#faults.isFull) throw failure('ENOSPC', to);
    this.#parent(to).set(basename(to), new File(bytes));
  }

  async seal(path: string, size: number): Promise<number> {
    await this.#step('sync file');
    const file = this.#find(path);
    if (!(file instanceof File)) throw failure('ENOENT', path);
    if (file.bytes.length === size) file.isDurable = true;
    return file.bytes.length;
  }

  async measure(path: string): Promise<{ readonly size: number; readonly crc: number }> {
    await this.#step('read file');
    const bytes = this.read(path);
    if (!bytes) throw failure('ENOENT', path);
    return { size: bytes.length, crc: crc32(bytes) };
  }

  async removeFile(path: string): Promise<void> {
    await this.#scheduler.pause('disk: remove');
    this.remove(path);
  }

  async syncFolder(path: string): Promise<void> {
    await this.#step('sync folder');
    const folder = this.#find(path);
    if (!(folder instanceof Folder)) throw failure('ENOENT', path);
    folder.unsynced.clear();
  }

  async #step(what: string): Promise<void> {
    await this.#scheduler.pause(`disk: ${what}`);
    if (!this.#scheduler.chance(this.#faults.filesFail)) return;
    this.#scheduler.note(`disk: ${what} fails`);
    throw failure('EIO', what);
  }

  #find(path: string): File | Folder | undefined {
    let entry: File | Folder | undefined = this.#root;
    for (const name of path.split('/')) {
      if (name === '') continue;
      entry = entry instanceof Folder ? entry.entries.get(name) : undefined;
    }
    return entry;
  }

  #parent(path: string): Folder {
    const folder = this.#find(dirname(path));
    if (folder instanceof Folder) return folder;
    throw failure('ENOENT', path);
  }
}

function failure(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code });
}
