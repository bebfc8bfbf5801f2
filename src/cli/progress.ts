const INTERVAL_MS = 100;

/** Says on standard error, in one line that is written over and over, how far something is; nothing where nobody watches. */
export class Progress {
  readonly #isWatched = process.stderr.isTTY === true;
  #saidMs = Number.NEGATIVE_INFINITY;

  /** Says it, unless something was said a moment ago, or it is urgent: what follows will take a while. */
  tell(text: string, { isUrgent = false } = {}): void {
    if (!this.#isWatched || (!isUrgent && performance.now() - this.#saidMs < INTERVAL_MS)) return;
    this.#saidMs = performance.now();
    process.stderr.write(`\r\u001b[K${text}`);
  }

  /** Leaves an empty line. */
  end(): void {
    if (this.#isWatched) process.stderr.write('\r\u001b[K');
  }
}

/** `12 objects`, `1 object`. */
export function counted(count: number, noun: string): string {
  return `${count.toLocaleString('en')} ${noun}${count === 1 ? '' : 's'}`;
}
