import { type ChildProcess, spawn } from 'node:child_process';

const BLOCK_LIMIT_MS = 90_000;
const END_LIMIT_MS = 30_000;

/** A program of a document, run block by block in a process of its own. */
export class Session {
  readonly #child: ChildProcess;
  readonly #exited: Promise<string>;
  #output = '';

  constructor(file: string, cwd: string) {
    this.#child = spawn(process.execPath, ['--enable-source-maps', file], {
      cwd,
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      env: { ...process.env, NODE_TEST_CONTEXT: undefined, UV_THREADPOOL_SIZE: '16' },
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#output += text;
      });
    }
    this.#exited = new Promise((resolve) => {
      this.#child.once('close', (code, signal) => resolve(`exit code ${code ?? signal}`));
    });
  }

  /** Resolves when the block that runs has come to its end. @throws Error with the output when it has not. */
  async blockEnds(): Promise<void> {
    const done = new Promise<void>((resolve) => this.#child.once('message', () => resolve()));
    const ended = this.#exited.then((how) => {
      throw new Error(`the program ended (${how}):\n${this.#output}`);
    });
    await within(Promise.race([done, ended]), BLOCK_LIMIT_MS, () => `the block does not end:\n${this.#output}`);
  }

  /** Lets the next block run, or the program end after the last one. */
  goOn(isLast: boolean): void {
    this.#child.send({ last: isLast });
  }

  /** Resolves when the program has ended by itself. @throws Error when it has not, or has failed. */
  async ends(): Promise<void> {
    const how = await within(
      this.#exited,
      END_LIMIT_MS,
      () => `the program does not end after its last block: something is still open\n${this.#output}`,
    );
    if (how !== 'exit code 0') throw new Error(`the program ended with ${how}:\n${this.#output}`);
  }

  /** Ends the program, wherever it is. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#exited;
  }
}

/** Rejects with `message` when `promise` takes longer than `limitMs`. */
export async function within<T>(promise: Promise<T>, limitMs: number, message: () => string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(message())), limitMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
