import type { Clock } from '../../base/index.js';
import { LookupError } from '../errors.js';
import type { Oid } from '../ids.js';
import { makeBrokenGhost } from '../persistent/broken.js';
import { describe } from '../persistent/display.js';
import type { Jar } from '../persistent/jar.js';
import { makeGhost, persistentClass } from '../persistent/lifecycle.js';
import type { Persistent } from '../persistent/persistent.js';
import type { RecordReference } from '../serialize/references.js';

/**
 * Stands for a database that records refer to, and that is not open together with the one that they are in. Its objects have their
 * identity, so that what refers to them can be loaded, changed and stored again; they cannot be loaded themselves.
 */
export class AbsentDatabase implements Jar {
  readonly isClosed = false;
  readonly databaseName: string;
  readonly clock: Clock;
  readonly temporaryDirectory = undefined;
  readonly #known: () => string;
  readonly #objects = new Map<Oid, WeakRef<Persistent>>();

  /** @param options.known - names the databases that are open together, for messages. */
  constructor(options: { readonly databaseName: string; readonly clock: Clock; readonly known: () => string }) {
    this.databaseName = options.databaseName;
    this.clock = options.clock;
    this.#known = options.known;
  }

  /** The object that a reference into this database means. */
  resolve({ oid, className }: RecordReference): Persistent {
    const known = this.#objects.get(oid)?.deref();
    if (known) return known;
    const cls = persistentClass(className);
    const object = cls ? makeGhost(cls, this, oid) : makeBrokenGhost(className, this, oid);
    this.#objects.set(oid, new WeakRef(object));
    return object;
  }

  get storage(): this {
    return this;
  }

  loadBlob(oid: Oid): never {
    throw this.#error(`oid ${oid}`);
  }

  activate(object: Persistent): never {
    throw this.#error(describe(object));
  }

  touched(): void {}

  register(object: Persistent): never {
    throw this.#error(describe(object));
  }

  find({ oid }: RecordReference): never {
    throw this.#error(`oid ${oid}`);
  }

  #error(what: string): LookupError {
    return new LookupError(
      `${what} is in the database '${this.databaseName}', which is not open together with this one (known here: ${this.#known()}): ` +
        'open it with the same `databases`',
    );
  }
}
