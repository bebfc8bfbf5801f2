/**
 * The messages between a client of a storage and the session that serves it, each in one packet:
 *
 *     type  u8
 *     id    u32   of the request, repeated by its answer; 0 where there is no answer
 *     body        by type
 *
 * Integers are big-endian; oids and tids take eight bytes. The bodies are laid out by those who send them, in this folder.
 */
export const Message = {
  // Requests.
  load: 1,
  loadBefore: 2,
  loadSerial: 3,
  prefetch: 4,
  newOids: 5,
  storeAhead: 8,
  commit: 9,
  vote: 10,
  finish: 11,
  abort: 12,
  outcome: 13,
  suspend: 14,
  doubts: 15,
  history: 16,
  iterate: 17,
  sync: 18,
  stats: 19,
  undoLog: 20,
  pack: 21,
  resolve: 22,
  forget: 23,
  tryLock: 24,
  lock: 25,
  cancelLock: 26,
  unlock: 27,
  watch: 28,
  unwatch: 29,
  blobChunk: 32,
  dropBlobs: 33,
  readBlob: 34,
  blobFile: 35,
  blobPath: 36,
  snapshots: 40,
  // Answers.
  answer: 64,
  failure: 65,
  conflict: 66,
  lost: 67,
  // From the session, unasked.
  lockFell: 72,
} as const;

/** One of the numbers of {@link Message}. */
export type MessageType = (typeof Message)[keyof typeof Message];

/** Bytes of type and id. */
export const HEADER_BYTES = 5;

/** Set in the id of a request whose sender blocks: its answer goes through shared memory. */
export const SYNC_ID_BIT = 0x8000_0000;

/** Stores above this many bytes in one transaction are sent ahead of the commit, in packets of about this size. */
export const STORES_AHEAD_BYTES = 1024 * 1024;

/** An answer to `prefetch` or `iterate` ends with the first entry that takes it past this size; the client asks again for the rest. */
export const BATCH_BYTES = 512 * 1024;

/** Oids that a client reserves at a time. */
export const OIDS_PER_BLOCK = 1000;

/** A `commit` or `vote` whose client can merge: conflicts are answered with the records to merge. */
export const FLAG_CAN_MERGE = 1;
