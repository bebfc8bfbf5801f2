import { argumentTypeError } from '../../base/index.js';
import { SerializationError } from '../errors.js';
import { registerInternal } from '../serialize/registry.js';
import { ManagedPersistent, requireNoFields } from './persistent.js';

/** A number that many transactions change at once: their differences are added up, so that `change` never conflicts. */
export class Length extends ManagedPersistent {
  #value: number;

  constructor(value = 0) {
    super();
    requireFinite(value);
    this.#value = value;
  }

  get value(): number {
    this.readable();
    return this.#value;
  }

  /** Sets the number. Merged as the difference that this makes. */
  set(value: number): void {
    requireFinite(value);
    this.writable();
    this.#value = value;
  }

  /** Adds `delta`. */
  change(delta: number): void {
    requireFinite(delta);
    this.writable();
    this.#value += delta;
  }

  override getState(): number {
    this.readable();
    requireNoFields(this);
    return this.#value;
  }

  override setState(state: unknown): void {
    if (typeof state !== 'number') throw new SerializationError('the state of a Length is not a number');
    this.#value = state;
  }

  protected override clearState(): void {
    this.#value = 0;
  }

  protected override inspectState(): Record<string, unknown> {
    return { value: this.#value };
  }

  /** Adds up both differences. */
  static resolveConflict(base: number, committed: number, mine: number): number {
    return committed + mine - base;
  }
}

function requireFinite(value: number): void {
  if (!Number.isFinite(value)) throw argumentTypeError('ARG_LENGTH', `${String(value)} is no number to count with`);
}

registerInternal({ 'holdfast.Length': Length });
