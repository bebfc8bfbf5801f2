import { argumentTypeError } from '../base/index.js';
import { Persistent, registerInternal } from '../odb/index.js';

/** A method of a persistent object, by name: it is looked up afresh when it is called. */
export class Method<T extends Persistent = Persistent, Name extends string = string> {
  constructor(
    readonly object: T,
    readonly methodName: Name,
  ) {}

  /** The function, bound to its object. @throws TypeError (`ARG_METHOD`) when the object has no such method by now. */
  resolve(): (...args: unknown[]) => unknown {
    const fn = (this.object as unknown as Record<string, unknown>)[this.methodName];
    if (typeof fn !== 'function') {
      throw argumentTypeError('ARG_METHOD', `${this.object.constructor.name} has no method '${this.methodName}'`);
    }
    return (...args) => Reflect.apply(fn, this.object, args) as unknown;
  }
}

registerInternal({ 'holdfast.Method': Method });

/** Names of the methods of a class. */
export type MethodName<T> = { [K in keyof T]: T[K] extends (...args: never[]) => unknown ? K : never }[keyof T] &
  string;

/**
 * Names a method of a persistent object, to be the callable of a job.
 *
 * @throws TypeError (`ARG_METHOD`) when `object` is not persistent, or has no such method.
 */
export function method<T extends Persistent, Name extends MethodName<T>>(object: T, name: Name): Method<T, Name> {
  if (!(object instanceof Persistent)) {
    throw argumentTypeError(
      'ARG_METHOD',
      `method(…, '${String(name)}'): only methods of persistent objects can be stored`,
    );
  }
  const named = new Method<T, Name>(object, name);
  named.resolve();
  return named;
}
