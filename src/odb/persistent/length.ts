import { argumentTypeError } from '../../base/index.js';
import { registerInternal } from '../serialize/registry.js';
import { ManagedPersistent } from './persistent.js';

/** A number that many transactions change at once: their differences are added up, so that `change` never conflicts. */
export class Length extends ManagedPersistent {
  #value: number;

  constructor(value = 0) {
    super();
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
    return this.value;
  }

  override setState(state: unknown): void {
    this.#value = state as number;
  }

  protected override clearState(): void {
    this.#value = 0;
  }

  protected override inspectState(): Record<string, unknown> {
    return { value: this.#value };
  }

  static resolveConflict(base: number, committed: number, mine: number): number {
    return committed + mine - base;
  }
}

function requireFinite(value: number): void {
  if (!Number.isFinite(value)) throw argumentTypeError('ARG_LENGTH', `${String(value)} is no number to count with`);
}

registerInternal({ 'holdfast.Length': Length });
