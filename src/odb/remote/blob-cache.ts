import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { chmod, link, mkdir, open, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, delay, LockFile, Logger, systemRandom, toHex } from '../../base/index.js';
import { measureFile } from '../storage/blob/blob-file.js';
import { type BlobInfo, isBlobId } from '../storage/blob/blob-info.js';
import { TemporaryFolder } from '../storage/blob/temporary-folder.js';

const logger = new Logger('holdfast.view');

/*
 * Contents of blobs that came from a server are files:
 *
 *     3f/‹id›             a content, for reading only; the folder is how its id begins
 *     tmp/‹name›/…        what a process is just making, or is about to send
 *     tmp/‹name›.lock     that process; the folders of processes that are gone are removed by the next one
 *     fetching/‹id›       somebody fetches this content, and shows by the time of the file that he is still at it
 *
 * All threads of a process, and all processes that name the same folder, share it. Whatever is in it can be fetched again: it may be
 * emptied at any time.
 */

const TEMPORARY = 'tmp';
const FETCHING = 'fetching';
/** Who has not shown for this long that he is fetching, is taken for dead. */
const SILENCE_MAX_MS = 10_000;
const SIGN_OF_LIFE_MS = 1000;
const LOOK_MS = 10;
/** Beyond its limit, the cache is brought down to this part of it. */
const KEEP = 0.9;

/** Where a cache is, and how large it may grow: for all threads that use it. */
export interface BlobCachePlace {
  /** Absolute. */
  readonly path: string;
  /** Where files are made that are to become contents. */
  readonly temporaryDirectory: string;
  readonly bytesMax: number;
}

/** The folder of a cache, as the thread has it that opened the storage. */
export class BlobCacheFolder {
  readonly place: BlobCachePlace;
  readonly #own: TemporaryFolder | undefined;
  readonly #lock: LockFile;

  /** @param path of the folder, absolute; without it, a temporary one, which goes with the storage */
  constructor(path: string | undefined, bytesMax: number) {
    this.#own = path === undefined ? new TemporaryFolder('holdfast-client-') : undefined;
    const folder = path ?? (this.#own as TemporaryFolder).path;
    const temporary = join(folder, TEMPORARY);
    mkdirSync(temporary, { recursive: true });
    mkdirSync(join(folder, FETCHING), { recursive: true });
    const name = toHex(systemRandom.bytes(8));
    // Ordering: the lock comes before what it guards, so that nobody takes the folder for one of the dead.
    this.#lock = LockFile.acquire(join(temporary, `${name}.lock`));
    const temporaryDirectory = join(temporary, name);
    mkdirSync(temporaryDirectory);
    this.place = { path: folder, temporaryDirectory, bytesMax };
    removeDead(temporary);
  }

  /** Removes what is temporary. */
  close(): void {
    rmSync(this.place.temporaryDirectory, { recursive: true, force: true });
    this.#lock.release();
    this.#own?.remove();
  }
}

function removeDead(temporary: string): void {
  for (const name of readdirSync(temporary)) {
    if (name.endsWith('.lock')) continue;
    const lock = join(temporary, `${name}.lock`);
    if (LockFile.holder(lock)) continue;
    rmSync(join(temporary, name), { recursive: true, force: true });
    rmSync(lock, { force: true });
  }
}

/** A thread's use of a cache. */
export class BlobCache {
  readonly #place: BlobCachePlace;
  readonly #clock: Clock;
  /** Fetches of this thread. */
  readonly #fetches = new Map<string, Promise<string>>();
  /** Contents of which this thread knows that they are sound. */
  readonly #sound = new Set<string>();
  /** Bytes that came since the files were last counted; at first, nobody has counted. */
  #newBytes: number;
  #trimming: Promise<void> | undefined;

  constructor(place: BlobCachePlace, clock: Clock) {
    this.#place = place;
    this.#clock = clock;
    this.#newBytes = place.bytesMax;
  }

  get temporaryDirectory(): string {
    return this.#place.temporaryDirectory;
  }

  /**
   * The path of a content, which is fetched unless it is there: once, whoever else asks for it.
   *
   * @param fetch writes the content to a path, and checks it
   */
  get(info: BlobInfo, fetch: (path: string) => Promise<void>): Promise<string> {
    const known = this.#fetches.get(info.id);
    if (known) return known;
    const getting = this.#get(info, fetch).finally(() => this.#fetches.delete(info.id));
    this.#fetches.set(info.id, getting);
    return getting;
  }

  async #get(info: BlobInfo, fetch: (path: string) => Promise<void>): Promise<string> {
    const path = this.#pathOf(info.id);
    const claim = join(this.#place.path, FETCHING, info.id);
    for (;;) {
      if (await this.#isThere(info, path)) return path;
      if (!(await this.#claim(claim))) {
        await delay(this.#clock, LOOK_MS);
        continue;
      }
      const stop = this.#showLife(claim);
      try {
        // Who had the claim before may just have finished.
        if (await this.#isThere(info, path)) return path;
        const draft = join(this.#place.temporaryDirectory, `${info.id}.new`);
        try {
          await fetch(draft);
          await this.#put(draft, info);
        } finally {
          await rm(draft, { force: true });
        }
        return path;
      } finally {
        stop();
        await rm(claim, { force: true });
      }
    }
  }

  /** Whether the content is there. What another process left is looked at once: a damaged file is discarded. */
  async #isThere({ id, size, crc }: BlobInfo, path: string): Promise<boolean> {
    try {
      const isSound =
        (await stat(path)).size === size && (this.#sound.has(id) || (await measureFile(path)).crc === crc);
      if (isSound) {
        this.#sound.add(id);
        const now = new Date();
        // By this time the oldest go.
        await utimes(path, now, now);
        return true;
      }
      logger.warning(`the file ${path} of the cache is damaged, and is fetched again`);
      await rm(path, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
    return false;
  }

  async #claim(claim: string): Promise<boolean> {
    try {
      await (await open(claim, 'wx')).close();
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    try {
      // By the clock of the machine: it is that of files.
      if (Date.now() - (await stat(claim)).mtimeMs > SILENCE_MAX_MS) await rm(claim, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
    return false;
  }

  #showLife(claim: string): () => void {
    let timer = this.#clock.schedule(SIGN_OF_LIFE_MS, show, {});
    const cache = this;
    function show(): void {
      const now = new Date();
      utimes(claim, now, now).catch(() => undefined);
      timer = cache.#clock.schedule(SIGN_OF_LIFE_MS, show, {});
    }
    return () => timer.cancel();
  }

  /** Keeps a content that this process has just committed. Where that cannot be done by a link, it is fetched when it is wanted. */
  async keep(info: BlobInfo, file: string): Promise<void> {
    const draft = join(this.#place.temporaryDirectory, `${info.id}.own`);
    try {
      await link(file, draft);
      await this.#put(draft, info);
    } catch (error) {
      logger.debug('a content that was committed does not enter the cache', { error: String(error) });
    } finally {
      await rm(draft, { force: true });
    }
  }

  async #put(draft: string, { id, size }: BlobInfo): Promise<void> {
    const path = this.#pathOf(id);
    await chmod(draft, 0o444);
    await mkdir(join(path, '..'), { recursive: true });
    await rename(draft, path);
    this.#sound.add(id);
    this.#newBytes += size;
    // Counting takes a while: it is done when it may matter.
    if (this.#newBytes <= this.#place.bytesMax * (1 - KEEP)) return;
    this.#newBytes = 0;
    this.#trimming ??= this.#trim(id)
      .catch((error: unknown) => logger.warning('the cache of contents could not be trimmed', error))
      .finally(() => {
        this.#trimming = undefined;
      });
  }

  /** Removes the files that were not used for longest, until the rest fits; but not the one that has just come. */
  async #trim(newest: string): Promise<void> {
    const files: { readonly path: string; readonly size: number; readonly usedMs: number }[] = [];
    let bytes = 0;
    for (const folder of await readdir(this.#place.path)) {
      if (!/^[0-9a-f]{2}$/.test(folder)) continue;
      for (const id of await readdir(join(this.#place.path, folder))) {
        const path = join(this.#place.path, folder, id);
        if (!isBlobId(id) || !existsSync(path)) continue;
        const { size, mtimeMs } = await stat(path);
        bytes += size;
        if (id !== newest) files.push({ path, size, usedMs: mtimeMs });
      }
    }
    if (bytes <= this.#place.bytesMax) return;
    files.sort((a, b) => a.usedMs - b.usedMs);
    for (const { path, size } of files) {
      if (bytes <= this.#place.bytesMax * KEEP) break;
      await rm(path, { force: true });
      bytes -= size;
    }
  }

  /** Resolves when nothing is being removed. */
  async settled(): Promise<void> {
    await this.#trimming;
  }

  #pathOf(id: string): string {
    return join(this.#place.path, id.slice(0, 2), id);
  }
}
