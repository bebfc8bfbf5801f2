/**
 * Shared memory of one view, through which a thread that blocks sends a request and gets its answer.
 *
 * The request lies in the slot, and a number on the view's port wakes the serving thread: posting a number costs a
 * quarter of posting bytes. A request that does not fit is posted whole. The answer lies in the slot as well; one that
 * does not fit comes over a port of its own, and its length here is {@link LARGE}. The message may become readable
 * there only after the wake.
 */
export const REQUEST_BYTES_MAX = 4096;
export const ANSWER_BYTES_MAX = 65_536;

/** Stands for the length of an answer that comes over the port for large answers. */
export const LARGE = -1;

/** The request that was answered last; the blocked thread waits for it to change. */
export const ANSWERED = 0;
export const ANSWER_LENGTH = 1;
export const REQUEST_LENGTH = 2;
/** Whether the view wants to be told, by a message, that something was published: 0 no, 1 yes, 2 told already. */
export const WAKE = 3;
/** Whether a thread has begun to open the view: from then on it has to be waited for when the storage closes. */
export const OPENED = 4;
const CONTROL_CELLS = 6;

const REQUEST_OFFSET = CONTROL_CELLS * 4;
const ANSWER_OFFSET = REQUEST_OFFSET + REQUEST_BYTES_MAX;

/** The fields of a slot. */
export class SyncSlot {
  readonly shared: SharedArrayBuffer;
  readonly control: Int32Array;
  readonly request: Uint8Array;
  readonly answer: Uint8Array;

  constructor(shared: SharedArrayBuffer = new SharedArrayBuffer(ANSWER_OFFSET + ANSWER_BYTES_MAX)) {
    this.shared = shared;
    this.control = new Int32Array(shared, 0, CONTROL_CELLS);
    this.request = new Uint8Array(shared, REQUEST_OFFSET, REQUEST_BYTES_MAX);
    this.answer = new Uint8Array(shared, ANSWER_OFFSET, ANSWER_BYTES_MAX);
  }
}
