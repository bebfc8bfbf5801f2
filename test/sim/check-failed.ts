/** Which promise was broken. */
export type Checker =
  | 'snapshot isolation'
  | 'tids'
  | 'oids'
  | 'totals'
  | 'durability'
  | 'atomicity'
  | 'outcome'
  | 'reachability'
  | 'verify'
  | 'errors'
  | 'progress';

/** A checker found that a promise was broken. */
export class CheckFailed extends Error {
  constructor(
    readonly checker: Checker,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(`${checker}: ${message}`, options);
  }
}
