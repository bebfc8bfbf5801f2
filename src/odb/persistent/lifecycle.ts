import type { Oid, Tid } from '../ids.js';
import { resolveName } from '../serialize/registry.js';
import type { Jar } from './jar.js';
import { internals, ManagedPersistent, Persistent, type PersistentClass, requireExtensible } from './persistent.js';

export type { PersistentClass };

/** The class of persistent objects that has this name here. A name may also stand for a function, or for a class of plain values. */
export function persistentClass(name: string): PersistentClass | undefined {
  const named = resolveName(name) as PersistentClass | undefined;
  return named?.prototype instanceof Persistent ? named : undefined;
}

const managedClasses = new WeakMap<PersistentClass, boolean>();

/** Remembered, since to find out means to walk up the prototypes to their end. */
function isManagedClass(cls: PersistentClass): boolean {
  let isManaged = managedClasses.get(cls);
  if (isManaged === undefined) {
    isManaged = cls.prototype instanceof ManagedPersistent;
    managedClasses.set(cls, isManaged);
  }
  return isManaged;
}

/**
 * Makes an object that has its class and its place, and no state. The constructor of its class is not run (but for our own managed
 * classes).
 *
 * The fields of a class are learned from records. The first object of a class that this process has never seen is loaded at once, so
 * that it lists its fields; `made` is called before that. What cannot be loaded stays a ghost, and says why when it is touched.
 */
export function makeGhost(cls: PersistentClass, jar: Jar, oid: Oid, made?: (ghost: Persistent) => void): Persistent {
  if (isManagedClass(cls)) {
    const ghost = new (cls as unknown as new () => Persistent)();
    internals.place(ghost, jar, oid, 'ghost');
    made?.(ghost);
    return ghost;
  }
  const ghost = internals.makeShell(cls);
  internals.place(ghost, jar, oid, 'ghost');
  made?.(ghost);
  const fields = internals.classFields(cls);
  if (!fields.learned && !fields.learning) {
    // Its record may lead to more objects of the class: these stay ghosts, rather than being loaded one inside the other.
    fields.learning = true;
    try {
      ghost._p_activate();
    } catch {
      // Whoever touches the object gets the error.
    } finally {
      fields.learning = false;
    }
  }
  return ghost;
}

/**
 * Gives a new object its place; its plain fields become tracked ones. It counts as changed.
 *
 * @throws SerializationError for a frozen object, or one with a field that cannot be stored. The object is left as it was.
 */
export function adopt(object: Persistent, jar: Jar, oid: Oid): void {
  if (object instanceof ManagedPersistent) requireExtensible(object);
  else internals.adoptFields(object);
  internals.place(object, jar, oid, 'changed');
}

/** Takes an object's place away; it keeps its values. A ghost is loaded before, while its jar still can. */
export function disown(object: Persistent): void {
  object._p_activate();
  internals.unplace(object);
}

/** Gives a ghost its state. If its class refuses the state, it stays a ghost. */
export function fill(object: Persistent, state: unknown, serial: Tid, sizeBytes: number): void {
  internals.fill(object, state, serial, sizeBytes);
}

/** A changed object was stored, or handed over to be: the next change is a new one. One that became a ghost meanwhile stays a ghost. */
export function markStored(object: Persistent, serial: Tid, sizeBytes: number): void {
  internals.stored(object, serial, sizeBytes);
}

/**
 * Lets an object rest, so that its jar is told when it is touched next. For everybody else it is loaded as before.
 *
 * @returns whether it does: only an unchanged object with a state can
 */
export function rest(object: Persistent): boolean {
  return internals.rest(object);
}

/** Drops the state, whatever the object's status. */
export function makeGhostAgain(object: Persistent): void {
  object._p_invalidate();
}

/**
 * The state that a record is written from: without a copy, unless the class has a `getState` of its own.
 *
 * @throws SerializationError for a frozen object.
 */
export function recordState(object: Persistent): unknown {
  requireExtensible(object);
  return object.getState === Persistent.prototype.getState ? internals.fields(object) : object.getState();
}
