import type { BlobFiles } from '../blob/blob-files.js';

/*
 * Where a database on disk touches the disk. The machine's is in `directory.ts`; a simulation brings its own, which forgets what was not
 * synced.
 */

/** Takes directories of databases. */
export interface Disk {
  /**
   * Takes the directory of a database for this process; makes it where it is missing.
   *
   * @throws NotADatabaseError. FormatVersionError. StorageLockedError. Errors of the file system.
   */
  hold(path: string, options: { readonly create: boolean }): HeldDirectory;
}

/** A directory that this process holds. */
export interface HeldDirectory {
  /** With all links resolved. */
  readonly path: string;
  /** Where LevelDB keeps its files. */
  readonly levelFolder: string;
  /** Whether other threads of this process can open LevelDB there too. */
  readonly isShared: boolean;
  /** Where the contents of blobs are kept; without it there are none. */
  readonly blobFolder?: string;
  /** How the files there are reached. Default: as files of the machine. */
  readonly blobFiles?: BlobFiles;
  readonly isNew: boolean;
  /** Opens the LevelDB in it. */
  openLevel(options: LevelOptions): Promise<Level>;
  /** Opens a file beside LevelDB, and makes it where it is missing. */
  openFile(name: string): SmallFile;
  /** Says what the directory is, durably: to be called once a new database can be opened. */
  mark(): void;
  /** Bytes that LevelDB's files take. */
  readonly levelBytes: number;
  /** Bytes that can still be written. */
  readonly freeBytes: number;
  /** The number of the log that LevelDB writes to: each new one has a higher one. */
  readonly logNumber: number;
  /** Bytes of entries in memory past which LevelDB begins a new log by itself. */
  readonly memoryBytesMax: number;
  /** Lets the directory go; doing so twice does nothing. */
  release(): void;
}

/** How LevelDB is opened. */
export interface LevelOptions {
  readonly createIfMissing: boolean;
  /** Bytes of uncompressed tables that are kept in memory. Only what the first to open says counts. */
  readonly cacheSize?: number;
}

/** A file of a few bytes, which are read and written at once. */
export interface SmallFile {
  /** The first `count` bytes; `undefined` when there are fewer. */
  read(count: number): Buffer | undefined;
  /** Writes the bytes at the beginning. */
  write(bytes: Uint8Array): void;
  /** Makes what was written durable. */
  sync(): void;
  /** Empties it. */
  clear(): void;
  close(): void;
}

/** LevelDB with binary keys and values: the part of classic-level that is used. */
export interface Level {
  getSync(key: Buffer): Buffer | undefined;
  get(key: Buffer): Promise<Buffer | undefined>;
  batch(): Batch;
  /** Walks what stands there now; what is written later is not seen. */
  iterator(range: EntryRange): Walk<[Buffer, Buffer]>;
  keys(range: EntryRange): Walk<Buffer>;
  compactRange(start: Buffer, end: Buffer): Promise<void>;
  close(): Promise<void>;
}

/** Writes that happen together. What is put into it is copied. */
export interface Batch {
  readonly length: number;
  put(key: Buffer, value: Buffer): unknown;
  del(key: Buffer): unknown;
  write(options: { readonly sync: boolean }): Promise<void>;
  close(): Promise<void>;
}

/** Which entries are walked. */
export interface EntryRange {
  readonly gt?: Buffer;
  readonly gte?: Buffer;
  readonly lt?: Buffer;
  readonly lte?: Buffer;
  readonly reverse?: boolean;
  readonly limit?: number;
  /** Bytes that one read takes about. */
  readonly highWaterMarkBytes?: number;
}

/** A walk through entries, or keys. */
export interface Walk<T> extends AsyncIterable<T> {
  /** The next ones, up to `count`; none at the end. */
  nextv(count: number): Promise<T[]>;
  all(): Promise<T[]>;
  close(): Promise<void>;
}
