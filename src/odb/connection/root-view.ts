import { type InspectOptions, inspect } from 'node:util';
import { argumentTypeError } from '../../base/index.js';
import { PersistentMapping } from '../persistent/mapping.js';

/** The root mapping, with its keys as attributes: `root.accounts` for `root.get('accounts')`. */
export type RootView<Root extends object> = PersistentMapping<Root[keyof Root]> & Root;

/** Makes the attribute view of a root mapping. Names of the mapping's own members (`get`, `size`, …) reach the member. */
export function rootView<Root extends object>(mapping: PersistentMapping<unknown>): RootView<Root> {
  const isMember = (key: string | symbol): key is symbol =>
    typeof key === 'symbol' || key in PersistentMapping.prototype;
  const set = (key: string | symbol, value: unknown): true => {
    if (isMember(key) || key === 'then') {
      throw argumentTypeError(
        'ARG_ROOT_NAME',
        `'${String(key)}' is no name for an attribute of the root: store it with root.set('${String(key)}', …)`,
      );
    }
    mapping.set(key, value);
    return true;
  };
  // The target is a bare shell: a proxy has to show the target's own fixed properties, and these are the mapping's secret.
  const shell = Object.create(PersistentMapping.prototype) as object;
  // What `console.log` asks is the target.
  Object.defineProperty(shell, inspect.custom, {
    value: (depth: number, options: InspectOptions) => inspect(mapping, { ...options, depth }),
    configurable: true,
  });
  return new Proxy(shell, {
    get(_, key) {
      if (!isMember(key)) return key === 'then' ? undefined : mapping.get(key);
      const member = Reflect.get(mapping, key, mapping) as unknown;
      return typeof member === 'function' ? member.bind(mapping) : member;
    },
    set: (_, key, value) => set(key, value),
    // What is no field, such as a getter, cannot be stored.
    defineProperty: (_, key, { value, get, set: setter, configurable }) =>
      !get && !setter && configurable !== false && set(key, value),
    preventExtensions: () => false,
    has: (_, key) => (isMember(key) ? Reflect.has(mapping, key) : mapping.has(key)),
    deleteProperty(_, key) {
      if (isMember(key)) return false;
      mapping.delete(key);
      return true;
    },
    ownKeys: () => [...mapping.keys()].filter((key): key is string => typeof key === 'string'),
    getOwnPropertyDescriptor: (_, key) =>
      typeof key === 'string' && mapping.has(key)
        ? { value: mapping.get(key), writable: true, enumerable: true, configurable: true }
        : undefined,
  }) as unknown as RootView<Root>;
}
