import type { Random } from '../../base/index.js';

const FIRST_MS = 25;
const LONGEST_MS = 2000;

/** Pauses between attempts to connect: each twice as long, and by chance up to half shorter, so that clients spread out. */
export class Reconnect {
  readonly #random: Random;
  #nextMs = FIRST_MS;

  constructor(random: Random) {
    this.#random = random;
  }

  /** The pause before the next attempt, in ms. */
  nextPauseMs(): number {
    const pauseMs = this.#nextMs * (0.5 + this.#random.next() / 2);
    this.#nextMs = Math.min(this.#nextMs * 2, LONGEST_MS);
    return pauseMs;
  }

  /** After success: the next loss begins with a short pause again. */
  reset(): void {
    this.#nextMs = FIRST_MS;
  }
}
