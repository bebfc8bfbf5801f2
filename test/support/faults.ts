import type { Storage } from 'holdfast/odb';

/** What is done in place of a method of a storage; `call` calls the real one. */
export type Faults = {
  [Name in keyof Storage]?: Storage[Name] extends (...args: infer Args) => infer Result
    ? (call: (...args: Args) => Result, ...args: Args) => Result
    : never;
};

/** A storage some of whose methods fail, or do something besides, while `faults` says so. */
export function withFaults<S extends Storage>(storage: S, faults: Faults): S {
  return new Proxy(storage, {
    get(target, key) {
      const value = Reflect.get(target, key, target) as unknown;
      if (typeof value !== 'function') return value;
      const method = value.bind(target) as (...args: unknown[]) => unknown;
      return (...args: unknown[]) => {
        const fault = faults[key as keyof Storage] as
          | ((call: typeof method, ...args: unknown[]) => unknown)
          | undefined;
        return fault ? fault(method, ...args) : method(...args);
      };
    },
  });
}
