import { BlobStore } from '#src/odb/storage/blob/blob-store.js';
import type { Disk, HeldDirectory, LevelOptions, SmallFile } from '#src/odb/storage/level/disk.js';
import type { Scheduler } from './scheduler.js';
import { SimFiles } from './sim-files.js';
import { type End, type Faults, LevelFiles, type Lie, levelFailure, noFaults, SimLevel } from './sim-level.js';

const ROOM_BYTES = 1024 ** 3;

/** A small file: what it holds, and what a crash may leave instead. */
interface FileState {
  durable: Buffer;
  /** Written since the last sync; the last one is what is read. */
  written: Buffer[];
}

/** A disk with one database on it. A crash leaves what was synced, and of the rest what chance leaves. */
export class SimDisk implements Disk {
  readonly faults: Faults = noFaults();
  /** How it breaks its promises. */
  lie: Lie | undefined;
  readonly #scheduler: Scheduler;
  readonly #levelFiles: LevelFiles;
  readonly #files = new Map<string, FileState>();
  /** The contents of blobs. */
  readonly blobs: SimFiles;
  #isMarked = false;
  #isHeld = false;

  readonly #path: string;

  constructor(scheduler: Scheduler, path = '/sim/test.fs') {
    this.#path = path;
    this.#scheduler = scheduler;
    this.#levelFiles = new LevelFiles(scheduler, () => this.lie);
    this.blobs = new SimFiles(scheduler, this.faults, path);
  }

  hold(): HeldDirectory {
    if (this.#isHeld) throw new Error('the directory is held by one who has not let it go');
    this.#isHeld = true;
    const isNew = !this.#isMarked;
    const path = this.#path;
    const files = this.#levelFiles;
    const { faults } = this;
    return {
      path,
      levelFolder: `${path}/level`,
      isShared: false,
      blobFolder: `${path}/blobs`,
      blobFiles: this.blobs,
      isNew,
      openLevel: (options) => this.#openLevel(options),
      openFile: (name) => this.#openFile(name),
      mark: () => {
        this.#isMarked = true;
      },
      get levelBytes() {
        return files.bytes;
      },
      get freeBytes() {
        return faults.isFull ? 0 : ROOM_BYTES;
      },
      memoryBytesMax: this.lie === 'logs' ? Number.POSITIVE_INFINITY : files.memoryBytesMax,
      get logNumber() {
        return files.logNumber;
      },
      release: () => {
        this.#isHeld = false;
      },
    };
  }

  async #openLevel({ createIfMissing }: LevelOptions): Promise<SimLevel> {
    await this.#scheduler.pause('disk: open');
    // It reads its files, and writes tables.
    if (this.faults.isFull || this.#scheduler.chance(this.faults.readFails)) {
      this.#scheduler.note('disk: the open fails');
      throw levelFailure('LEVEL_DATABASE_NOT_OPEN', 'IO error: Input/output error');
    }
    if (!createIfMissing && !this.#isMarked) throw new Error('there is no LevelDB to open');
    return new SimLevel(this.#scheduler, this.#levelFiles, { faults: this.faults, lie: () => this.lie });
  }

  #openFile(name: string): SmallFile {
    const known = this.#files.get(name);
    const file = known ?? { durable: Buffer.alloc(0), written: [] };
    if (!known) this.#files.set(name, file);
    const latest = () => file.written.at(-1) ?? file.durable;
    return {
      read: (count) => {
        const bytes = latest();
        return bytes.length < count ? undefined : Buffer.from(bytes.subarray(0, count));
      },
      write: (bytes) => {
        file.written.push(Buffer.concat([bytes, latest().subarray(bytes.length)]));
      },
      sync: () => {
        if (this.#scheduler.chance(this.faults.fileSyncFails)) {
          throw Object.assign(new Error('EIO: i/o error, fdatasync'), { code: 'EIO' });
        }
        if (this.lie === 'oids') return;
        file.durable = latest();
        file.written = [];
      },
      clear: () => {
        file.written.push(Buffer.alloc(0));
      },
      close: () => undefined,
    };
  }

  /** Something goes wrong from now on, now and then. */
  harm(): void {
    const what = this.#scheduler.pick([
      'appendFails',
      'appendTears',
      'syncFails',
      'compactionFails',
      'readFails',
      'isFull',
      'fileSyncFails',
      'filesFail',
    ] as const);
    this.#scheduler.note(`from now on ${what}`);
    if (what === 'isFull') this.faults.isFull = true;
    else this.faults[what] = what === 'syncFails' ? 0.1 : 0.4;
  }

  /** Nothing goes wrong any more. */
  heal(): void {
    Object.assign(this.faults, noFaults());
  }

  /** The contents as a database finds them that is opened now. */
  blobStore(): BlobStore {
    return BlobStore.open(`${this.#path}/blobs`, this.blobs);
  }

  /** The machine goes down, or the process: what was held is let go. */
  crash(end: End): void {
    this.#isHeld = false;
    this.#levelFiles.crash(end);
    if (end === 'machine') this.blobs.crash();
    for (const file of this.#files.values()) {
      const versions = [file.durable, ...file.written];
      const left = end === 'process' ? versions.at(-1) : this.#scheduler.pick(versions);
      if (this.lie !== 'oids') file.durable = left as Buffer;
      file.written = [];
    }
    this.heal();
  }
}
