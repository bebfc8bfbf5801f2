import type { MessagePort } from 'node:worker_threads';
import type { LogLevel } from '../../base/index.js';
import type { BlobCachePlace, StorageAttachment } from '../../odb/remote/index.js';
import type { Address } from '../transport/address.js';

/** What a thread asks of the I/O thread. */
export type IoRequest =
  | {
      readonly kind: 'open';
      readonly link: number;
      readonly addresses: readonly Address[];
      readonly storage: string;
      readonly label: string;
      readonly isReadOnly: boolean;
      readonly waitTimeoutMs: number;
      readonly readTimeoutMs: number;
      readonly cacheBytesMax: number;
      /** Where the contents of blobs are kept. */
      readonly blobCache: BlobCachePlace;
      /** Name of the storage at the client. */
      readonly name: string;
    }
  | { readonly kind: 'close'; readonly link: number };

/** What the I/O thread reports. */
export type IoReport =
  /** The first view of a link; it is there before the connection is. */
  | {
      readonly kind: 'made';
      readonly link: number;
      readonly data: StorageAttachment['data'];
      readonly ports: readonly MessagePort[];
    }
  | { readonly kind: 'connected'; readonly link: number }
  /** An attempt to connect for the first time failed; another one follows. */
  | { readonly kind: 'attempt'; readonly link: number; readonly failure: string }
  /** No attempt would succeed; an error as it travels. */
  | { readonly kind: 'refused'; readonly link: number; readonly error: unknown }
  | { readonly kind: 'closed'; readonly link: number }
  /** The I/O thread writes nothing itself: standard output of threads stands still while the main thread is blocked. */
  | { readonly kind: 'log'; readonly link: number; readonly level: LogLevel; readonly message: string };
