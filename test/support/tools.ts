import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface, type Interface } from 'node:readline';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';

const RUNNER = fileURLToPath(new URL('./tool-runner.js', import.meta.url));
const ANSWERS = 3;

/** How a command line ended. */
export interface ToolResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A process that runs tools of the program holdfast, one after the other. */
export class Tools {
  readonly #child: ChildProcess;
  readonly #answers: AsyncIterator<string>;
  readonly #lines: Interface;

  /** @param cwd the folder in which they run */
  constructor(cwd: string) {
    this.#child = spawn(process.execPath, [RUNNER], {
      cwd,
      stdio: ['pipe', 'ignore', 'inherit', 'pipe'],
      // What reads a directory would do so in a process of its own.
      env: { ...process.env, HOLDFAST_WATCHED: '1' },
    });
    this.#lines = createInterface({ input: this.#child.stdio[ANSWERS] as Readable });
    this.#answers = this.#lines[Symbol.asyncIterator]();
  }

  async run(...args: readonly string[]): Promise<ToolResult> {
    this.#child.stdin?.write(`${JSON.stringify(args)}\n`);
    const { value, done } = await this.#answers.next();
    if (done) throw new Error(`the process ended that was to run holdfast ${args.join(' ')}`);
    return JSON.parse(value) as ToolResult;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await ended;
    this.#lines.close();
  }
}
