import type { DB } from '../db.js';
import { InvalidObjectReference, LookupError } from '../errors.js';
import { describe } from '../persistent/display.js';
import type { Jar } from '../persistent/jar.js';
import type { Persistent } from '../persistent/persistent.js';
import type { RecordReference } from '../serialize/references.js';
import { AbsentDatabase } from './absent-database.js';
import type { Connection } from './connection.js';
import type { ConnectionOpening } from './connection-owner.js';

/** Databases that are open together, by name: their objects may refer to each other. */
export type Databases = Map<string, DB>;

/**
 * Connections to the databases of a set, one to each that was asked for, under one transaction manager.
 *
 * The first one comes from the pool of its database; the others are made when they are asked for, or when a reference is followed. All
 * are opened, closed and kept for reuse together, so that an object is the identical one whichever way it is reached.
 */
export class ConnectionSet {
  readonly #primary: Connection;
  readonly #databases: ReadonlyMap<string, DB>;
  readonly #members = new Map<string, Connection>();
  readonly #absent = new Map<string, AbsentDatabase>();
  #opening: ConnectionOpening | undefined;

  constructor(primary: Connection, databases: ReadonlyMap<string, DB>) {
    this.#primary = primary;
    this.#databases = databases;
    this.#members.set(primary.databaseName, primary);
  }

  /** The connections that there are so far, by the names of their databases. */
  get members(): ReadonlyMap<string, Connection> {
    return this.#members;
  }

  /** The connection to a database of the set. @throws LookupError for a name that is not known. */
  get(databaseName: string): Connection {
    const known = this.#members.get(databaseName);
    if (known) return known;
    const db = this.#databases.get(databaseName);
    if (!db) {
      throw new LookupError(`there is no database '${databaseName}' here; known are ${this.#known()}`);
    }
    const connection = db.connectionFor(this);
    this.#members.set(databaseName, connection);
    if (this.#opening) connection.openMember(this.#opening);
    return connection;
  }

  #known(): string {
    return [...this.#databases.keys()].map((name) => `'${name}'`).join(', ');
  }

  /** The object that a reference into a database of the set means. */
  resolve(databaseName: string, reference: RecordReference): Persistent {
    if (this.#members.has(databaseName) || this.#databases.has(databaseName)) {
      return this.get(databaseName).resolve(reference);
    }
    let absent = this.#absent.get(databaseName);
    if (!absent) {
      absent = new AbsentDatabase({ databaseName, clock: this.#primary.clock, known: () => this.#known() });
      this.#absent.set(databaseName, absent);
    }
    return absent.resolve(reference);
  }

  /** Whether a jar is one of this set. */
  has(jar: Jar): boolean {
    const { databaseName } = jar;
    return this.#members.get(databaseName) === jar || this.#absent.get(databaseName) === jar;
  }

  /**
   * That an object of one database may be referred to from another one.
   *
   * @throws InvalidObjectReference for an object of a connection outside the set, and for a new one that only references have placed.
   */
  requireReferable(object: Persistent, from: Connection, path: string): void {
    const jar = object._p_jar as Jar;
    const { databaseName } = jar;
    if (!this.has(jar)) {
      const how =
        databaseName === from.databaseName
          ? `load it through this one, with get(${String(object._p_oid)})`
          : `load it through this one, with getConnection('${databaseName}').get(${String(object._p_oid)})`;
      throw new InvalidObjectReference(
        `${path}: ${describe(object)} belongs to another connection (database '${databaseName}'): ${how}`,
      );
    }
    if (!from.allowsCrossReferences) {
      throw new InvalidObjectReference(
        `${path}: ${describe(object)} is in the database '${databaseName}', and '${from.databaseName}' was opened with ` +
          'crossReferences: false',
      );
    }
    if (this.#members.get(databaseName)?.isPlacedByReach(object)) {
      throw new InvalidObjectReference(
        `${path}: ${describe(object)} is new, and is reached from two databases, '${databaseName}' and '${from.databaseName}': ` +
          'say where it belongs with connection.add(object), or commit it in one of them first',
      );
    }
  }

  /** Opens all connections, for the primary one. */
  open(opening: ConnectionOpening): void {
    this.#dropStale();
    this.#opening = opening;
    for (const connection of this.#members.values()) connection.openMember(opening);
  }

  /**
   * Databases may have been closed, and others opened under their names. What was loaded refers to objects of the former ones, and is
   * loaded anew when it is touched.
   */
  #dropStale(): void {
    let isStale = false;
    for (const [name, connection] of this.#members) {
      if (connection === this.#primary || this.#databases.get(name) === (connection.db as unknown as DB)) continue;
      this.#members.delete(name);
      isStale = true;
    }
    for (const name of this.#absent.keys()) {
      if (!this.#databases.has(name)) continue;
      this.#absent.delete(name);
      isStale = true;
    }
    if (isStale) this.minimize();
  }

  /**
   * Closes all connections.
   *
   * @throws ConnectionStateError when one has changes that were neither committed nor aborted; all stay open then.
   */
  close(): void {
    for (const connection of this.#members.values()) connection.requireSettled();
    this.#opening = undefined;
    for (const connection of this.#members.values()) connection.closeMember();
  }

  /** Lets go of all objects: the connections are not used again. */
  clear(): void {
    for (const connection of this.#members.values()) connection.clear();
  }

  /** Turns every unchanged object into a ghost. */
  minimize(): void {
    for (const connection of this.#members.values()) connection.cacheMinimize();
  }
}
