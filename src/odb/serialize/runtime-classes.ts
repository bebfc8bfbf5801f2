/** Whether the class is one of the runtime's (of promises, sockets' handles, …), so that naming it would not help. */
export function isBuiltin(cls: unknown): boolean {
  if (typeof cls !== 'function') return false;
  if (/\[native code\]/.test(Function.prototype.toString.call(cls))) return true;
  // Some of the runtime's are written in the language itself. What a program puts beside them can be enumerated.
  const { name } = cls;
  return (
    Object.getOwnPropertyDescriptor(globalThis, name)?.enumerable === false && Reflect.get(globalThis, name) === cls
  );
}

const HOME_PROTOTYPES: ReadonlyMap<string, object> = new Map(
  [Object, Map, Set, Date, RegExp].map(({ name, prototype }) => [name, prototype as object]),
);

/**
 * This realm's prototype of plain data, for that of another one: test runners, among others, run code in a context of its own, which has
 * an `Object` and a `Map` of its own. `undefined` for any other prototype.
 */
export function homePrototype(prototype: object): object | undefined {
  const cls = Object.hasOwn(prototype, 'constructor') ? prototype.constructor : undefined;
  if (typeof cls !== 'function' || cls.prototype !== prototype || !isBuiltin(cls)) return undefined;
  const home = HOME_PROTOTYPES.get(cls.name);
  return home === prototype ? undefined : home;
}

const builtinBases = new WeakMap<object, string>();

/** The built-in class that a class extends, or '': what makes up the instances of these is not their fields alone. */
export function builtinBase(prototype: object): string {
  const parent = Object.getPrototypeOf(prototype) as object | null;
  if (parent === null || parent === Object.prototype) return '';
  let base = builtinBases.get(parent);
  if (base === undefined) {
    base = isBuiltin(parent.constructor) ? parent.constructor.name : builtinBase(parent);
    builtinBases.set(parent, base);
  }
  return base;
}

/** Whether it is a URL, and not just an object with the prototype of one. */
export function isUrl(value: object): value is URL {
  try {
    return typeof (value as URL).href === 'string';
  } catch {
    return false;
  }
}
