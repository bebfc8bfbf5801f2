import { type Oid, type Tid, ZERO_TID } from '../ids.js';
import { isBroken } from '../persistent/broken.js';
import { classNameOf } from '../persistent/display.js';
import type { Persistent } from '../persistent/persistent.js';
import { nameOf } from '../serialize/registry.js';
import type { Connection } from './connection.js';

/** Objects of one class in the caches of a database. */
export interface CachedClass {
  /** The name that is stored. */
  readonly className: string;
  /** Objects, ghosts included. */
  readonly objects: number;
  readonly loaded: number;
}

/** An object in a cache. */
export interface CachedObject {
  /** Which connection holds it: its place among those of `connectionDebugInfo`. */
  readonly connection: number;
  readonly oid: Oid;
  readonly className: string;
  readonly state: 'ghost' | 'up-to-date' | 'changed';
  /** Of its record; 0 for a ghost. */
  readonly bytes: number;
}

/** What is known of a connection. */
export interface ConnectionInfo {
  /** When it was opened; `undefined` for one that is kept for reuse. */
  readonly opened: Date | undefined;
  /** What `setDebugInfo` told of it. */
  readonly info: string;
  /** The connection shows revisions before this one for ever; `undefined` for one that shows the present. */
  readonly before: Tid | undefined;
  /** Objects in its cache, ghosts included. */
  readonly objects: number;
  readonly loaded: number;
  /** Bytes of the records of the loaded ones. */
  readonly loadedBytes: number;
}

/** All connections of a database, open or kept for reuse. They are held weakly. */
export class ConnectionRegister {
  readonly #references = new Set<WeakRef<Connection>>();
  readonly #forgotten = new FinalizationRegistry<WeakRef<Connection>>((reference) =>
    this.#references.delete(reference),
  );

  add<T extends Connection>(connection: T): T {
    const reference = new WeakRef<Connection>(connection);
    this.#references.add(reference);
    this.#forgotten.register(connection, reference);
    return connection;
  }

  *[Symbol.iterator](): Generator<Connection> {
    for (const reference of this.#references) {
      const connection = reference.deref();
      if (connection && !connection.isDiscarded) yield connection;
    }
  }

  /** The oldest view that an open connection shows of the past. */
  oldestPast(): Tid | undefined {
    return this.#oldest(({ past }) => past);
  }

  /** The oldest view of an open connection that shows the present, as it was when its transaction began. */
  oldestPresent(): Tid | undefined {
    return this.#oldest(({ isClosed, past, before }) => {
      // Until its first transaction it shows nothing.
      return isClosed || past !== undefined || before === ZERO_TID ? undefined : before;
    });
  }

  #oldest(view: (connection: Connection) => Tid | undefined): Tid | undefined {
    let oldest: Tid | undefined;
    for (const connection of this) {
      const shown = view(connection);
      if (shown !== undefined && (oldest === undefined || shown < oldest)) oldest = shown;
    }
    return oldest;
  }

  info(): ConnectionInfo[] {
    return [...this].map((connection) => ({
      opened: connection.opened,
      info: connection.debugInfo,
      before: connection.past,
      ...connection.cacheCounts,
    }));
  }

  cachedClasses(): CachedClass[] {
    const counts = new Map<string, { objects: number; loaded: number }>();
    for (const connection of this) {
      for (const object of connection.cachedObjects()) {
        const className = storedName(object);
        const count = counts.get(className) ?? { objects: 0, loaded: 0 };
        count.objects++;
        if (object._p_changed !== undefined) count.loaded++;
        counts.set(className, count);
      }
    }
    return [...counts]
      .map(([className, count]) => ({ className, ...count }))
      .sort((a, b) => (a.className < b.className ? -1 : 1));
  }

  cachedObjects(): CachedObject[] {
    return [...this].flatMap((connection, index) =>
      [...connection.cachedObjects()].map((object) => ({
        connection: index,
        oid: object._p_oid as Oid,
        className: storedName(object),
        state: object._p_state,
        bytes: object._p_changed === undefined ? 0 : object._p_estimatedSize,
      })),
    );
  }
}

function storedName(object: Persistent): string {
  if (isBroken(object)) return object._p_brokenClassName;
  const cls = (Object.getPrototypeOf(object) as { constructor: new () => unknown }).constructor;
  return nameOf(cls) ?? classNameOf(object);
}
