import { BaseError } from '../../base/index.js';
import { POSKeyError } from '../errors.js';
import type { Oid, Tid } from '../ids.js';
import { measureFile, requireContent } from './blob/blob-file.js';
import { type BlobInfo, blobOf } from './blob/blob-info.js';
import { OidSet } from './pack/oid-set.js';
import { prefetched } from './prefetched.js';
import type { Storage } from './storage.js';

/** Something that is wrong with a storage. */
export interface Problem {
  readonly message: string;
  readonly oid?: Oid;
  readonly tid?: Tid;
}

/** What a verification needs to know besides. */
export interface Verification extends VerifyOptions {
  /** Reads the content of a blob. @throws CorruptionError where it is not the one of the record. */
  readonly checkContent: (oid: Oid, info: BlobInfo) => Promise<void>;
}

/** How far a verification is. */
export interface VerifyProgress {
  readonly phase: 'transactions' | 'objects' | 'references';
  readonly count: number;
}

/** How a storage is verified. */
export interface VerifyOptions {
  /** The oids that a record keeps alive; decodes the whole record. @throws CorruptionError for a record that does not decode. */
  readonly references: (data: Uint8Array) => Iterable<Oid>;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: VerifyProgress) => void) | undefined;
}

/** What an object's current record keeps alive; nothing for one that does not decode. */
export type CurrentReferences = readonly [oid: Oid, references: Iterable<Oid>];

/** Reads all that a storage has, through its contract. */
export async function* verifyByReading(storage: Storage, wanted: VerifyOptions): AsyncGenerator<Problem> {
  const checkContent = async (oid: Oid, info: BlobInfo) =>
    requireContent(oid, info, await measureFile(await storage.loadBlob(oid, info), wanted.signal));
  const options = { ...wanted, checkContent };
  const oids = new OidSet();
  const tally = new Tally('transactions', options);
  try {
    for await (const { tid, records } of storage.iterate()) {
      tally.count();
      for (const { oid, data } of records) {
        oids.add(oid);
        if (data) yield* recordProblems(oid, tid, data, options);
      }
    }
  } catch (error) {
    yield problemOf(error);
  }
  const current = async function* (): AsyncGenerator<CurrentReferences | Problem> {
    for await (const oid of prefetched(storage, oids)) {
      try {
        yield [oid, referencesOf(storage.load(oid).data, options)];
      } catch (error) {
        if (error instanceof POSKeyError) continue;
        yield problemOf(error, { oid });
        yield [oid, []];
      }
    }
  };
  yield* danglingReferences(current, options);
}

/** Transactions of several databases that are in doubt. */
export async function* doubtProblems(storage: Pick<Storage, 'doubts'>): AsyncGenerator<Problem> {
  for (const { tid, deciderName, objects } of await storage.doubts.list()) {
    yield {
      tid,
      message:
        `the transaction ${tid} of several databases, which writes ${objects} objects, is in doubt: open this database together ` +
        `with ${deciderName}, which knows whether it happened`,
    };
  }
}

/**
 * Current records that reference what is not there.
 *
 * @param current gives what all current records reference, twice if need be; problems that it meets the first time are passed on
 */
export async function* danglingReferences(
  current: () => Iterable<CurrentReferences | Problem> | AsyncIterable<CurrentReferences | Problem>,
  options: VerifyOptions,
): AsyncGenerator<Problem> {
  const there = new OidSet();
  const referenced = new OidSet();
  const objects = new Tally('objects', options);
  for await (const each of current()) {
    objects.count();
    if ('message' in each) yield each;
    else {
      there.add(each[0]);
      for (const to of each[1]) referenced.add(to);
    }
  }
  if (isSubset(referenced, there)) return;
  const references = new Tally('references', options);
  for await (const each of current()) {
    references.count();
    if ('message' in each) continue;
    for (const to of each[1]) {
      if (!there.has(to)) yield { oid: each[0], message: `oid ${each[0]} references oid ${to}, which is not there` };
    }
  }
}

function isSubset(some: OidSet, all: OidSet): boolean {
  for (const oid of some) if (!all.has(oid)) return false;
  return true;
}

/** What a record references; nothing for one that does not decode, which is told of elsewhere. */
function referencesOf(data: Uint8Array, { references }: VerifyOptions): Iterable<Oid> {
  try {
    return references(data);
  } catch {
    return [];
  }
}

/** Whether a record decodes, and whether its blob has the content that it speaks of; returns what it references. */
export async function* recordProblems(
  oid: Oid,
  tid: Tid,
  data: Uint8Array,
  { references, checkContent }: Verification,
): AsyncGenerator<Problem, Iterable<Oid>> {
  let referenced: Iterable<Oid> = [];
  try {
    referenced = references(data);
  } catch (error) {
    yield { oid, tid, message: `the record of oid ${oid} (tid ${tid}) does not decode: ${(error as Error).message}` };
  }
  const info = blobOf(data);
  if (!info) return referenced;
  try {
    await checkContent(oid, info);
  } catch (error) {
    yield problemOf(error, { oid, tid });
  }
  return referenced;
}

/** An error of ours as a problem. @throws the error, if it is another one, or says nothing of the data but that they cannot be had now. */
export function problemOf(error: unknown, facts: { readonly oid?: Oid; readonly tid?: Tid } = {}): Problem {
  if (!(error instanceof BaseError) || error.retry === 'later') throw error;
  return { message: error.message, ...facts };
}

/** Counts, tells how far it is now and then, and stops when it is told to. */
export class Tally {
  readonly #phase: VerifyProgress['phase'];
  readonly #options: VerifyOptions;
  #count = 0;

  constructor(phase: VerifyProgress['phase'], options: VerifyOptions) {
    this.#phase = phase;
    this.#options = options;
  }

  count(): void {
    this.#count++;
    if (this.#count % 1000 !== 1) return;
    this.#options.signal?.throwIfAborted();
    this.#options.onProgress?.({ phase: this.#phase, count: this.#count });
  }
}
