import { toHex } from '../../base/index.js';
import { ClientDisconnected } from '../errors.js';
import type { Tid } from '../ids.js';
import { OUTCOME_AGE_MAX_MS } from '../limits.js';
import type { Storage } from '../storage/storage.js';

const registries = new WeakMap<Storage, CommitRegistry>();

/**
 * Makes the answer to "what became of this commit?" final, for all sessions of a storage.
 *
 * A client that lost its connection asks over a new one, while the commit may still be under way for the old one, or
 * lie unread in a socket. So the question waits for a commit that is under way, and once it was answered with "it did
 * not happen", a commit of that id is refused.
 */
export class CommitRegistry {
  readonly #storage: Storage;
  readonly #underWay = new Map<string, Promise<void>>();
  /** Commits of which it was said that they did not happen, and when. */
  readonly #refused = new Map<string, number>();

  private constructor(storage: Storage) {
    this.#storage = storage;
  }

  /** The one registry of a storage. */
  static of(storage: Storage): CommitRegistry {
    let registry = registries.get(storage);
    if (registry === undefined) {
      registry = new CommitRegistry(storage);
      registries.set(storage, registry);
    }
    return registry;
  }

  /**
   * A commit begins; it is under way until `end` resolves.
   *
   * @throws ClientDisconnected when its client was told that it did not happen.
   */
  begin(commitId: Uint8Array, end: Promise<void>): void {
    const key = toHex(commitId);
    if (this.#refused.has(key)) {
      throw new ClientDisconnected('the commit came too late: its client was told that it did not happen');
    }
    this.#underWay.set(key, end);
    const forget = () => {
      if (this.#underWay.get(key) === end) this.#underWay.delete(key);
    };
    end.then(forget, forget);
  }

  /** The tid of a commit, or `undefined` if it did not happen and never will. */
  async outcome(commitId: Uint8Array): Promise<Tid | undefined> {
    const key = toHex(commitId);
    for (;;) {
      await this.#underWay.get(key)?.catch(() => undefined);
      const tid = await this.#storage.outcome(commitId);
      if (tid !== undefined) return tid;
      // It may have come in between.
      if (this.#underWay.has(key)) continue;
      this.#refuse(key);
      return undefined;
    }
  }

  #refuse(key: string): void {
    const nowMs = this.#storage.clock.now();
    for (const [old, sinceMs] of this.#refused) {
      if (nowMs - sinceMs <= OUTCOME_AGE_MAX_MS) break;
      this.#refused.delete(old);
    }
    this.#refused.delete(key);
    this.#refused.set(key, nowMs);
  }
}
