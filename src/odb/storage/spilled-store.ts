import type { Oid, Tid } from '../ids.js';
import type { StoreRequest } from './commit-coordinator.js';
import type { SpillFile } from './spill-file.js';

/** A store whose data are in a file. */
export class SpilledStore implements StoreRequest {
  readonly oid: Oid;
  readonly previous: Tid;
  readonly #file: SpillFile;
  readonly #position: number;
  readonly #length: number;

  constructor({ oid, previous, data }: StoreRequest, file: SpillFile) {
    this.oid = oid;
    this.previous = previous;
    this.#file = file;
    this.#position = file.append(data);
    this.#length = data.length;
  }

  get data(): Uint8Array {
    return this.#file.read(this.#position, this.#length);
  }
}
