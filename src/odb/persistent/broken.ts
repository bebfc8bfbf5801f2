import { BrokenModified } from '../errors.js';
import type { Oid } from '../ids.js';
import { readOpaqueState } from '../serialize/reader.js';
import { resolveName } from '../serialize/registry.js';
import type { Jar } from './jar.js';
import { internals, ManagedPersistent, type Persistent } from './persistent.js';

/**
 * Stands for an object of which no persistent class has the name in this process. It can be referred to, and its record is kept as it is; it cannot be
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
    return readOpaqueState(this.getState());
  }

  /** For the connection that meets such an object. */
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

  protected override allowChange(): void {
    const name = this.#className;
    throw new BrokenModified(
      `${name} oid ${String(this._p_oid)} cannot be changed: ` +
        (resolveName(name) === undefined
          ? `its class is not registered in this process; import the module that calls persistable for '${name}'`
          : `'${name}' is the name of something in this process that is no persistent class`),
    );
  }

  override _p_delete(_field: string): void {
    this.allowChange();
  }

  protected override inspectTitle(): string {
    return `Broken ${this.#className}`;
  }

  protected override inspectState(): Record<string, unknown> {
    return {};
  }

  protected override jsonState(): unknown {
    return { _p_oid: this._p_oid, _p_class: this.#className };
  }
}

/** A ghost for a record whose class is not registered here. */
export function makeBrokenGhost(className: string, jar: Jar, oid: Oid): Broken {
  const ghost = Broken.named(className);
  internals.place(ghost, jar, oid, 'ghost');
  return ghost;
}

/** Whether the class of the object is not registered here. */
export function isBroken(object: Persistent): object is Broken {
  return internals.isManaged(object) && object instanceof Broken;
}
