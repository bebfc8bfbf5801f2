/** A rule of ours does not hold: a defect in holdfast, never a mistake of its user. Not to be caught to go on. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
  readonly code = 'HOLDFAST_INVARIANT';
}

/** Throws {@link InvariantError} unless `condition` holds. Stays on in production. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new InvariantError(`invariant broken: ${message}`);
}

/** Closes a `switch` over a literal union: the compiler refuses a case that was forgotten. */
export function unreachable(value: never): never {
  throw new InvariantError(`invariant broken: unexpected value ${String(value)}`);
}
