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

export const NEW = 'new-status';
export const PENDING = 'pending-status';
export const ASSIGNED = 'assigned-status';
export const ACTIVE = 'active-status';
export const CALLBACKS = 'callback-status';
export const COMPLETED = 'completed-status';

/** The statuses that are stored, in the order of their stored numbers. */
export const STORED_STATUSES = [NEW, ACTIVE, CALLBACKS, COMPLETED] as const;
export type StoredStatus = (typeof STORED_STATUSES)[number];
