import { fileURLToPath } from 'node:url';

/** How far an export or an import is. */
export interface TransferProgress {
  readonly objects: number;
  /** Bytes of their records, and of the contents of blobs. */
  readonly bytes: number;
}

/** Options of {@link Connection.exportFile} and {@link Connection.importFile}. */
export interface TransferOptions {
  /** Stops it. */
  readonly signal?: AbortSignal | undefined;
  /** Told how far it is, now and then and at the end. */
  readonly onProgress?: ((progress: TransferProgress) => void) | undefined;
}

/** Bytes that are read, or passed on, together. */
export const CHUNK_BYTES = 256 * 1024;

const BYTES_BETWEEN = 4 * CHUNK_BYTES;
const OBJECTS_BETWEEN = 1000;

/** Counts, tells how far it is now and then, and stops when it is told to. */
export class Tally {
  readonly #options: TransferOptions;
  #objects = 0;
  #bytes = 0;
  #toldAt: TransferProgress = { objects: 0, bytes: 0 };

  /** @throws The reason of the signal. */
  constructor(options: TransferOptions) {
    this.#options = options;
    options.signal?.throwIfAborted();
  }

  get progress(): TransferProgress {
    return { objects: this.#objects, bytes: this.#bytes };
  }

  /** One more object, with its record. */
  record(bytes: number): void {
    this.#objects++;
    this.content(bytes);
  }

  /** A piece of the content of a blob. */
  content(bytes: number): void {
    this.#bytes += bytes;
    const told = this.#toldAt;
    if (this.#objects - told.objects < OBJECTS_BETWEEN && this.#bytes - told.bytes < BYTES_BETWEEN) return;
    this.#options.signal?.throwIfAborted();
    this.tell();
  }

  tell(): void {
    this.#toldAt = this.progress;
    this.#options.onProgress?.(this.#toldAt);
  }
}

/** The path of a file that may be named by a URL. */
export function pathOf(place: string | URL): string {
  return typeof place === 'string' ? place : fileURLToPath(place);
}
