import type { Oid, Tid } from '../ids.js';
import type { Jar } from './jar.js';
import {
  internals,
  isKnownClass,
  ManagedPersistent,
  markKnownClass,
  Persistent,
  type PersistentClass,
} from './persistent.js';

export type { PersistentClass };

/**
 * Makes an object that has its class and its place, and no state. The class's constructor is not run (but for our own managed
 * classes).
 *
 * The keys of a class are learned from the first record: the first ghost of a class that this process has never seen is loaded
 * at once, so that it lists its fields; `made` is called before that.
 */
export function makeGhost(cls: PersistentClass, jar: Jar, oid: Oid, made?: (ghost: Persistent) => void): Persistent {
  if (cls.prototype instanceof ManagedPersistent) {
    const ghost = new (cls as unknown as new () => Persistent)();
    internals.place(ghost, jar, oid, 'ghost');
    made?.(ghost);
    return ghost;
  }
  const ghost = internals.makeGhost(cls);
  internals.place(ghost, jar, oid, 'ghost');
  made?.(ghost);
  if (!isKnownClass(cls)) {
    // Its record may lead to more objects of the class: these are made without keys, rather than loaded one inside the other.
    markKnownClass(cls);
    try {
      jar.activate(ghost);
    } catch {
      // What cannot be loaded says so when it is touched.
    }
  }
  return ghost;
}

/** Gives a new object its place; its plain fields become tracked ones. @throws SerializationError for a frozen object. */
export function adopt(object: Persistent, jar: Jar, oid: Oid): void {
  if (!(object instanceof ManagedPersistent)) internals.adoptFields(object);
  internals.place(object, jar, oid, 'changed');
}

/** Takes an object's place away; it keeps its values. */
export function disown(object: Persistent): void {
  internals.unplace(object);
}

/** Gives a ghost its state. */
export function fill(object: Persistent, state: unknown, serial: Tid, sizeBytes: number): void {
  if (object instanceof ManagedPersistent) internals.filling(object, () => object.setState(state));
  else internals.fillFields(object, state);
  internals.toClean(object, serial, sizeBytes);
}

/** A changed object was stored, or handed over to be. */
export function markStored(object: Persistent, serial: Tid, sizeBytes: number): void {
  internals.toClean(object, serial, sizeBytes);
}

/** Drops the state, whatever the object's status. */
export function makeGhostAgain(object: Persistent): void {
  internals.toGhost(object);
}

/** The state that a record is written from: without a copy, unless the class has a `getState` of its own. */
export function recordState(object: Persistent): unknown {
  return object.getState === Persistent.prototype.getState ? internals.fields(object) : object.getState();
}
