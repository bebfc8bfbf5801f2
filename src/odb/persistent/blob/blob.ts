import { open as openFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { inspect } from 'node:util';
import { argumentRangeError, argumentTypeError } from '../../../base/index.js';
import { BlobError, ConnectionStateError, SerializationError } from '../../errors.js';
import type { Oid } from '../../ids.js';
import { registerInternal } from '../../serialize/registry.js';
import { openBlobFile } from '../../storage/blob/blob-file.js';
import { BLOB_CLASS, BlobInfo } from '../../storage/blob/blob-info.js';
import type { Storage } from '../../storage/storage.js';
import { describe } from '../display.js';
import { ManagedPersistent, requireNoFields } from '../persistent.js';
import { BlobDraft, temporaryPath } from './blob-draft.js';
import { BlobReader, type BlobSource, BlobWriter } from './blob-streams.js';
import { FileTakeover } from './file-takeover.js';

/**
 * How a blob is opened: `'r'` reads what the transaction sees; `'c'` reads what is committed, and goes on doing so whatever becomes of the
 * transaction; `'w'` writes a new content, `'a'` goes on after the present one.
 */
export type BlobMode = 'r' | 'c' | 'w' | 'a';

/** For the connection, which stores a blob: its content that is not committed, if it has one. @throws BlobError while it is open. */
export let draftToStore: (object: object) => BlobDraft | undefined;
/** The blob was filled from a record that was saved for a savepoint, with this content. */
export let restoreDraft: (object: object, draft: BlobDraft) => void;
/** The content of the blob is committed: it is read from the storage from now on. */
export let draftStored: (object: object) => void;
/** The blob has lost its place in the database: what it holds is its own again. */
export let reclaimDraft: (object: object) => void;

/** The draft of a blob that may be collected: the file goes with it. */
interface DraftBox {
  draft: BlobDraft | undefined;
}

const collected = new FinalizationRegistry<DraftBox>(({ draft }) => {
  if (draft && !draft.isOfTransaction) draft.remove();
});

/**
 * A large content, which is a file beside the database and not part of any record: an image, a document, a backup. It is written and read
 * by streams, and committed, undone, packed and copied with its object.
 *
 * While it is written nobody else can open it, while it is read nobody can write it; `'c'` does not count. What is written becomes the
 * content once the stream has finished; a stream that fails leaves the former one. A blob with open streams cannot be committed.
 *
 * @example
 * root.photo = new PersistentBlob();
 * await pipeline(createReadStream('photo.jpg'), root.photo.open('w'));
 * await transaction.commit();
 */
export class PersistentBlob extends ManagedPersistent {
  #committed: BlobInfo | undefined;
  readonly #box: DraftBox = { draft: undefined };
  #readers = new Set<BlobReader>();
  /** Who is writing: a stream, or a file that is being taken over. */
  #writer: BlobWriter | FileTakeover | undefined;

  static {
    // Asked of every object that is stored, and so not by `instanceof`: that walks up to the end of the prototypes, a `Proxy`.
    draftToStore = (object) => {
      if (!(#box in object)) return undefined;
      object.#refuseOpen('commit');
      return object.#box.draft;
    };
    restoreDraft = (object, draft) => {
      (object as PersistentBlob).#box.draft = draft;
    };
    draftStored = (object) => {
      if (!(#box in object)) return;
      object.#committed = object.#box.draft?.info ?? object.#committed;
      object.#takeDraft(undefined);
    };
    reclaimDraft = (object) => {
      if (object instanceof PersistentBlob && object.#box.draft) object.#box.draft.isOfTransaction = false;
    };
  }

  /**
   * @param initial a small content, which is copied; a text becomes UTF-8
   * @throws TypeError (`ARG_BLOB_CLASS`) for a subclass: files know no class. TypeError (`ARG_BLOB_CONTENT`) for what is no content.
   */
  constructor(initial?: Uint8Array | string) {
    super();
    if (new.target !== PersistentBlob) {
      throw argumentTypeError(
        'ARG_BLOB_CLASS',
        `PersistentBlob cannot be subclassed, as ${new.target.name} does: let an object of your class have a blob in a field`,
      );
    }
    collected.register(this, this.#box);
    if (initial === undefined) return;
    if (typeof initial !== 'string' && !(initial instanceof Uint8Array)) {
      throw argumentTypeError(
        'ARG_BLOB_CONTENT',
        `${inspect(initial, { depth: 0 })} is no content: give bytes or a text`,
      );
    }
    this.#box.draft = BlobDraft.ofBytes(Buffer.from(initial as string));
  }

  /** Bytes of the content that the transaction sees. */
  get size(): number {
    this.readable();
    return this.#info?.size ?? 0;
  }

  get #info(): BlobInfo | undefined {
    return this.#box.draft?.info ?? this.#committed;
  }

  /**
   * Opens the content as a stream. One that is neither read to the end, nor ended, nor destroyed, keeps the blob open.
   *
   * @throws BlobError when it is open already in a way that excludes this one, or, for `'c'`, has no committed content. RangeError
   * (`ARG_BLOB_MODE`). For writing, what changing an object throws. The stream fails with CorruptionError, POSKeyError (packed away),
   * ClientDisconnected, errors of the file system.
   */
  open(mode: 'r' | 'c'): Readable;
  open(mode: 'w' | 'a'): Writable;
  open(mode: BlobMode): Readable | Writable {
    switch (mode) {
      case 'r':
        return this.#openReader();
      case 'c': {
        const { storage, oid, info } = this.#requireCommitted("open('c')");
        return new BlobReader({ oid, info, open: () => openBlobFile(storage, oid, info) }, () => undefined);
      }
      case 'w':
      case 'a':
        return this.#openWriter(mode);
      default:
        throw argumentRangeError(
          'ARG_BLOB_MODE',
          `${inspect(mode)} is no way to open a blob: give 'r', 'c', 'w' or 'a'`,
        );
    }
  }

  /**
   * The path of a file with the committed content, for reading only; its checksum is not checked. Open it at once: it goes when the content
   * is packed away, and when the cache of a client makes room.
   *
   * @throws BlobError when the content is not committed. POSKeyError. CorruptionError. ClientDisconnected.
   */
  async committed(): Promise<string> {
    const { storage, oid, info } = this.#requireCommitted('committed()');
    return storage.loadBlob(oid, info);
  }

  /**
   * Makes a file the content: moves it where it can, and copies it where the file systems differ, or where it has another name too. In
   * either case it is not at its path any more; it is lost when the transaction is aborted, as all that it has written, but for a new blob,
   * which keeps it. Where that fails, the file and the former content are as they were.
   *
   * @throws BlobError while the blob is open, for what is no file, and when the transaction is aborted meanwhile. What changing an object
   * throws. Errors of the file system.
   */
  async consumeFile(path: string): Promise<void> {
    const from = resolve(path);
    this.readable();
    this.#refuseOpen('consumeFile');
    const wasChanged = this._p_changed === true;
    // An abort meanwhile is noticed, since it takes the change back.
    this.writable();
    const to = temporaryPath(this._p_jar?.storage.temporaryDirectory);
    const takeover = new FileTakeover(from, to);
    this.#writer = takeover;
    try {
      const content = await takeover.take();
      try {
        if (this.#writer !== takeover) throw this.#takenBack();
        takeover.finish();
      } catch (error) {
        await takeover.giveBack();
        throw error;
      }
      this.#takeDraft(BlobDraft.ofFile(to, content));
    } catch (error) {
      if (this.#writer === takeover && !wasChanged) this._p_changed = false;
      throw error;
    } finally {
      if (this.#writer === takeover) this.#writer = undefined;
    }
  }

  #openReader(): BlobReader {
    this.readable();
    if (this.#writer) throw this.#isOpen("open('r')", 'writing');
    const draft = this.#box.draft;
    const oid = this._p_oid;
    const source: BlobSource = draft
      ? { oid, info: draft.info, open: () => openFile(draft.file(this._p_jar?.storage.temporaryDirectory)) }
      : this.#committed
        ? this.#committedSource(this.#committed)
        : { oid, info: undefined, open: () => Promise.reject(new Error('there is no content')) };
    const reader = new BlobReader(source, () => this.#readers.delete(reader));
    this.#readers.add(reader);
    return reader;
  }

  #committedSource(info: BlobInfo): BlobSource {
    const { storage, oid } = this.#place();
    return { oid, info, open: () => openBlobFile(storage, oid, info) };
  }

  #openWriter(mode: 'w' | 'a'): BlobWriter {
    this.readable();
    this.#refuseOpen(`open('${mode}')`);
    this.writable();
    const { draft } = this.#box;
    const committed = this.#committed;
    const directory = this._p_jar?.storage.temporaryDirectory;
    const path = temporaryPath(directory);
    const writer: BlobWriter = new BlobWriter({
      path,
      start: async () => {
        if (mode === 'w') return undefined;
        if (draft) return { file: draft.file(directory), info: draft.info };
        if (!committed) return undefined;
        const { storage, oid } = this.#place();
        return { file: await storage.loadBlob(oid, committed), info: committed };
      },
      finished: (content) => this.#takeDraft(BlobDraft.ofFile(path, content)),
      released: () => {
        if (this.#writer === writer) this.#writer = undefined;
      },
    });
    this.#writer = writer;
    return writer;
  }

  #takeDraft(draft: BlobDraft | undefined): void {
    const former = this.#box.draft;
    if (former && !former.isOfTransaction) former.remove();
    this.#box.draft = draft;
  }

  #place(): { readonly storage: Pick<Storage, 'loadBlob'>; readonly oid: Oid } {
    const jar = this._p_jar;
    if (!jar || jar.isClosed) {
      throw new ConnectionStateError(
        `${describe(this)} cannot be read: its connection to database '${jar?.databaseName}' was closed`,
      );
    }
    return { storage: jar.storage, oid: this._p_oid as Oid };
  }

  #requireCommitted(what: string): {
    readonly storage: Pick<Storage, 'loadBlob'>;
    readonly oid: Oid;
    readonly info: BlobInfo;
  } {
    this.readable();
    if (this.#committed && !this.#box.draft && !this.#writer) return { ...this.#place(), info: this.#committed };
    throw new BlobError(`${what}: ${describe(this)} has uncommitted changes: commit them first`, this._p_oid);
  }

  #refuseOpen(what: string): void {
    if (this.#writer) throw this.#isOpen(what, 'writing');
    if (this.#readers.size > 0) throw this.#isOpen(what, 'reading');
  }

  #isOpen(what: string, how: 'reading' | 'writing'): BlobError {
    return new BlobError(
      `${what}: ${describe(this)} is open for ${how}: end or destroy that stream first`,
      this._p_oid,
    );
  }

  #takenBack(): BlobError {
    return new BlobError(`the content of ${describe(this)} was taken back while it was open`, this._p_oid);
  }

  override getState(): BlobInfo {
    this.readable();
    requireNoFields(this);
    // One that was never written is empty.
    if (!this.#info) this.#box.draft = BlobDraft.ofBytes(new Uint8Array(0));
    return this.#info as BlobInfo;
  }

  override setState(state: unknown): void {
    if (!(state instanceof BlobInfo))
      throw new SerializationError('the state of a PersistentBlob is not that of a blob');
    this.#committed = state;
  }

  protected override clearState(): void {
    const reason = this.#takenBack();
    if (this.#writer instanceof BlobWriter) this.#writer.destroy(reason);
    // Who reads a committed content may go on: it stays what it is.
    if (this.#box.draft) for (const reader of this.#readers) reader.destroy(reason);
    this.#writer = undefined;
    this.#readers = new Set();
    this.#committed = undefined;
    this.#takeDraft(undefined);
  }

  protected override jsonState(): unknown {
    return this.inspectState();
  }

  protected override inspectState(): Record<string, unknown> {
    return { size: this.size };
  }
}

registerInternal({ [BLOB_CLASS]: PersistentBlob });
