import { type InspectOptions, inspect } from 'node:util';
import { nameOf } from '../serialize/registry.js';
import type { Persistent } from './persistent.js';

/** The name of an object's class in this program. */
export function classNameOf(object: Persistent): string {
  return classOf(object)?.name || 'Persistent';
}

/** What messages call an object: `Account oid 12`, `a new Account`. */
export function describe(object: Persistent): string {
  const oid = object._p_oid;
  return oid === undefined ? `a new ${classNameOf(object)}` : `${classNameOf(object)} oid ${oid}`;
}

let insideInspection = false;

/**
 * What `console.log` shows of an object: its fields, and of persistent objects below no more than class and oid, so that printing
 * neither loads anything nor walks the database.
 *
 * @param options those given to the method, with the depth that is left
 * @param title the class, as it is to be shown
 * @param fields gives the fields of a loaded object; `undefined` of a ghost
 */
export function inspectPersistent(
  object: Persistent,
  options: InspectOptions,
  title: string,
  fields: () => Record<string, unknown> | undefined,
): string {
  const oid = object._p_oid;
  const short = () => `<${title} ${oid === undefined ? 'new' : `oid ${oid}`}>`;
  if (insideInspection || (typeof options.depth === 'number' && options.depth < 0)) return short();
  const values = fields();
  if (!values) return short();
  const shown: Record<string, unknown> = oid === undefined ? { ...values } : { _p_oid: oid, ...values };
  insideInspection = true;
  try {
    return `${title} ${inspect(shown, options)}`;
  } finally {
    insideInspection = false;
  }
}

/**
 * A copy of a value for `JSON.stringify`, in which each persistent object is its oid and class, unless its class has a `toJSON` of its
 * own: one call must not walk the database.
 *
 * @param isPersistent whether the value is persistent, with the `toJSON` of the base
 */
export function jsonOf(value: unknown, isPersistent: (value: object) => value is Persistent): unknown {
  const above = new Set<object>();
  const copy = (inner: unknown, key: string): unknown => {
    if (typeof inner !== 'object' || inner === null) return inner;
    if (isPersistent(inner)) return referenceJson(inner);
    const { toJSON } = inner as { toJSON?: unknown };
    if (typeof toJSON !== 'function') return copyFields(inner);
    const own = toJSON.call(inner, key) as unknown;
    return typeof own === 'object' && own !== null && !isPersistent(own) ? copyFields(own) : copy(own, key);
  };
  const copyFields = (inner: object): unknown => {
    if (inner instanceof String || inner instanceof Number || inner instanceof Boolean) return inner.valueOf();
    // `JSON.stringify` meets the cycle again, and refuses it with its own message.
    if (above.has(inner)) return inner;
    above.add(inner);
    const copied = Array.isArray(inner)
      ? inner.map((item, index) => copy(item, String(index)))
      : Object.fromEntries(Object.entries(inner).map(([key, item]) => [key, copy(item, key)]));
    above.delete(inner);
    return copied;
  };
  return typeof value === 'object' && value !== null ? copyFields(value) : value;
}

/** What `JSON.stringify` shows of an object that is referenced. */
export function referenceJson(object: Persistent): object {
  const stored = (object as { _p_brokenClassName?: string })._p_brokenClassName;
  const cls = classOf(object);
  return { _p_oid: object._p_oid, _p_class: stored ?? (cls && nameOf(cls)) ?? classNameOf(object) };
}

function classOf(object: Persistent): (new () => unknown) | undefined {
  return (Object.getPrototypeOf(object) as { constructor?: new () => unknown }).constructor;
}
