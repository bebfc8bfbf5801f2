import { inspect } from 'node:util';
import { argumentTypeError } from '../../base/index.js';
import { POSKeyError } from '../errors.js';
import type { Oid } from '../ids.js';
import type { RecordReference } from '../serialize/references.js';
import { resolveName } from '../serialize/registry.js';
import { classNameOf, referenceJson } from './display.js';
import type { Jar } from './jar.js';
import { Persistent } from './persistent.js';

/** What a weak reference that was loaded knows: its object has not been looked for. */
export class StoredTarget {
  constructor(
    readonly jar: Jar,
    readonly reference: RecordReference,
  ) {}
}

/** The object, or the stored place, that a weak reference means: for the connection. */
export let targetOf: (reference: WeakReference) => Persistent | StoredTarget;

/**
 * A reference that keeps nothing alive: once nothing else reaches its object, a pack takes the object, and the reference gives `undefined`.
 *
 * It may stand in a field and in any value that can be stored. Storing a weak reference to a new object stores the object too.
 */
export class WeakReference<T extends Persistent = Persistent> {
  readonly #target: T | StoredTarget;

  static {
    targetOf = (reference) => reference.#target;
  }

  /** @throws TypeError (`ARG_PERSISTENT`) for what is no persistent object. */
  constructor(object: T | StoredTarget) {
    if (!(object instanceof Persistent || object instanceof StoredTarget)) {
      const shown = inspect(object, { depth: 0 });
      throw argumentTypeError('ARG_PERSISTENT', `${shown} is no persistent object: only these can be referenced`);
    }
    this.#target = object;
  }

  /** The oid of the object; `undefined` for a new one. */
  get oid(): Oid | undefined {
    return this.#target instanceof StoredTarget ? this.#target.reference.oid : this.#target._p_oid;
  }

  /**
   * The object; `undefined` once it is gone. Loads it, to know.
   *
   * @throws ConnectionStateError after its connection was closed. What loading throws otherwise.
   */
  get(): T | undefined {
    if (!(this.#target instanceof StoredTarget)) return this.#target;
    const { jar, reference } = this.#target;
    try {
      return jar.find(reference) as T;
    } catch (error) {
      if (error instanceof POSKeyError) return undefined;
      throw error;
    }
  }

  /** Whether both mean the same object. */
  equals(other: WeakReference): boolean {
    return this.oid === undefined
      ? this.#target === other.#target
      : this.oid === other.oid && this.#place === other.#place;
  }

  /** Where the object is. */
  get #place(): string | undefined {
    const target = this.#target;
    if (target instanceof StoredTarget) return target.reference.databaseName ?? target.jar.databaseName;
    return target._p_jar?.databaseName;
  }

  toJSON(): object {
    return this.#target instanceof StoredTarget
      ? { _p_oid: this.oid, _p_class: this.#target.reference.className }
      : referenceJson(this.#target);
  }

  [inspect.custom](): string {
    const { oid } = this;
    const target = this.#target;
    const name =
      target instanceof StoredTarget
        ? (resolveName(target.reference.className)?.name ?? target.reference.className)
        : classNameOf(target);
    return `WeakReference <${name} ${oid === undefined ? 'new' : `oid ${oid}`}>`;
  }
}
