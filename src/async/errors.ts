import { BaseError } from '../odb/index.js';

/** The status of a job does not allow what was asked of it. */
export class BadStatusError extends BaseError {
  readonly code = 'ASYNC_BAD_STATUS';
}

/** A job was interrupted, and its retry policy does not want it run again. */
export class AbortedError extends BaseError {
  readonly code = 'ASYNC_ABORTED';
  constructor(message = 'the job was interrupted, and is not to be run again') {
    super(message);
  }
}

/** A job was not begun in time (`beginBy`), or a wait took too long. */
export class TimeoutError extends BaseError {
  readonly code = 'ASYNC_TIMEOUT';
  constructor(message = 'the job was not begun in time') {
    super(message);
  }
}

/** The job belongs to another agent by now: its former worker was believed dead. What it did cannot be committed. */
export class ReassignedError extends BaseError {
  readonly code = 'ASYNC_REASSIGNED';
}

/** The database has no such queue. */
export class NoQueueError extends BaseError {
  readonly code = 'ASYNC_NO_QUEUE';
}

/** A job names a quota that its queue does not have. */
export class UnknownQuotaError extends BaseError {
  readonly code = 'ASYNC_UNKNOWN_QUOTA';
  constructor(readonly quotaName: string) {
    super(`the queue has no quota '${quotaName}': make it with queue.quotas.create('${quotaName}', { size: 1 })`);
  }
}

/** The name is taken in this container. */
export class AlreadyRegisteredError extends BaseError {
  readonly code = 'ASYNC_ALREADY_REGISTERED';
}

/** A dispatcher that is not active was asked to deactivate. */
export class NotActivatedError extends BaseError {
  readonly code = 'ASYNC_NOT_ACTIVATED';
}
