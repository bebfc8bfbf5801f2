import { invariant } from '../../base/index.js';
import type { StorageSupports } from '../storage/storage.js';

/**
 * What the thread that serves views tells all of them, in shared memory.
 *
 * States of the service:
 *
 * - `connecting`: never connected so far. Synchronous reads fail, promises wait.
 * - `connected`: everything is served.
 * - `disconnected`: the server is away. Synchronous reads fail at once, promises wait for it, up to a limit.
 * - `closed`: ended in order, for ever. Everything fails.
 * - `dead`: the serving thread has ended, for ever, by accident. Everything fails.
 */
export type HubState = 'connecting' | 'connected' | 'disconnected' | 'closed' | 'dead';

const STATES: readonly HubState[] = ['connecting', 'connected', 'disconnected', 'closed', 'dead'];

const STATE = 0;
const EPOCH = 1;
const HEARTBEAT = 2;
const SUPPORTS = 3;
const READ_ONLY = 4;
const CONTROL_CELLS = 6;
const CLOCK_OFFSET_OFFSET = CONTROL_CELLS * 4;
const IDENTITY_OFFSET = CLOCK_OFFSET_OFFSET + 8;
const IDENTITY_BYTES_MAX = 63;
const BYTES = IDENTITY_OFFSET + 1 + IDENTITY_BYTES_MAX;

const ABILITIES: readonly (keyof StorageSupports)[] = ['history', 'undo', 'pack', 'blobs', 'locks'];

/** One thread writes it, the views read it. */
export class HubMemory {
  readonly shared: SharedArrayBuffer;
  readonly #control: Int32Array;
  readonly #clockOffset: BigInt64Array;
  /** Its length, then its bytes. */
  readonly #identity: Uint8Array;

  constructor(shared: SharedArrayBuffer = new SharedArrayBuffer(BYTES)) {
    this.shared = shared;
    this.#control = new Int32Array(shared, 0, CONTROL_CELLS);
    this.#clockOffset = new BigInt64Array(shared, CLOCK_OFFSET_OFFSET, 1);
    this.#identity = new Uint8Array(shared, IDENTITY_OFFSET, 1 + IDENTITY_BYTES_MAX);
  }

  get state(): HubState {
    return STATES[Atomics.load(this.#control, STATE)] as HubState;
  }

  /** `closed` and `dead` are final: a later state is ignored. */
  set state(state: HubState) {
    const next = STATES.indexOf(state);
    for (;;) {
      const now = Atomics.load(this.#control, STATE);
      if (now >= STATES.indexOf('closed') || now === next) return;
      if (Atomics.compareExchange(this.#control, STATE, now, next) === now) return;
    }
  }

  /** Counts the connections to the server: what one of them knew (oids, open transactions, locks), the next does not. */
  get epoch(): number {
    return Atomics.load(this.#control, EPOCH);
  }

  nextEpoch(): void {
    Atomics.add(this.#control, EPOCH, 1);
  }

  /** Moves while the serving thread lives; 0 where it promises no heartbeat, since its owner may keep it busy. */
  get heartbeat(): number {
    return Atomics.load(this.#control, HEARTBEAT);
  }

  beat(): void {
    if (Atomics.add(this.#control, HEARTBEAT, 1) === -1) Atomics.add(this.#control, HEARTBEAT, 1);
  }

  get supports(): StorageSupports {
    const bits = Atomics.load(this.#control, SUPPORTS);
    const has = (ability: keyof StorageSupports) => (bits & (1 << ABILITIES.indexOf(ability))) !== 0;
    return {
      history: has('history'),
      undo: has('undo'),
      pack: has('pack'),
      blobs: has('blobs'),
      locks: has('locks'),
    };
  }

  set supports(supports: StorageSupports) {
    let bits = 0;
    for (const [index, ability] of ABILITIES.entries()) if (supports[ability]) bits |= 1 << index;
    Atomics.store(this.#control, SUPPORTS, bits);
  }

  get isReadOnly(): boolean {
    return Atomics.load(this.#control, READ_ONLY) === 1;
  }

  set isReadOnly(isReadOnly: boolean) {
    Atomics.store(this.#control, READ_ONLY, isReadOnly ? 1 : 0);
  }

  /** Names the storage for ever; empty until there was a connection. Ordering: set before the state says that there is one. */
  get identity(): string {
    return Buffer.from(this.#identity.slice(1, 1 + (this.#identity[0] as number))).toString('latin1');
  }

  set identity(identity: string) {
    const bytes = Buffer.from(identity, 'latin1');
    invariant(bytes.length <= IDENTITY_BYTES_MAX, 'the identity of a storage is short');
    this.#identity.set(bytes, 1);
    this.#identity[0] = bytes.length;
  }

  /** What is added to this machine's clock to get the storage's, in ms. */
  get clockOffsetMs(): number {
    return Number(Atomics.load(this.#clockOffset, 0)) / 1000;
  }

  set clockOffsetMs(offsetMs: number) {
    Atomics.store(this.#clockOffset, 0, BigInt(Math.round(offsetMs * 1000)));
  }
}
