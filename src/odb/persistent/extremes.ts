import { registerInternal } from '../serialize/registry.js';
import { compareKeys, type Key, ownKey } from './btree/keys.js';
import { ManagedPersistent, requireNoFields } from './persistent.js';

/** A value of which the more extreme one wins where two transactions change it at once. */
abstract class Extreme<T extends Key> extends ManagedPersistent {
  #value: T | undefined;

  /**
   * @param value to begin with. Where it is no number, its type is to be named: `new Maximum<Date>(new Date())`.
   * @throws TypeError (`ARG_KEY`) for a value that has no order: objects, functions, `NaN`.
   */
  constructor(value?: NoInfer<T>) {
    super();
    this.#value = value === undefined ? undefined : ownKey(value);
  }

  /** The value; `undefined` before there is one. */
  get value(): T | undefined {
    this.readable();
    return this.#value;
  }

  /** Sets the value, whether it is more extreme than the last one or not. @throws TypeError (`ARG_KEY`). */
  set(value: T): void {
    const own = ownKey(value);
    this.writable();
    this.#value = own;
  }

  override getState(): T | null {
    this.readable();
    requireNoFields(this);
    return this.#value ?? null;
  }

  override setState(state: unknown): void {
    this.#value = state === null ? undefined : ownKey(state as T);
  }

  protected override clearState(): void {
    this.#value = undefined;
  }

  protected override inspectState(): Record<string, unknown> {
    return { value: this.#value };
  }
}

/**
 * The greatest of what transactions set at the same time, in the order of the keys of B-trees: for the time of the last visit, or the
 * highest bid. A value that is alone may be set to a lesser one.
 */
export class Maximum<T extends Key = number> extends Extreme<T> {
  /** The greater one stays. */
  static resolveConflict<T extends Key>(_base: T | null, committed: T | null, mine: T | null): T | null {
    if (committed === null || mine === null) return committed ?? mine;
    return compareKeys(committed, mine) < 0 ? mine : committed;
  }
}

/** The least of what transactions set at the same time, in the order of the keys of B-trees. */
export class Minimum<T extends Key = number> extends Extreme<T> {
  /** The lesser one stays. */
  static resolveConflict<T extends Key>(_base: T | null, committed: T | null, mine: T | null): T | null {
    if (committed === null || mine === null) return committed ?? mine;
    return compareKeys(committed, mine) > 0 ? mine : committed;
  }
}

registerInternal({ 'holdfast.Maximum': Maximum, 'holdfast.Minimum': Minimum });
