import { inspect } from 'node:util';
import { argumentTypeError } from '../../base/index.js';
import { type Oid, toOid } from '../ids.js';
import type { Jar } from '../persistent/jar.js';
import { Persistent } from '../persistent/persistent.js';

/** What can be prefetched: oids, objects, or collections of both. */
export type Wanted = number | Persistent | Iterable<number | Persistent>;

/**
 * The oids of what is wanted; objects that do not belong to the connection are passed over.
 *
 * @throws TypeError (`ARG_PREFETCH`). RangeError (`ARG_OID`).
 */
export function wantedOids(wanted: readonly Wanted[], jar: Jar): Oid[] {
  const oids: Oid[] = [];
  const want = (item: number | Persistent) => {
    if (typeof item === 'number') oids.push(toOid(item));
    else if (!(item instanceof Persistent)) throw notPrefetched(item);
    else if (item._p_oid !== undefined && item._p_jar === jar) oids.push(item._p_oid);
  };
  for (const item of wanted) {
    if (typeof item === 'number' || item instanceof Persistent) want(item);
    else if (typeof item === 'object' && item !== null && Symbol.iterator in item) for (const each of item) want(each);
    else throw notPrefetched(item);
  }
  return oids;
}

function notPrefetched(item: unknown): TypeError {
  return argumentTypeError(
    'ARG_PREFETCH',
    `prefetch: ${inspect(item, { depth: 0 })} is neither an oid nor a persistent object, nor a collection of these`,
  );
}
