/**
 * Where a job stands.
 *
 * - `new-status`: made, and in no queue.
 * - `pending-status`: in a queue.
 * - `assigned-status`: claimed by an agent, not begun.
 * - `active-status`: its callable runs, or the job that it returned is waited for.
 * - `callback-status`: its result is stored; its callbacks run.
 * - `completed-status`: all is done. Never left again.
 *
 * Pending and assigned are not stored: they follow from walking `parent` past jobs to a queue or an agent.
 */
export type JobStatus =
  | 'new-status'
  | 'pending-status'
  | 'assigned-status'
  | 'active-status'
  | 'callback-status'
  | 'completed-status';

/** The status of a job that is in no queue. */
export const NEW = 'new-status';
/** The status of a job that waits in a queue. */
export const PENDING = 'pending-status';
/** The status of a job that an agent has claimed, and that is not begun. */
export const ASSIGNED = 'assigned-status';
/** The status of a job whose function runs, or that waits for the job that it returned. */
export const ACTIVE = 'active-status';
/** The status of a job whose result is stored, and whose callbacks run. */
export const CALLBACKS = 'callback-status';
/** The status of a job that is done. */
export const COMPLETED = 'completed-status';

/** The statuses that are stored, in the order of their stored numbers. */
export const STORED_STATUSES = [NEW, ACTIVE, CALLBACKS, COMPLETED] as const;
export type StoredStatus = (typeof STORED_STATUSES)[number];
