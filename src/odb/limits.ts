/** Records above this size are refused. */
export const RECORD_BYTES_MAX = 256 * 1024 * 1024;
/** Records above this size are warned about at commit: a sign that something should be persistent of its own. */
export const RECORD_BYTES_WARN = 16 * 1024 * 1024;
/** Records that savepoints saved are kept in memory up to this many bytes; the rest goes to a temporary file. */
export const SAVED_MEMORY_BYTES_MAX = 16 * 1024 * 1024;
/** Oids are reserved durably in blocks of this many: one sync of the disk for each. */
export const OID_BLOCK_COUNT = 16_384;
/** Commit ids can be asked for (`outcome`) for this long, in ms. */
export const OUTCOME_AGE_MAX_MS = 3_600_000;
/** What was superseded longer ago than this, in ms, is not kept for a transaction that is open still. */
export const SNAPSHOT_AGE_MAX_MS = 3_600_000;
/** A view tells this often, in ms, which of its snapshots is the oldest. */
export const SNAPSHOT_REPORT_MS = 10_000;
/** A synchronous read that waits for another thread gives up after this many ms. */
export const READ_TIMEOUT_MS = 30_000;
