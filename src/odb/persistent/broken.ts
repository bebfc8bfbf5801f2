import type { Oid } from '../ids.js';
import { readOpaqueState } from '../serialize/reader.js';
import type { Jar } from './jar.js';
import { internals, ManagedPersistent, type Persistent } from './persistent.js';

/**
 * Stands for an object whose class has no name in this process. It can be referred to, and is stored as it was; it cannot be
 * changed (`BrokenModified`).
 */
export class Broken extends ManagedPersistent {
  #className = '';
  #record: Uint8Array | undefined;

  /** The name under which the class was stored. */
  get _p_brokenClassName(): string {
    return this.#className;
  }

  /** The stored state, with references as opaque values. */
  get _p_brokenState(): unknown {
    this.readable();
    return readOpaqueState(this.#record as Uint8Array);
  }

  /** For {@link makeBrokenGhost}. */
  static named(className: string): Broken {
    const broken = new Broken();
    broken.#className = className;
    return broken;
  }

  /** The whole record: nothing of it is understood here. */
  override getState(): Uint8Array {
    this.readable();
    return this.#record as Uint8Array;
  }

  override setState(record: unknown): void {
    this.#record = record as Uint8Array;
  }

  protected override clearState(): void {
    this.#record = undefined;
  }

  protected override inspectFields(): Record<string, unknown> {
    return { _p_brokenClassName: this.#className };
  }
}

/** A ghost for a record whose class is not registered. */
export function makeBrokenGhost(className: string, jar: Jar, oid: Oid): Broken {
  const ghost = Broken.named(className);
  internals.place(ghost, jar, oid, 'ghost');
  return ghost;
}

/** Whether the class of the object is not registered here. */
export function isBroken(object: Persistent): object is Broken {
  return object instanceof Broken;
}
